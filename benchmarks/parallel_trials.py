"""What a second worker brings: the same search with one and with two single-thread workers, side by side in one run.

    python -m benchmarks.parallel_trials [FILE:TARGET ...] [--pinned]

Without a file it makes a table. Prints seconds of the search (first trial started to last trial ended) for each, and
their ratio. A worker fits with one thread, and asks, scores and stores in another meanwhile: alone on a machine of two
cores it uses some of the second. With --pinned each worker has one core, as a container of one CPU has.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sklearn.datasets import make_classification

from benchmarks.peers.memory import PROC, descendants
from standalone.client import Client
from standalone.supervisor import Options, Stack


def a_table(path: Path, *, rows: int) -> Path:
    """A CSV of `rows` x 20 numbers with a binary target."""
    x, y = make_classification(n_samples=rows, n_features=20, n_informative=10, random_state=0)
    header = ",".join([*(f"f{index}" for index in range(x.shape[1])), "y"])
    lines = (",".join([*(f"{value:.5f}" for value in row), str(label)]) for row, label in zip(x, y, strict=True))
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def search_seconds(client: Client, dataset_id: str, target: str, *, trials: int) -> tuple[float, int]:
    """(seconds of the search, number of processes that ran trials) of one job."""
    spec: dict[str, Any] = {
        "model": "parallel", "task": {"target": target},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": dataset_id}}},
        "training": {"max_iterations": 150, "early_stopping_rounds": None},
        "tuning": {
            "strategy": "random", "max_trials": trials, "max_parallel": 2,
            "space": {"num_leaves": {"type": "int", "low": 24, "high": 40}},
        },
    }  # fmt: skip
    job_id = client.submit(spec)
    job = client.wait(job_id, timeout=900)
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job ended as {job['status']}: {job['error']}")
    rows = list(client.everything(f"/v1/jobs/{job_id}/trials"))
    started = min(datetime.fromisoformat(row["started_at"]) for row in rows)
    ended = max(datetime.fromisoformat(row["finished_at"]) for row in rows)
    return (ended - started).total_seconds(), len({row["worker"] for row in rows})


def pin(stack: Stack) -> None:
    """Gives each worker, with all that it has started and will start, one core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    workers = [service.child.pid for name, service in sorted(stack.services.items()) if name.startswith("worker")]
    for worker, core in zip(workers, cores, strict=False):
        for pid in {worker, *descendants(worker)}:
            for thread in (PROC / str(pid) / "task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})


def measure(
    folder: Path, tables: Mapping[Path, str], *, workers: int, trials: int, repeats: int, pinned: bool
) -> list[float]:
    """For each table the median of `repeats` searches with that many workers, after one that warms them up."""
    known = {"TRAINHOUSE_CORES": str(workers)}
    stack = Stack(Options(folder / f"house-{workers}", port=0, workers=workers, variables=known if pinned else {}))
    stack.start()
    found = []
    try:
        if pinned:
            pin(stack)
        client = Client(stack.url, stack.api_key)
        for table, target in tables.items():
            dataset_id = client.upload(table)
            search_seconds(client, dataset_id, target, trials=8)
            seen = [search_seconds(client, dataset_id, target, trials=trials) for _repeat in range(repeats)]
            if any(processes != workers for _, processes in seen):
                raise RuntimeError("not every worker ran trials")
            found.append(statistics.median(seconds for seconds, _ in seen))
    finally:
        stack.stop(soft_seconds=2.0)
    return found


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="FILE:TARGET")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000, help="of the table that is made")
    parser.add_argument("--pinned", action="store_true", help="one core for each worker")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = [given.rpartition(":") for given in asked.tables]
        tables = {Path(name): target for name, _, target in pairs} or {
            a_table(Path(folder, "made.csv"), rows=asked.rows): "y"
        }
        one, two = (
            measure(
                Path(folder), tables, workers=workers, trials=asked.trials, repeats=asked.repeats, pinned=asked.pinned
            )
            for workers in (1, 2)
        )
    print(
        f"| {asked.trials} trials, median of {asked.repeats} | one worker, s | two workers, s | share | times the trials |"
    )
    print("|---|---|---|---|---|")
    for table, alone, both in zip(tables, one, two, strict=True):
        print(f"| {table.name.split('.')[0]} | {alone:.1f} | {both:.1f} | {both / alone:.2f} | {alone / both:.2f} |")


if __name__ == "__main__":
    main()

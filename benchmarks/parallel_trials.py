"""What a second worker brings: the same search with one and with two single-thread workers, side by side in one run.

    python -m benchmarks.parallel_trials [FILE:TARGET ...]

Without a file it makes a table. Prints seconds of the search (first trial started to last trial ended) for each, and
their ratio, turn by turn. A worker fits with one thread, and asks, scores and stores in another meanwhile: alone on a
machine of two cores it uses some of the second.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sklearn.datasets import make_classification

from standalone.client import Client
from standalone.supervisor import Options, Stack

NUMBERS = (1, 2)
"""Of workers."""


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


def measure(folder: Path, tables: Mapping[Path, str], *, trials: int, repeats: int) -> list[list[tuple[float, float]]]:
    """For each table the seconds of `repeats` searches as (with one worker, with two), after one that warms them up.

    Both houses stand all the time and search by turns, for a machine's speed may change from minute to minute.
    """
    with ExitStack() as open_houses:
        houses = [(workers, open_houses.enter_context(opened(folder, workers))) for workers in NUMBERS]
        found = []
        for table, target in tables.items():
            known = [(workers, client, client.upload(table)) for workers, client in houses]
            for _workers, client, dataset_id in known:
                search_seconds(client, dataset_id, target, trials=8)
            found.append([turn(known, target, trials=trials) for _repeat in range(repeats)])
        return found


def turn(known: list[tuple[int, Client, str]], target: str, *, trials: int) -> tuple[float, float]:
    """Seconds of one search of each house."""
    seen = [
        (workers, *search_seconds(client, dataset_id, target, trials=trials)) for workers, client, dataset_id in known
    ]
    if any(processes != workers for workers, _, processes in seen):
        raise RuntimeError("not every worker ran trials")
    (_, alone, _), (_, both, _) = seen
    return alone, both


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Client]:
    """A service with so many workers."""
    stack = Stack(Options(folder / f"house-{workers}", port=0, workers=workers))
    stack.start()
    try:
        yield Client(stack.url, stack.api_key)
    finally:
        stack.stop(soft_seconds=2.0)


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="FILE:TARGET")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000, help="of the table that is made")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = [given.rpartition(":") for given in asked.tables]
        tables = {Path(name): target for name, _, target in pairs} or {
            a_table(Path(folder, "made.csv"), rows=asked.rows): "y"
        }
        seen = measure(Path(folder), tables, trials=asked.trials, repeats=asked.repeats)
    print(
        f"| {asked.trials} trials, medians of {asked.repeats} | one worker, s | two workers, s | times the trials | least to most |"
    )
    print("|---|---|---|---|---|")
    for table, pairs in zip(tables, seen, strict=True):
        alone, both = (statistics.median(each) for each in zip(*pairs, strict=True))
        times = [one / two for one, two in pairs]
        print(f"| {table.name.split('.')[0]} | {alone:.1f} | {both:.1f} | {statistics.median(times):.2f} "
              f"| {min(times):.2f} to {max(times):.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()

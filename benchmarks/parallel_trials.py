"""What a second worker brings: the same search with one and with two single-thread workers, side by side in one run.

Prints seconds of the search (first trial started to last trial ended) for each, their ratio, and trials per second.
"""

import argparse
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from sklearn.datasets import make_classification

from standalone.client import Client
from standalone.supervisor import Options, Stack


def a_table(path: Path, *, rows: int) -> Path:
    """A CSV of `rows` x 20 numbers with a binary target."""
    x, y = make_classification(n_samples=rows, n_features=20, n_informative=10, random_state=0)
    header = ",".join([*(f"f{index}" for index in range(x.shape[1])), "y"])
    lines = (",".join([*(f"{value:.5f}" for value in row), str(label)]) for row, label in zip(x, y, strict=True))
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def search_seconds(client: Client, dataset_id: str, *, trials: int) -> tuple[float, int]:
    """(seconds of the search, number of processes that ran trials) of one job."""
    spec: dict[str, Any] = {
        "model": "parallel", "task": {"target": "y", "type": "binary"},
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


def measure(folder: Path, *, workers: int, trials: int, repeats: int, rows: int) -> list[float]:
    """Seconds of each repeat with that many workers, after one search that warms them up."""
    stack = Stack(Options(folder / f"house-{workers}", port=0, workers=workers))
    stack.start()
    try:
        client = Client(stack.url, stack.api_key)
        dataset_id = client.upload(a_table(folder / "t.csv", rows=rows))
        search_seconds(client, dataset_id, trials=8)
        seen = [search_seconds(client, dataset_id, trials=trials) for _repeat in range(repeats)]
    finally:
        stack.stop(soft_seconds=2.0)
    if any(processes != workers for _, processes in seen):
        raise RuntimeError("not every worker ran trials")
    return [seconds for seconds, _ in seen]


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, two = (
            statistics.median(
                measure(Path(folder), workers=workers, trials=asked.trials, repeats=asked.repeats, rows=asked.rows)
            )
            for workers in (1, 2)
        )
    print(
        f"| {asked.trials} trials, {asked.rows:,} rows x 20, median of {asked.repeats} | seconds | trials/s |\n|---|---|---|"
    )
    print(
        f"| one worker | {one:.1f} | {asked.trials / one:.2f} |\n| two workers | {two:.1f} | {asked.trials / two:.2f} |"
    )
    print(f"\ntwo workers take {two / one:.2f} of the time of one")


if __name__ == "__main__":
    main()

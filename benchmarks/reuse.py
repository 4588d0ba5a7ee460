"""How soon a job that differs in its search alone begins to train: accepted to `train` started, prepared anew and reused.

Makes a table of `--rows` rows and twenty columns, and runs `--jobs` jobs of each kind on a stack of its own.
"""

import argparse
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from standalone.client import Client
from standalone.supervisor import Options, Stack

PREPARED = ("ingest", "validate", "split", "transform")


def a_table(path: Path, *, rows: int) -> Path:
    """Fifteen numbers, four categories and a learnable target, as Parquet at `path`."""
    random = np.random.default_rng(7)
    columns: dict[str, Any] = {f"x{index}": random.normal(size=rows) for index in range(15)}
    columns |= {f"k{index}": random.choice([f"v{value}" for value in range(20)], rows) for index in range(4)}
    columns["y"] = (columns["x0"] + random.normal(size=rows) > 0).astype(np.int64)
    pq.write_table(pa.table(columns), path)
    return path


def one_job(client: Client, dataset_id: str, *, reuse: bool, number: int) -> float:
    """Seconds from accepted to `train` started, by the database's clock.

    Raises:
        RuntimeError: the job failed, or its stages were not what `reuse` says.
    """
    spec: dict[str, Any] = {
        "model": "reuse", "task": {"target": "y", "type": "binary"},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": dataset_id}}},
        "training": {"max_iterations": 5}, "reproducibility": {"reuse": reuse},
        "tuning": {"strategy": "none", "patience": number},
    }  # fmt: skip
    job = client.wait(client.submit(spec), timeout=600)
    stages = {stage["name"]: stage for stage in job["stages"]}
    if job["status"] != "succeeded" or any(stages[name]["cached"] != reuse for name in PREPARED):
        raise RuntimeError(f"{job['status']}: {job['error']}, {[(n, s['cached']) for n, s in stages.items()]}")
    began, accepted = (datetime.fromisoformat(text) for text in (stages["train"]["started_at"], job["created_at"]))
    return (began - accepted).total_seconds()


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Options(Path(folder, "house"), port=0, workers=1))
        stack.start()
        try:
            client = Client(stack.url, stack.api_key)
            dataset_id = client.upload(a_table(Path(folder, "t.parquet"), rows=given.rows))
            one_job(client, dataset_id, reuse=False, number=1_000)
            anew = [one_job(client, dataset_id, reuse=False, number=1 + job) for job in range(given.jobs)]
            reused = [one_job(client, dataset_id, reuse=True, number=500 + job) for job in range(given.jobs)]
        finally:
            stack.stop(soft_seconds=2.0)
    print(f"| {given.rows:,} rows, one worker, {given.jobs} jobs each | median | longest |\n|---|---|---|")
    for name, values in (("prepared anew, s", anew), ("taken over, s", reused)):
        print(f"| accepted to train started, {name} | {statistics.median(values):.3f} | {max(values):.3f} |")
    print(f"| taken over : anew | {statistics.median(reused) / statistics.median(anew):.3f} | |")


if __name__ == "__main__":
    main()

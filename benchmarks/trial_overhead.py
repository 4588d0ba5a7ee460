"""What a trial costs beside its fit: from one trial's end to the next one's on one worker, less the trainer's seconds.

    python -m benchmarks.trial_overhead california_housing.csv.gz --target median_house_value

A worker asks, scores and stores while it fits another trial, as long as fits are short; then this is what it could not
do meanwhile. With `--parallel 1` every trial waits for the one before it. Prints the median, the mean and the 95th
percentile in milliseconds, over the trials after the first few.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from standalone.client import Client
from standalone.supervisor import Options, Stack

WARM_UP = 5


def rows_of(
    client: Client, table: Path, *, target: str, trials: int, strategy: str, parallel: int
) -> list[dict[str, Any]]:
    """The trials of one search of that many, in order of number."""
    spec: dict[str, Any] = {
        "model": "overhead", "task": {"target": target},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": client.upload(table)}}},
        "training": {"max_iterations": 60},
        "tuning": {"strategy": strategy, "max_trials": trials, "max_parallel": parallel},
    }  # fmt: skip
    job_id = client.submit(spec)
    job = client.wait(job_id, timeout=540)
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job ended as {job['status']}: {job['error']}")
    return list(client.everything(f"/v1/jobs/{job_id}/trials"))


def overheads_ms(rows: Iterable[dict[str, Any]]) -> list[float]:
    """Milliseconds from each trial's end to the next one's that the fit of the latter does not explain."""
    known = sorted(rows, key=lambda row: row["finished_at"])[WARM_UP:]
    ends = [datetime.fromisoformat(row["finished_at"]).timestamp() for row in known]
    return [
        1_000 * (end - before - row["facts"]["fit_seconds"])
        for row, before, end in zip(known[1:], ends[:-1], ends[1:], strict=True)
    ]


def main() -> None:
    """Runs one search on one worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--strategy", default="bayesian", choices=("bayesian", "random"))
    parser.add_argument("--parallel", type=int, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Options(Path(folder, "house"), port=0, workers=1))
        stack.start()
        try:
            client = Client(stack.url, stack.api_key)
            rows = rows_of(
                client, asked.table, target=asked.target, trials=asked.trials, strategy=asked.strategy,
                parallel=asked.parallel,
            )  # fmt: skip
        finally:
            stack.stop(soft_seconds=2.0)
    found, fits = overheads_ms(rows), [row["facts"]["fit_seconds"] for row in rows]
    late = statistics.quantiles(found, n=20)[-1]
    print(
        f"{len(rows)} trials; fit {1_000 * statistics.median(fits):.1f} ms (median); beside it "
        f"{statistics.median(found):.1f} ms median, {statistics.mean(found):.1f} mean, {late:.1f} at the 95th percentile"
    )


if __name__ == "__main__":
    main()

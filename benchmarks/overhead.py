"""What the engine itself costs: time from accepted to succeeded less the stages' own work, and from accepted to begun.

Runs `--jobs` iris jobs without tuning on a stack of its own and prints medians and the 90th percentile.
"""

import argparse
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from sklearn.datasets import load_iris

from standalone.client import Client
from standalone.supervisor import Options, Stack

WARM_UP_JOBS = 3


def iris(path: Path) -> Path:
    """The iris table as CSV at `path`."""
    load_iris(as_frame=True).frame.to_csv(path, index=False)
    return path


def seconds(start: str, end: str) -> float:
    """Seconds between two RFC 3339 times."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def one_job(client: Client, dataset_id: str) -> tuple[float, float, dict[str, float]]:
    """(overhead, start, seconds by stage) of one job, in seconds, by the database's clock."""
    spec: dict[str, Any] = {
        "model": "overhead", "task": {"target": "target", "type": "multiclass"},
        "data": {"sources": {"iris": {"kind": "dataset", "dataset_id": dataset_id}}}, "tuning": {"strategy": "none"},
        "reproducibility": {"reuse": False},
    }  # fmt: skip
    job = client.wait(client.submit(spec))
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job ended as {job['status']}: {job['error']}")
    spent = {stage["name"]: stage["duration_seconds"] or 0.0 for stage in job["stages"]}
    wall = seconds(job["created_at"], job["finished_at"])
    return wall - sum(spent.values()), seconds(job["created_at"], job["stages"][0]["started_at"]), spent


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Options(Path(folder, "house"), port=0, workers=1))
        stack.start()
        try:
            client = Client(stack.url, stack.api_key)
            dataset_id = client.upload(iris(Path(folder, "iris.csv")))
            for _job in range(WARM_UP_JOBS):
                one_job(client, dataset_id)
            measured = [one_job(client, dataset_id) for _job in range(jobs)]
        finally:
            stack.stop(soft_seconds=2.0)
    print(f"| iris, no tuning, {jobs} jobs, one worker | median | p90 |\n|---|---|---|")
    for name, values in (
        ("engine overhead, ms", [1e3 * overhead for overhead, _, _ in measured]),
        ("accepted to first stage started, ms", [1e3 * start for _, start, _ in measured]),
        ("the stages' own work, ms", [1e3 * sum(spent.values()) for _, _, spent in measured]),
        ("of it, register, ms", [1e3 * spent["register"] for _, _, spent in measured]),
    ):
        print(f"| {name} | {statistics.median(values):.0f} | {percentile(values, 0.9):.0f} |")


if __name__ == "__main__":
    main()

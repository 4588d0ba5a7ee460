"""How much work a kill costs a long fit: SIGKILL to its worker in the midst, and what the next one has to do again.

    python -m benchmarks.checkpoint                      # a fit of about five minutes, killed after three
    python -m benchmarks.checkpoint --rows 20000 --kill-after 20 --every 5

Fits one LightGBM model of very many rounds. Repeated work is the time from the last checkpoint's saving to the kill; the
fit must end with all its rounds.
"""

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from sklearn.datasets import make_classification

from standalone.client import Client, eventually
from standalone.supervisor import Options, Stack

FOREVER = 3_600.0


def a_table(path: Path, *, rows: int) -> Path:
    """A CSV of `rows` x 20 numbers with a binary target."""
    x, y = make_classification(n_samples=rows, n_features=20, n_informative=15, flip_y=0.2, random_state=0)
    header = ",".join([*(f"f{index}" for index in range(x.shape[1])), "y"])
    lines = (",".join([*(f"{value:.5f}" for value in row), str(label)]) for row, label in zip(x, y, strict=True))
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def submitted(client: Client, table: Path, *, rounds: int) -> str:
    """The id of a job that fits so many rounds on the table."""
    spec: dict[str, Any] = {
        "model": "long", "task": {"target": "y", "type": "binary"},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": client.upload(table)}}},
        "training": {
            "max_iterations": rounds, "early_stopping_rounds": None, "effort": "full",
            "params": {"learning_rate": 0.01, "num_leaves": 63},
        },
        "tuning": {"strategy": "none"}, "resources": {"threads": 1},
    }  # fmt: skip
    return client.submit(spec)


def fit_of(looking: psycopg.Connection[Any], job_id: str) -> tuple[dict[str, Any] | None, str | None]:
    """(the last checkpoint of the train stage, who holds the job)."""
    row = looking.execute(
        "select s.checkpoint, j.lease_owner from jobs j join job_stages s on s.job_id = j.id and s.name = 'train' "
        "where j.id = %s", (job_id,),
    ).fetchone()  # fmt: skip
    return (row[0] or {}).get("fit") if row else None, row[1] if row else None


def killed(
    looking: psycopg.Connection[Any], client: Client, job_id: str, *, after: float
) -> tuple[float, dict[str, Any]]:
    """Kills the fit `after` seconds into it; returns seconds since its last checkpoint, and that checkpoint."""
    eventually(lambda: client.job(job_id)["stage"] == "train", within=FOREVER, what="the fit")
    began, saved_at, last = time.monotonic(), time.monotonic(), None
    while time.monotonic() - began < after:
        saved, _owner = fit_of(looking, job_id)
        if saved != last:
            saved_at, last = time.monotonic(), saved
        time.sleep(0.2)
    saved, owner = fit_of(looking, job_id)
    if saved is None or owner is None:
        raise RuntimeError("the fit ended, or was not saved, before it was to be killed: give it more rounds or rows")
    os.kill(int(owner.split(":")[1]), signal.SIGKILL)
    return time.monotonic() - saved_at, saved


def main() -> None:
    """Runs one job on two workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=24_000)
    parser.add_argument("--kill-after", type=float, default=180.0)
    parser.add_argument("--every", type=float, default=30.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        variables = {"TRAINHOUSE_CHECKPOINT_SECONDS": str(asked.every)}
        stack = Stack(Options(Path(folder, "house"), port=0, workers=2, variables=variables))
        stack.start()
        try:
            client = Client(stack.url, stack.api_key)
            job_id = submitted(client, a_table(Path(folder, "t.csv"), rows=asked.rows), rounds=asked.rounds)
            with psycopg.connect(stack.engines.postgres.url, autocommit=True) as looking:
                repeated, saved = killed(looking, client, job_id, after=asked.kill_after)
            job = client.wait(job_id, timeout=FOREVER)
        finally:
            stack.stop(soft_seconds=2.0)
    train = next(stage for stage in job["stages"] if stage["name"] == "train")
    print(
        f"{job['status']} in attempt {job['attempt']}: killed {asked.kill_after:.0f} s into the fit, saved at round "
        f"{saved['iteration']}, {repeated:.1f} s of work done again; {train['summary']['iterations']} rounds in the end"
    )


if __name__ == "__main__":
    main()

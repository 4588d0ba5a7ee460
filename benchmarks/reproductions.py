"""Trains versions of real tables again: alike on workers started afresh, and where a change first shows.

    python -m benchmarks.reproductions adult flights --data FOLDER

For each table a version is searched and registered in deterministic mode. Then all workers are killed and started, and it
is trained again: unchanged, with another seed, from pinned rows of which one differs, and on workers with another version
of LightGBM, which is fetched for that.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg

from benchmarks.budgets import opened
from benchmarks.peers.house import spec_of
from benchmarks.peers.run import contest_of
from standalone.client import Client
from standalone.services import HOUSE
from standalone.supervisor import Stack

OTHER = "lightgbm==4.6.0"
TAKEN = """
    UPDATE artifacts SET (digest, size_bytes) =
        (SELECT digest, size_bytes FROM artifacts WHERE job_id = %s AND name = 'snapshot')
    WHERE job_id = %s AND name = 'snapshot'
"""


def main() -> None:
    """Runs the jobs and prints what each reproduction says."""
    asked = arguments()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder, "house")) as stack:
        other = Path(folder, "other")
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*uv, "--python", sys.executable, "--target", str(other), OTHER], check=True)
        with Client(stack.url, stack.api_key) as client:
            for name in asked.tables:
                shown(stack, client, name, asked, scratch=Path(folder), other=other)


def shown(stack: Stack, client: Client, name: str, asked: argparse.Namespace, *, scratch: Path, other: Path) -> None:
    """Prints what the reproductions of one table say."""
    known = contest_of(name, 0, asked.data)
    dataset_id = client.upload(Path(known.path), name=name)
    spec = spec_of(known, dataset_id, tuning={"max_trials": asked.trials, "max_parallel": 2, "ensemble": 2})
    spec["training"] = {"max_iterations": asked.iterations}
    spec["reproducibility"] |= {"mode": "deterministic"}
    first = succeeded(client, client.submit(spec))
    restarted(stack)
    told(name, "unchanged, workers started afresh", reproduced(client, first))
    told(name, "another seed", reproduced(client, first, reproducibility={"seed": 1}))
    restarted(stack, path=f"{other}:{HOUSE}")
    told(name, f"with {OTHER}", reproduced(client, first))
    restarted(stack, path=str(HOUSE))
    frame = pd.read_parquet(known.path)
    place = frame.index[frame["part"] == "train"][0]
    numbers = [each for each in frame.select_dtypes("number").columns if each != known.target]
    frame.loc[place, numbers[0]] = frame[numbers[0]].max() + 1
    frame.to_parquet(scratch / "changed.parquet")
    spec["data"]["sources"]["rows"]["dataset_id"] = client.upload(scratch / "changed.parquet", name="changed")
    changed = succeeded(
        client, client.submit(spec | {"tuning": {"strategy": "none"}, "training": {"max_iterations": 1}})
    )
    with psycopg.connect(stack.engines.postgres.url) as connection:
        connection.execute(TAKEN, (changed["id"], first["id"]))
    told(name, "one value of one pinned row changed", reproduced(client, first))


def restarted(stack: Stack, *, path: str | None = None) -> None:
    """Kills every worker and starts it, with `path` for its imports where one is given."""
    for name, service in stack.services.items():
        if name.startswith("worker"):
            service.child.kill()
            if path is not None:
                service.child.environment = {**service.child.environment, "PYTHONPATH": path}
            service.child.start()


def reproduced(client: Client, job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What training the version of `job` again says."""
    path = f"/v1/models/{job['model']}/versions/{job['model_version']['version']}/reproduce"
    found: dict[str, Any] = succeeded(client, client.make(path, {"changes": changes})["id"])["reproduction"]
    return found


def succeeded(client: Client, job_id: str) -> dict[str, Any]:
    """The job at its end.

    Raises:
        RuntimeError: it did not succeed.
    """
    job = client.wait(job_id, timeout=900.0)
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job ended as {job['status']} in {job['stage']}: {job['error']}")
    return job


def told(name: str, what: str, found: dict[str, Any]) -> None:
    """Prints one reproduction."""
    first = found["first_difference"]
    where = "" if first is None else f"; first differs {first['stage']}: {first['what']}"
    changed = "".join(f"; {library} {then} → {now}" for library, (then, now) in found["libraries_changed"].items())
    apart = found["predictions"]["largest_difference"]
    print(f"{name}, {what}: {found['verdict']}{where}{changed}; predictions differ by {apart}", flush=True)


def arguments() -> argparse.Namespace:
    """What the caller asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--data", type=Path, help="the folder with the tables")
    parser.add_argument("--trials", type=int, default=6, help="of the search (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=300, help="of a fit at the most (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

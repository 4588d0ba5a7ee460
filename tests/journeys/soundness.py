"""What must hold of every job, whatever died on the way: one terminal state, one version, one event id, real bytes."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psycopg

from tests.driver import RunningStack, agreed, eventually


def a_table(path: Path, *, rows: int = 400, seed: int = 0) -> Path:
    """A CSV with numbers, a category and a learnable binary target `y`."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=rows), random.normal(size=rows)
    kind = random.choice(["x", "y", "z"], size=rows)
    y = (a + 0.5 * b + (kind == "x") + random.normal(scale=0.5, size=rows) > 0).astype(int)
    lines = [f"{a[i]:.6f},{b[i]:.6f},{kind[i]},{y[i]}" for i in range(rows)]
    path.write_text("a,b,kind,y\n" + "\n".join(lines) + "\n")
    return path


def a_spec(dataset_id: str, model: str, **parts: Any) -> dict[str, Any]:
    """A quick job over one data set, which does all its work itself."""
    return {
        "model": model, "task": {"target": "y", "type": "binary"},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": dataset_id}}},
        "tuning": {"strategy": "none"}, "training": {"max_iterations": 30}, "reproducibility": {"reuse": False}, **parts,
    }  # fmt: skip


def versions_of(stack: RunningStack, model: str) -> list[dict[str, Any]]:
    """The model's versions; none where the model does not exist."""
    answer = stack.client.get(f"/v1/models/{model}/versions")
    return [] if answer.status_code == 404 else list(agreed(answer)["items"])


def event_ids(stack: RunningStack, job_id: str, kind: str) -> list[str]:
    """The ids of the job's events of that kind."""
    return [event["id"] for event in stack.client.everything(f"/v1/jobs/{job_id}/events") if event["type"] == kind]


def assert_sound(stack: RunningStack, job_id: str, *, attempts: range | None = None) -> dict[str, Any]:
    """The job, after it was seen to have succeeded once and for all."""
    job = stack.client.wait(job_id, timeout=120)
    assert job["status"] == "succeeded", job["error"]
    assert [stage["status"] for stage in job["stages"] if stage["status"] not in {"succeeded", "skipped"}] == []
    if attempts is not None:
        assert job["attempt"] in attempts, [
            line["message"] for line in stack.client.everything(f"/v1/jobs/{job_id}/logs")
        ]
    mine = [version for version in versions_of(stack, job["model"]) if version["job_id"] == job_id]
    assert len(mine) == 1
    for kind in ("model.version.registered", "job.succeeded"):
        assert len(event_ids(stack, job_id, kind)) == 1
    where = stack.client.get(f"/v1/models/{job['model']}/versions/{mine[0]['version']}/bundle", follow_redirects=False)
    bundle = httpx2.get(where.headers["location"], timeout=30).content
    assert "sha256:" + hashlib.sha256(bundle).hexdigest() == mine[0]["bundle_digest"]
    return job


@contextmanager
def database(stack: RunningStack) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the test's own to the stack's Postgres."""
    with psycopg.connect(stack.engines.postgres.url, application_name="a-test") as connection:
        yield connection


def holder_of(connection: psycopg.Connection[Any], job_id: str) -> int | None:
    """The process id of the worker that holds the job, or one of its trials."""
    row = connection.execute("select lease_owner from jobs where id = %s", (job_id,)).fetchone()
    if row is None or row[0] is None:
        row = connection.execute(
            "select lease_owner from trials where job_id = %s and status = 'running' and lease_owner is not null",
            (job_id,),
        ).fetchone()
    return int(row[0].split(":")[1]) if row and row[0] else None


def a_worker_waits_for_a_lock(connection: psycopg.Connection[Any]) -> bool:
    """Whether a worker's transaction stands before a lock."""
    found = connection.execute(
        "select 1 from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'trainhouse-worker'"
    ).fetchone()
    return found is not None


__all__ = ["RunningStack", "a_spec", "a_table", "a_worker_waits_for_a_lock", "assert_sound", "database", "event_ids",
           "eventually", "holder_of", "versions_of"]  # fmt: skip

"""Rows that the engine's tests start from."""

from typing import Any

from sqlalchemy import Engine, text

from app.db import transaction
from app.ids import new_id
from app.jobs import service as jobs
from app.jobs.submission import submit
from app.spec.job import JobSpec, parse_spec
from app.tables import Dataset, Job, Project

LEASE_SECONDS = 30.0


def a_spec(dataset_id: str, **parts: Any) -> JobSpec:
    """A spec over one data set, with the given parts."""
    document = {
        "model": "a-model", "task": {"target": "y"},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": dataset_id}}}, **parts,
    }  # fmt: skip
    return parse_spec(document)


def a_job(engine: Engine, **parts: Any) -> str:
    """A queued job of a project of its own; returns its id."""
    with transaction(engine) as session:
        project = Project(id=new_id("prj"), name=new_id("name"))
        session.add(project)
        session.flush()
        dataset = Dataset(
            id=new_id("ds"), project_id=project.id, name="t", filename="t.csv", format="csv", status="ready",
            digest="sha256:" + "0" * 64, size_bytes=1,
        )  # fmt: skip
        session.add(dataset)
        session.flush()
        return submit(session, a_spec(dataset.id, **parts), project_id=project.id, created_by="key", extras=()).id


def the_job(engine: Engine, job_id: str) -> Job:
    """The job's row as it is now."""
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def let_the_lease_run_out(engine: Engine, job_id: str) -> None:
    """Makes the lease one that nobody renewed."""
    with transaction(engine) as session:
        session.execute(
            text("update jobs set lease_until = now() - interval '1 second' where id = :id"), {"id": job_id}
        )


def make_due(engine: Engine, job_id: str) -> None:
    """Makes a job that was put back claimable now."""
    with transaction(engine) as session:
        session.execute(text("update jobs set due_at = now() where id = :id"), {"id": job_id})


def events_of(engine: Engine, job_id: str) -> list[tuple[str, str]]:
    """(type, id) of the job's events, in order."""
    with transaction(engine) as session:
        return [(row.type, row.id) for row in jobs.happened(session, job_id, limit=1_000, after=0)]


def somebody_waits(engine: Engine) -> bool:
    """Whether a session waits for another's lock."""
    with transaction(engine) as session:
        return bool(session.scalar(text("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")))

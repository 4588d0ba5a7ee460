"""What is stored and needed no more: written down, and removed from the store once nothing can begin to use it."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.tables import Garbage, JobStage, Trial


def discard(session: Session, project_id: str, digests: Iterable[str]) -> None:
    """Gives the project's blobs to the collector, which keeps those that a row still names."""
    thrown = [{"project_id": project_id, "digest": digest} for digest in sorted(set(digests))]
    if thrown:
        session.execute(insert(Garbage).values(thrown).on_conflict_do_update(
            index_elements=["project_id", "digest"], set_={"since": func.now()}
        ))  # fmt: skip


def discard_checkpoints(session: Session, project_id: str, job_id: str) -> None:
    """Gives away where the job's fits stood: nobody will go on with them."""
    stages = session.scalars(select(JobStage).where(JobStage.job_id == job_id, JobStage.checkpoint.is_not(None)))
    trials = session.scalars(select(Trial).where(Trial.job_id == job_id, Trial.checkpoint.is_not(None)))
    rows: list[JobStage | Trial] = [*stages, *trials]
    for row in rows:
        discard(session, project_id, saved_in(row.checkpoint or {}))
        row.checkpoint = None


def saved_in(checkpoint: Mapping[str, Any]) -> list[str]:
    """The blobs that a checkpoint names."""
    return [noted["digest"] for noted in checkpoint.values()]

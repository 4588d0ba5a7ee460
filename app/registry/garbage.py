"""Removes blobs that nothing refers to any more from the store, once what threw them away is long enough ago."""

from sqlalchemy import Engine, Exists, Select, exists, func, select
from sqlalchemy.orm import Session

from app.db import transaction
from app.states import JobStatus
from app.storage import S3Store
from app.tables import Artifact, Dataset, Garbage, Job, ModelVersion, Trial

GRACE_SECONDS = 3_600.0
"""So long garbage lies: a stage that stored the same bytes has said so by then, or its job still runs."""
MOST_AT_ONCE = 200


def collect(engine: Engine, store: S3Store, *, grace_seconds: float = GRACE_SECONDS) -> int:
    """Removes the blobs that lie long enough, each in a transaction of its own; how many it removed.

    A project's garbage waits while one of its jobs runs, for a running stage may just have found the same bytes stored.

    Raises:
        StoreUnavailable: the store does not answer; what is left is tried again.
    """
    with transaction(engine) as session:
        lying = [(row.project_id, row.digest) for row in session.execute(due(grace_seconds))]
    return sum(_removed(engine, store, project_id, digest) for project_id, digest in lying)


def due(grace_seconds: float = GRACE_SECONDS) -> Select[str, str]:
    """(project, digest) of what may be removed now, the oldest first."""
    old = Garbage.since < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, grace_seconds)
    return select(Garbage.project_id, Garbage.digest).where(old, ~_busy()).order_by(Garbage.since).limit(MOST_AT_ONCE)


def _removed(engine: Engine, store: S3Store, project_id: str, digest: str) -> bool:
    with transaction(engine) as session:
        mine = (Garbage.project_id == project_id) & (Garbage.digest == digest)
        row = session.scalar(select(Garbage).where(mine, ~_busy()).with_for_update(skip_locked=True))
        if row is None:
            return False
        thrown = not referenced(session, project_id, digest)
        if thrown:
            store.remove(project_id, digest)
        session.delete(row)
        return thrown


def _busy() -> Exists:
    running = Job.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING])
    return exists().where(Job.project_id == Garbage.project_id, running)


def referenced(session: Session, project_id: str, digest: str) -> bool:
    """Whether a row of the project still names the blob."""
    of_job = select(Artifact.digest).join(Job, Job.id == Artifact.job_id)
    of_trial = select(Trial.number).join(Job, Job.id == Trial.job_id)
    named = (
        of_job.where(Job.project_id == project_id, Artifact.digest == digest),
        of_trial.where(
            Job.project_id == project_id, (Trial.model_digest == digest) | (Trial.predictions_digest == digest)
        ),
        select(Dataset.id).where(Dataset.project_id == project_id, Dataset.digest == digest),
        select(ModelVersion.id).where(
            ModelVersion.project_id == project_id, ModelVersion.bundle_digest == digest, ModelVersion.deleted_at.is_(None)
        ),
    )  # fmt: skip
    return any(session.scalar(query.limit(1)) is not None for query in named)

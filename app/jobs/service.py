"""Jobs as rows: reading, cancelling, retrying. No work is done here."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, defer

from app import events
from app.discards import discard_checkpoints
from app.errors import Conflict, NotFound
from app.moves import move_job
from app.states import TERMINAL_JOBS, JobStatus, StageStatus, TrialStatus
from app.tables import Artifact, Event, Job, JobLog, JobStage, Review, Trial

NO_SUCH_JOB = "There is no such job in this project."


def get(session: Session, job_id: str, *, project_id: str) -> Job:
    """The job.

    Raises:
        NotFound: there is none, or it is another project's.
    """
    job = session.get(Job, job_id) if _may_be(job_id) else None
    if job is None or job.project_id != project_id:
        raise NotFound(NO_SUCH_JOB)
    return job


def mark(session: Session, job_id: str, *, project_id: str) -> tuple[int, JobStatus]:
    """(revision, status) of the job: what changes with everything that is shown of it, and costs next to nothing to read.

    Raises:
        NotFound: there is none, or it is another project's.
    """
    query = select(Job.revision, Job.status).where(Job.id == job_id, Job.project_id == project_id)
    found = session.execute(query).one_or_none() if _may_be(job_id) else None
    if found is None:
        raise NotFound(NO_SUCH_JOB)
    return found.revision, JobStatus(found.status)


def _may_be(job_id: str) -> bool:
    """Whether the database can be asked for it."""
    return job_id.isascii() and "\x00" not in job_id


def locked(session: Session, job_id: str, *, project_id: str) -> Job:
    """The job, its row locked until the transaction ends.

    Raises:
        NotFound: there is none, or it is another project's.
    """
    get(session, job_id, project_id=project_id)
    return session.get_one(Job, job_id, with_for_update=True, populate_existing=True)


def page(  # noqa: PLR0913  # each filter is one of the contract's
    session: Session,
    *,
    project_id: str,
    limit: int,
    before: str | None,
    statuses: Sequence[str] = (),
    model: str | None = None,
    created_after: datetime | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[Job]:
    """Up to `limit + 1` jobs, newest first, that pass every filter."""
    query = select(Job).where(Job.project_id == project_id).options(defer(Job.spec)).order_by(Job.id.desc())
    if before:
        query = query.where(Job.id < before)
    if statuses:
        query = query.where(Job.status.in_(statuses))
    if model:
        query = query.where(Job.model == model)
    if created_after:
        query = query.where(Job.created_at > created_after)
    if labels:
        query = query.where(Job.labels.contains(dict(labels)))
    return list(session.scalars(query.limit(limit + 1)))


def stages_of(session: Session, job_ids: Sequence[str]) -> dict[str, list[JobStage]]:
    """The stages of each job, in order."""
    rows = session.scalars(
        select(JobStage).where(JobStage.job_id.in_(job_ids)).order_by(JobStage.job_id, JobStage.position)
        .options(defer(JobStage.output))
    )  # fmt: skip
    found: dict[str, list[JobStage]] = {job_id: [] for job_id in job_ids}
    for row in rows:
        found[row.job_id].append(row)
    return found


def logs(session: Session, job_id: str, *, limit: int, after: int) -> list[JobLog]:
    """Up to `limit + 1` log lines whose id is above `after`."""
    query = select(JobLog).where(JobLog.job_id == job_id, JobLog.id > after).order_by(JobLog.id)
    return list(session.scalars(query.limit(limit + 1)))


def happened(session: Session, job_id: str, *, limit: int, after: int) -> list[Event]:
    """Up to `limit + 1` events of the job whose seq is above `after`."""
    query = select(Event).where(Event.job_id == job_id, Event.seq > after).order_by(Event.seq)
    return list(session.scalars(query.limit(limit + 1)))


def artifacts(session: Session, job_id: str) -> list[Artifact]:
    """The job's artifacts by name."""
    return list(session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))


def artifact(session: Session, job_id: str, name: str) -> Artifact:
    """One artifact of the job.

    Raises:
        NotFound: no stage has made it.
    """
    found = session.get(Artifact, (job_id, name)) if "\x00" not in name else None
    if found is None:
        known = ", ".join(row.name for row in artifacts(session, job_id)) or "none yet"
        raise NotFound("This job has no such artifact.", hint=f"It has: {known}.")
    return found


def cancel(session: Session, job: Job, *, by: str) -> None:
    """Cancels a job whose row is locked: at once where no worker holds it, otherwise as soon as its worker hears.

    Raises:
        Conflict: it has ended.
    """
    status = JobStatus(job.status)
    if status in TERMINAL_JOBS and status is not JobStatus.CANCELLED:
        raise Conflict(f"The job has ended: it is {status}.", code="already_ended")
    if status in {JobStatus.CANCELLED, JobStatus.CANCELLING}:
        return
    held = session.scalar(
        select(Job.id).where(Job.id == job.id, Job.lease_owner.is_not(None), Job.lease_until > func.now())
    )
    job.cancel_requested_at = func.now()
    if held:
        move_job(session, job, JobStatus.CANCELLING, "cancelled by the caller; its worker is being told")
        events.append(session, job.project_id, type="job.cancelling", job_id=job.id, data={"by": by})
    else:
        end_cancelled(session, job)


def end_cancelled(session: Session, job: Job) -> None:
    """Ends a job whose row is locked as cancelled, with its open review and its unfinished stages."""
    move_job(session, job, JobStatus.CANCELLED, "cancelled by the caller")
    skip_open_stages(session, job.id)
    discard_checkpoints(session, job.project_id, job.id)
    for review in session.scalars(select(Review).where(Review.job_id == job.id, Review.status == "open")):
        review.status, review.decided_at = "cancelled", func.now()
    events.append(
        session, job.project_id, type="job.cancelled", job_id=job.id, once=job.id,
        data={"job_id": job.id, "model": job.model},
    )  # fmt: skip


def skip_open_stages(session: Session, job_id: str) -> None:
    """Marks the stages that will never run as skipped, and the trials that will never end as lost."""
    open_stages = select(JobStage).where(
        JobStage.job_id == job_id, JobStage.status.in_([StageStatus.PENDING, StageStatus.RUNNING])
    )
    for row in session.scalars(open_stages):
        row.status = StageStatus.SKIPPED
    session.execute(
        update(Trial)
        .where(Trial.job_id == job_id, Trial.status.in_([TrialStatus.QUEUED, TrialStatus.RUNNING]))
        .values(status=TrialStatus.LOST, reason="the job ended first", lease_until=None, finished_at=func.now())
    )


def retry(session: Session, job: Job, *, by: str) -> None:
    """Queues a failed job, whose row is locked, again: it resumes from the stage that failed.

    Raises:
        Conflict: it has not failed.
    """
    if job.status != JobStatus.FAILED:
        raise Conflict(f"Only a failed job can be retried; this one is {job.status}.", code="not_failed")
    move_job(session, job, JobStatus.QUEUED, "retried by the caller")
    job.error = job.finished_at = None
    job.attempt, job.strikes, job.due_at = job.attempt + 1, 0, func.now()
    rows = session.scalars(select(JobStage).where(JobStage.job_id == job.id).order_by(JobStage.position)).all()
    # What was skipped before the stage that failed, such as a search that nobody asked for, stays so.
    failed = next((row.position for row in rows if row.status in {StageStatus.FAILED, StageStatus.RUNNING}), 0)
    for row in rows:
        if row.position >= failed and row.status in {StageStatus.FAILED, StageStatus.SKIPPED, StageStatus.RUNNING}:
            row.status, row.summary = StageStatus.PENDING, None
    events.append(session, job.project_id, type="job.retried", job_id=job.id, data={"by": by})
    events.ring(session)


def outcome(job: Job) -> dict[str, Any]:
    """The thin data of a job's closing event: ids and metrics, no rows."""
    return {"job_id": job.id, "model": job.model, "version": job.version, "metrics": job.metrics.get("test", {})}

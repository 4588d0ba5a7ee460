"""The one door through which a job's state moves: it checks the map, writes, and tells those who wait."""

from sqlalchemy import func
from sqlalchemy.orm import Session

from app import events
from app.errors import Conflict
from app.states import JOB_MOVES, TERMINAL_JOBS, JobStatus
from app.tables import Job


def move_job(session: Session, job: Job, to: JobStatus, reason: str | None = None) -> None:
    """Moves `job`, whose row the caller has locked, to `to`; `reason` is shown with the new state.

    A terminal state, a review and the queue hold no lease; a terminal state waits on nothing.

    Raises:
        Conflict: the map of moves does not have this one.
    """
    current = JobStatus(job.status)
    if to is not current and to not in JOB_MOVES[current]:
        raise Conflict(f"A job that is {current} cannot become {to}.", code="illegal_move")
    job.status, job.status_reason = to, reason
    if to is not JobStatus.RUNNING and to is not JobStatus.CANCELLING:
        job.lease_owner = job.lease_until = job.waits_on = job.rung_at = None
    if to in TERMINAL_JOBS:
        job.finished_at = func.now()
        job.progress = None
    touch(session, job)


def touch(session: Session, job: Job) -> None:
    """Gives the job a new revision (its ETag) and wakes those who poll or stream it."""
    job.revision += 1
    events.notify_stream(session, job_id=job.id, project_id=job.project_id)

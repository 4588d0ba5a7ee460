"""The rows of trials: how each ended, and that it still runs; every write guarded by the attempt and its owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, and_, func, select, update
from sqlalchemy.orm import Session, defer

from app import events
from app.db import transaction
from app.errors import LeaseLost, TrainhouseError
from app.states import ENDED_TRIALS, JobStatus, TrialStatus
from app.tables import Job, Trial
from workers import standing
from workers.clerk import SECOND, end_failed
from workers.context import Blob, TrialResult


@dataclass(frozen=True)
class Asked:
    """A trial that this process is to fit. `attempt` and `owner` guard every write.

    Attributes:
        history: The ended trials that the suggestion was made from.
        seconds_left: Of the search, when the trial was asked for.
        checkpoint: Where an earlier attempt stood, if it got so far.
    """

    number: int
    attempt: int
    owner: str
    params: dict[str, Any]
    history: tuple[TrialResult, ...] = ()
    seconds_left: float = float("inf")
    checkpoint: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Told:
    """How a trial ended. `last` says that its worker now leaves the job to others."""

    status: TrialStatus
    duration_seconds: float
    value: float | None = None
    metrics: Mapping[str, float] | None = None
    iterations: int | None = None
    curve: Sequence[tuple[int, float]] = ()
    reason: str | None = None
    model: Blob | None = None
    predictions: Blob | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    last: bool = False


def tell(engine: Engine, job_id: str, asked: Asked, told: Told) -> None:
    """Records how the trial ended; who tells the last one sets the job going again.

    Raises:
        LeaseLost: the trial was taken over, or the job no longer runs.
    """
    with transaction(engine) as session:
        job, now = locked(session, job_id)
        if write_end(session, job, asked, told):
            standing.advance(session, job, now=now)


def locked(session: Session, job_id: str) -> tuple[Job, float]:
    """The job, its row locked, and the time by the database's clock."""
    query = select(Job, func.extract("epoch", func.clock_timestamp())).where(Job.id == job_id)
    job, now = session.execute(query.options(defer(Job.spec), defer(Job.facts)).with_for_update(of=Job)).one()
    return job, float(now)


def renew(engine: Engine, job_id: str, asked: Asked, *, lease_seconds: float) -> bool:
    """Lengthens the trial's lease; returns whether the job no longer wants trials.

    Raises:
        LeaseLost
    """
    with transaction(engine) as session:
        renewed = session.execute(
            update(Trial)
            .where(_mine(job_id, asked))
            .values(lease_until=func.now() + SECOND * lease_seconds)
            .returning(Trial.number)
        ).one_or_none()
        if renewed is None:
            raise LeaseLost
        status = session.scalar(select(Job.status).where(Job.id == job_id))
        return status != JobStatus.RUNNING


def note_checkpoint(engine: Engine, job_id: str, asked: Asked, checkpoint: Mapping[str, Any]) -> None:
    """Writes down where the trial's fit stands.

    Raises:
        LeaseLost: the trial was taken over.
    """
    with transaction(engine) as session:
        noted = session.execute(
            update(Trial).where(_mine(job_id, asked)).values(checkpoint=dict(checkpoint)).returning(Trial.number)
        ).one_or_none()
        if noted is None:
            raise LeaseLost


def _mine(job_id: str, asked: Asked) -> Any:
    return and_(
        Trial.job_id == job_id, Trial.number == asked.number, Trial.attempt == asked.attempt,
        Trial.lease_owner == asked.owner, Trial.status == TrialStatus.RUNNING,
    )  # fmt: skip


def write_end(session: Session, job: Job, asked: Asked, told: Told) -> bool:
    """Writes the trial's end; False where it was written before."""
    values: dict[str, Any] = {"status": told.status, "reason": told.reason, "lease_until": None}
    values |= {"lease_owner": None} if told.status == TrialStatus.QUEUED else _noted(told)
    written = update(Trial).where(_mine(job.id, asked)).values(values).returning(Trial.number)
    if job.status != JobStatus.RUNNING or session.execute(written).one_or_none() is None:
        if _was_told(session, job, asked):
            return False  # the answer to an earlier commit was lost
        raise LeaseLost
    if told.status != TrialStatus.QUEUED:
        data = {"number": asked.number, "status": told.status, "value": told.value}
        events.append(session, job.project_id, type="trial.finished", job_id=job.id, data=data)
    if told.last:
        job.rung_at = None
        events.ring(session)
    return True


def _was_told(session: Session, job: Job, asked: Asked) -> bool:
    same = (Trial.job_id == job.id, Trial.number == asked.number, Trial.attempt == asked.attempt)
    ended = select(Trial.number).where(*same, Trial.lease_owner == asked.owner, Trial.status.in_(ENDED_TRIALS))
    return session.execute(ended).one_or_none() is not None


def _noted(told: Told) -> dict[str, Any]:
    """The columns of an ended trial."""
    values: dict[str, Any] = {
        "finished_at": func.clock_timestamp(), "duration_seconds": round(told.duration_seconds, 6),
        "value": told.value, "iterations": told.iterations, "metrics": dict(told.metrics or {}),
        "curve": [list(point) for point in told.curve], "facts": dict(told.facts), "checkpoint": None,
    }  # fmt: skip
    if told.model is not None:
        values |= {"model_digest": told.model.digest, "model_bytes": told.model.size_bytes}
    if told.predictions is not None:
        values |= {"predictions_digest": told.predictions.digest, "predictions_bytes": told.predictions.size_bytes}
    return values


def give_up(engine: Engine, job_id: str, error: TrainhouseError) -> None:
    """Fails a job whose search cannot go on."""
    with transaction(engine) as session:
        job = session.get_one(Job, job_id, with_for_update=True)
        if job.waits_on == "trials" and job.status == JobStatus.RUNNING:
            end_failed(session, job, error, stage="tune")

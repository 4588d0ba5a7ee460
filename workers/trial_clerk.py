"""The rows of a search: what to try next and how a trial ended, both in one transaction under the job's lock."""

from collections.abc import Callable, Mapping, Sequence
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
from workers.budget import search_seconds
from workers.clerk import SECOND, end_failed
from workers.context import Blob, TrialResult
from workers.searching import Searching
from workers.standing import Standing

Suggest = Callable[..., dict[str, Any]]
"""`suggest(spec, facts, *, number, history, running, warm)`, as workers.search.suggest has it."""


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
    history: tuple[TrialResult, ...]
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
        job, now = _locked(session, job_id)
        if _tell(session, job, asked, told):
            standing.advance(session, job, now=now)


def ask(  # an ask is what is known, by whom, and what follows what
    engine: Engine,
    searching: Searching,
    *,
    owner: str,
    lease_seconds: float,
    suggest: Suggest,
    after: tuple[Asked, Told] | None = None,
) -> Asked | None:
    """The next trial of the job, its row written as running under a lease; None where none is wanted now.

    Args:
        after: The trial that this process has just ended, told in the same transaction.

    Raises:
        LeaseLost: that trial was taken over, or the job no longer runs.
    """
    with transaction(engine) as session:
        job, now = _locked(session, searching.job_id)
        told = after is not None and _tell(session, job, *after)
        rows = searching.rows(session)
        if told:
            standing.advance(session, job, now=now, rows=rows)
        if after is not None and after[1].last:
            return None
        if job.status != JobStatus.RUNNING or job.waits_on != "trials" or job.fence != searching.fence:
            return None
        mine = next((row for row in rows if row.status == TrialStatus.RUNNING and row.owner == owner), None)
        if mine is not None:  # the answer to an earlier commit was lost
            return _asked(session, searching, job, rows, mine.number, owner=owner, now=now)
        if sum(row.status == TrialStatus.RUNNING for row in rows) >= _search(job)["parallel"]:
            return None
        number = _taken_again(session, job, rows, owner=owner, lease_seconds=lease_seconds)
        if number is None:
            number = _fresh(session, searching, job, rows, now=now, suggest=suggest, lease=(owner, lease_seconds))
        return None if number is None else _asked(session, searching, job, rows, number, owner=owner, now=now)


def _locked(session: Session, job_id: str) -> tuple[Job, float]:
    """The job, its row locked, and the time by the database's clock."""
    query = select(Job, func.extract("epoch", func.clock_timestamp())).where(Job.id == job_id)
    job, now = session.execute(query.options(defer(Job.spec), defer(Job.facts)).with_for_update(of=Job)).one()
    return job, float(now)


def _search(job: Job) -> dict[str, Any]:
    return job.search or {}


def _taken_again(
    session: Session, job: Job, rows: Sequence[Standing], *, owner: str, lease_seconds: float
) -> int | None:
    """The number of a trial that was taken back from a lost worker, now this one's."""
    row = next((row for row in rows if row.status == TrialStatus.QUEUED), None)
    if row is None:
        return None
    again = update(Trial).where(Trial.job_id == job.id, Trial.number == row.number)
    session.execute(again.values(_held(owner, lease_seconds)))
    return row.number


def _held(owner: str, lease_seconds: float) -> dict[str, Any]:
    return {
        "status": TrialStatus.RUNNING, "lease_owner": owner, "worker": ":".join(owner.split(":")[:2]),
        "lease_until": func.now() + SECOND * lease_seconds, "started_at": func.clock_timestamp(),
    }  # fmt: skip


def _fresh(  # the rows, the clock, and who is to hold the new one
    session: Session,
    searching: Searching,
    job: Job,
    rows: Sequence[Standing],
    *,
    now: float,
    suggest: Suggest,
    lease: tuple[str, float],
) -> int | None:
    """The number of a new trial with what the search suggests, or None where it wants no more, or must wait."""
    number, search = len(rows), _search(job)
    if standing.over(job, rows, now=now) is not None:
        return None
    seen = _seen(job, rows, number)
    if seen is None:
        return None
    running = [row for row in rows if row not in seen and (row.open or standing.is_deterministic(job))]
    params = suggest(
        searching.spec, searching.facts, number=number,
        history=list(searching.results_of(session, [row.number for row in seen])),
        running=[dict(row.params) for row in running], warm=search.get("warm", {}).get("params", []),
    )  # fmt: skip
    row = Trial(job_id=job.id, number=number, params=params, attempt=1, metrics={}, facts={}, **_held(*lease))
    session.add(row)
    session.flush()
    return number


def _seen(job: Job, rows: Sequence[Standing], number: int) -> list[Standing] | None:
    """The ended trials that trial `number` may be made from; None where one of them has not ended.

    In deterministic mode these are the trials `parallel` or more before it, whatever else has ended by now: then
    one worker and three make the same study.
    """
    if not standing.is_deterministic(job):
        return [row for row in rows if not row.open]
    settled = standing.settled(job, rows, number)
    return None if any(row.open for row in settled) else settled


def _asked(  # all that the new trial is told of
    session: Session,
    searching: Searching,
    job: Job,
    rows: Sequence[Standing],
    number: int,
    *,
    owner: str,
    now: float,
) -> Asked:
    trial = select(Trial.attempt, Trial.params, Trial.checkpoint)
    row = session.execute(trial.where(Trial.job_id == job.id, Trial.number == number)).one()
    seen = _seen(job, rows, number) or []
    history = searching.results_of(session, [other.number for other in seen])
    search = _search(job)
    left = search_seconds(search, standing.budgeted(rows)) - (now - search.get("began_at", now))
    return Asked(number, row.attempt, owner, dict(row.params), history, left, row.checkpoint)


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


def _tell(session: Session, job: Job, asked: Asked, told: Told) -> bool:
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

"""The rows of a search: what to try next, how a trial ended, and when the search is over; each under the job's lock."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, func, or_, select, update
from sqlalchemy.orm import Session, defer

from app import events
from app.db import transaction
from app.errors import LeaseLost, TrainhouseError
from app.moves import touch
from app.spec.job import JobSpec
from app.states import ENDED_TRIALS, JobStatus, TrialStatus
from app.tables import Job, JobStage, Trial
from workers.clerk import SECOND, end_failed
from workers.context import Blob, TrialResult
from workers.loading import results
from workers.search.facts import facts_of

MAX_ATTEMPTS = 3

Suggest = Callable[..., dict[str, Any]]
"""`suggest(spec, facts, *, number, history, running, warm)`, as workers.search.suggest has it."""


@dataclass(frozen=True)
class Asked:
    """A trial that this process is to fit. `attempt` and `owner` guard every write."""

    number: int
    attempt: int
    owner: str
    params: dict[str, Any]
    history: tuple[TrialResult, ...]


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


def ask(engine: Engine, job_id: str, *, owner: str, lease_seconds: float, suggest: Suggest) -> Asked | None:
    """The next trial of the job, its row written as running under a lease; None where none is wanted now."""
    with transaction(engine) as session:
        job = session.get(Job, job_id, with_for_update=True)
        if job is None or job.status != JobStatus.RUNNING or job.waits_on != "trials" or job.search is None:
            return None
        rows = list(session.scalars(select(Trial).where(Trial.job_id == job_id).order_by(Trial.number)))
        if sum(row.status == TrialStatus.RUNNING for row in rows) >= job.search["parallel"]:
            return None
        row = next((row for row in rows if row.status == TrialStatus.QUEUED), None)
        if row is None:
            row = _fresh(session, job, rows, suggest=suggest)
            if row is None:
                return None
        row.status, row.lease_owner = TrialStatus.RUNNING, owner
        row.worker = ":".join(owner.split(":")[:2])
        row.lease_until = func.now() + SECOND * lease_seconds
        row.started_at = func.clock_timestamp()
        session.flush()
        history = tuple(results(other for other in rows if other.status in ENDED_TRIALS))
        return Asked(row.number, row.attempt, owner, dict(row.params), history)


def _fresh(session: Session, job: Job, rows: Sequence[Trial], *, suggest: Suggest) -> Trial | None:
    """A new trial row with what the search suggests, or None where the search wants no more, or must wait."""
    number = len(rows)
    if number >= _wanted(session, job, rows):
        return None
    spec = JobSpec.model_validate(job.spec)
    seen: Sequence[Trial] = rows
    if spec.reproducibility.mode == "deterministic":
        # What is suggested may depend only on trials that have ended in any order of events: those
        # `parallel` or more before this one. Then one worker and three make the same study.
        settled = max(0, number - job.search["parallel"] + 1) if job.search else 0
        if any(row.status not in ENDED_TRIALS for row in rows[:settled]):
            return None
        seen, running = rows[:settled], [dict(row.params) for row in rows[settled:]]
    else:
        running = [dict(row.params) for row in rows if row.status not in ENDED_TRIALS]
    history = results(row for row in seen if row.status in ENDED_TRIALS)
    stages = session.scalars(select(JobStage).where(JobStage.job_id == job.id, JobStage.output.is_not(None)))
    facts = facts_of({stage.name: stage.output or {} for stage in stages})
    params = suggest(spec, facts, number=number, history=history, running=running)
    row = Trial(job_id=job.id, number=number, params=params, attempt=1, metrics={}, facts={}, status=TrialStatus.QUEUED)
    session.add(row)
    return row


def _wanted(session: Session, job: Job, rows: Sequence[Trial]) -> int:
    """How many trials the search wants in all, as far as can be said now."""
    tuning, trials = job.spec["tuning"], (job.search or {})["trials"]
    if tuning["max_seconds"] is not None:
        late = select(JobStage.started_at + SECOND * tuning["max_seconds"] <= func.clock_timestamp()).where(
            JobStage.job_id == job.id, JobStage.name == "train"
        )
        if session.scalar(late):
            return len(rows)
    if tuning["patience"] is not None and _out_of_patience(job, rows, patience=tuning["patience"]):
        return len(rows)
    return int(trials)


def _out_of_patience(job: Job, rows: Sequence[Trial], *, patience: int) -> bool:
    sign = 1.0 if (job.search or {})["minimize"] else -1.0
    best, since = math.inf, 0
    for row in rows:
        if row.status == TrialStatus.COMPLETE and row.value is not None and sign * row.value < best:
            best, since = sign * row.value, 0
        elif row.status in ENDED_TRIALS:
            since += 1
    return since >= patience


def renew(engine: Engine, job_id: str, asked: Asked, *, lease_seconds: float) -> bool:
    """Lengthens the trial's lease; returns whether the job no longer wants trials.

    Raises:
        LeaseLost
    """
    with transaction(engine) as session:
        renewed = session.execute(
            update(Trial)
            .where(
                Trial.job_id == job_id, Trial.number == asked.number, Trial.attempt == asked.attempt,
                Trial.lease_owner == asked.owner, Trial.status == TrialStatus.RUNNING,
            )
            .values(lease_until=func.now() + SECOND * lease_seconds)
            .returning(Trial.number)
        ).one_or_none()  # fmt: skip
        if renewed is None:
            raise LeaseLost
        status = session.scalar(select(Job.status).where(Job.id == job_id))
        return status != JobStatus.RUNNING


def tell(engine: Engine, job_id: str, asked: Asked, told: Told) -> None:
    """Records how the trial ended; who tells the last one sets the job going again.

    Raises:
        LeaseLost: the trial was taken over, or the job no longer runs.
    """
    with transaction(engine) as session:
        job = session.get_one(Job, job_id, with_for_update=True)
        row = session.get_one(Trial, (job_id, asked.number), with_for_update=True)
        mine = row.attempt == asked.attempt and row.lease_owner == asked.owner
        if mine and row.status in ENDED_TRIALS:
            return  # the answer to an earlier commit was lost
        if not mine or row.status != TrialStatus.RUNNING or job.status != JobStatus.RUNNING:
            raise LeaseLost
        row.status, row.reason, row.lease_until = told.status, told.reason, None
        if told.status == TrialStatus.QUEUED:
            row.lease_owner = None
        else:
            _note(row, told)
            data = {"number": row.number, "status": row.status, "value": row.value}
            events.append(session, job.project_id, type="trial.finished", job_id=job_id, data=data)
        _progress(session, job)
        if told.last:
            job.rung_at = None
            events.ring(session)
        session.flush()
        advance(session, job)


def _note(row: Trial, told: Told) -> None:
    row.finished_at, row.duration_seconds = func.clock_timestamp(), round(told.duration_seconds, 6)
    row.value, row.iterations = told.value, told.iterations
    row.metrics, row.curve = dict(told.metrics or {}), [list(point) for point in told.curve]
    if told.model is not None:
        row.model_digest, row.model_bytes = told.model.digest, told.model.size_bytes
    if told.predictions is not None:
        row.predictions_digest, row.predictions_bytes = told.predictions.digest, told.predictions.size_bytes
    row.facts = dict(told.facts)


def _progress(session: Session, job: Job) -> None:
    counted = select(func.count(), func.min(Trial.started_at)).where(
        Trial.job_id == job.id, Trial.status.in_(ENDED_TRIALS)
    )
    session.flush()
    done, first = session.execute(counted).one()
    total = (job.search or {})["trials"]
    eta = None
    if done and first is not None:
        elapsed = session.scalar(select(func.extract("epoch", func.clock_timestamp() - first))) or 0
        eta = round(float(elapsed) / done * (total - done), 1)
    position = 5 + min(1.0, done / total)
    job.progress = {"done": done, "total": total, "fraction": round(position / 10, 4), "eta_seconds": eta}
    touch(session, job)


def give_up(engine: Engine, job_id: str, error: TrainhouseError) -> None:
    """Fails a job whose search cannot go on."""
    with transaction(engine) as session:
        job = session.get_one(Job, job_id, with_for_update=True)
        if job.waits_on == "trials" and job.status == JobStatus.RUNNING:
            end_failed(session, job, error, stage="tune")


def advance(session: Session, job: Job) -> None:
    """Sets a locked job going again where its search has ended; takes back trials whose workers were lost."""
    if job.waits_on != "trials" or job.status != JobStatus.RUNNING:
        return
    _take_back(session, job)
    rows = list(
        session.scalars(select(Trial).where(Trial.job_id == job.id).order_by(Trial.number).options(defer(Trial.curve)))
    )
    if any(row.status not in ENDED_TRIALS for row in rows) or len(rows) < _wanted(session, job, rows):
        return
    job.search = {**(job.search or {}), "ended": True}
    job.waits_on, job.due_at, job.rung_at = None, func.now(), None
    events.ring(session)


def _take_back(session: Session, job: Job) -> None:
    """Trials whose lease ran out are queued again, at most MAX_ATTEMPTS times in all; then they are lost."""
    silent = select(Trial).where(
        Trial.job_id == job.id, Trial.status == TrialStatus.RUNNING,
        or_(Trial.lease_until.is_(None), Trial.lease_until < func.now()),
    )  # fmt: skip
    for row in session.scalars(silent.with_for_update()):
        row.lease_owner = row.lease_until = None
        if row.attempt >= MAX_ATTEMPTS:
            row.status, row.reason, row.finished_at = TrialStatus.LOST, "its worker was lost each time", func.now()
        else:
            row.status, row.attempt = TrialStatus.QUEUED, row.attempt + 1
    session.flush()

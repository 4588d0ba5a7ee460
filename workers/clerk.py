"""claim_next() and settle(): outcomes become rows, events and the next step, each in one short transaction.

Every write names the fence that the claim got; a worker whose lease was taken over matches no row and stops.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from app import events
from app.db import transaction
from app.errors import DeadlineExceeded, LeaseLost, TrainhouseError
from app.jobs import service as jobs
from app.moves import move_job
from app.secrets import Vault
from app.states import JobStatus, StageStatus, TrialStatus
from app.tables import Job, JobStage, Trial
from workers.context import Blob
from workers.loading import counted_from
from workers.onward import Settlement, begin, keep, let_go, note, onward, record

SECOND = func.make_interval(0, 0, 0, 0, 0, 0, 1)
FREE = or_(Job.lease_until.is_(None), Job.lease_until < func.now())
DUE = and_(
    Job.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]), Job.waits_on.is_(None), Job.cancel_requested_at.is_(None),
    Job.due_at <= func.now(), FREE,
)  # fmt: skip
"""The jobs that a worker may take now."""
TURN = (Job.priority.desc(), Job.due_at)
"""Whose turn it is first: the highest priority, and of one priority what has been due the longest."""


@dataclass(frozen=True)
class Claim:
    """A live lease on a job. `fence` guards every write; `seconds_used` are those of `resources.max_seconds`."""

    job_id: str
    project_id: str
    model: str
    owner: str
    fence: int
    attempt: int
    strikes: int
    spec: Mapping[str, Any]
    seconds_used: float


def claim_next(engine: Engine, rung_for: str, *, owner: str, lease_seconds: float) -> Claim | None:
    """Takes the lease of the job whose turn it is, or None where no job is to be had.

    Bells hang in a list in the order of their ringing, so what came first would go first: a bell says that there is
    work, and the rows say which. `rung_for`, the job that it was rung for, is taken where no other is free to be locked;
    where one is taken for which no bell hangs, another is rung for it.
    """
    turn = select(Job.id, Job.rung_at).where(DUE).order_by(*TURN).limit(1).with_for_update(skip_locked=True)
    with transaction(engine) as session:
        first = session.execute(turn).one_or_none()
        if first is not None and first.id != rung_for and first.rung_at is None:
            _ring_again(session, rung_for)
        job_id = rung_for if first is None else first.id
        return _taken(session, job_id, owner=owner, lease_seconds=lease_seconds)


def _ring_again(session: Session, job_id: str) -> None:
    free = select(Job.id).where(Job.id == job_id, DUE).with_for_update(skip_locked=True)
    if session.scalar(free) is not None:
        session.execute(update(Job).where(Job.id == job_id).values(rung_at=None))
        events.ring(session)


def _taken(session: Session, job_id: str, *, owner: str, lease_seconds: float) -> Claim | None:
    # An owner still named is one that was lost: only then, and at first, does another attempt begin.
    begun = case((or_(Job.attempt == 0, Job.lease_owner.is_not(None)), Job.attempt + 1), else_=Job.attempt)
    taking = (
        update(Job)
        .where(Job.id == job_id, DUE)
        .values(
            status=JobStatus.RUNNING, status_reason=None, fence=Job.fence + 1, attempt=begun,
            strikes=Job.strikes + 1, lease_owner=owner, lease_until=func.now() + SECOND * lease_seconds, rung_at=None,
            started_at=func.coalesce(Job.started_at, func.now()), revision=Job.revision + 1,
        )
        .returning(
            Job.project_id, Job.model, Job.fence, Job.attempt, Job.strikes, Job.spec,
            func.extract("epoch", func.now() - counted_from(job_id)).label("seconds_used"),
        )
    )  # fmt: skip
    row = session.execute(taking).one_or_none()
    if row is None:
        return None
    events.notify_stream(session, job_id=job_id, project_id=row.project_id)
    if row.attempt > 1:
        note(session, job_id, f"attempt {row.attempt} begins on {owner}", level="warning")
    return Claim(
        job_id, row.project_id, row.model, owner, row.fence, row.attempt, row.strikes, row.spec,
        float(row.seconds_used),
    )  # fmt: skip


def held(session: Session, claim: Claim) -> Job:
    """The job's row, locked, if the claim still stands.

    Raises:
        LeaseLost: another worker took it over, or it ended.
    """
    job = session.scalar(
        select(Job)
        .where(Job.id == claim.job_id, Job.fence == claim.fence, Job.lease_owner == claim.owner)
        .with_for_update()
    )
    if job is None:
        raise LeaseLost
    return job


def renew(engine: Engine, claim: Claim, *, lease_seconds: float, progress: Mapping[str, Any] | None) -> bool:
    """Lengthens the lease and shows progress; returns whether the caller has asked to cancel.

    Raises:
        LeaseLost
    """
    renewal = (
        update(Job)
        .where(Job.id == claim.job_id, Job.fence == claim.fence, Job.lease_owner == claim.owner)
        .values(lease_until=func.now() + SECOND * lease_seconds)
        .returning(Job.cancel_requested_at, Job.project_id)
    )
    if progress is not None:
        renewal = renewal.values(progress=dict(progress), revision=Job.revision + 1)
    with transaction(engine) as session:
        row = session.execute(renewal).one_or_none()
        if row is None:
            raise LeaseLost
        if progress is not None:
            events.notify_stream(session, job_id=claim.job_id, project_id=row.project_id)
        return row.cancel_requested_at is not None


def begin_stage(engine: Engine, claim: Claim, stage: str) -> None:
    """Marks the stage as running.

    Raises:
        LeaseLost
    """
    with transaction(engine) as session:
        begin(session, held(session, claim), stage)


def note_checkpoint(engine: Engine, claim: Claim, stage: str, checkpoint: Mapping[str, Any]) -> None:
    """Writes down where the stage's fits stand.

    Raises:
        LeaseLost
    """
    with transaction(engine) as session:
        held(session, claim)
        session.get_one(JobStage, (claim.job_id, stage)).checkpoint = dict(checkpoint)


def settle(engine: Engine, claim: Claim, settlement: Settlement, *, public_url: str, vault: Vault) -> str | None:
    """Records what a stage said and moves the job on; returns the next stage's name, or None where the job pauses or ends.

    Settling the same stage under the same fence again changes nothing, so that a lost answer to a commit is harmless.

    Raises:
        LeaseLost
        DatabaseUnavailable: unknown whether it was recorded; settle again.
    """
    with transaction(engine) as session:
        stage = session.get_one(JobStage, (claim.job_id, settlement.stage))
        if stage.fence == claim.fence and stage.status in {StageStatus.SUCCEEDED, StageStatus.SKIPPED}:
            return session.scalar(select(Job.stage).where(Job.id == claim.job_id, Job.lease_owner == claim.owner))
        job = held(session, claim)
        if job.cancel_requested_at is not None:
            jobs.end_cancelled(session, job)
            return None
        record(session, job, stage, settlement)
        return onward(session, job, stage, settlement, public_url=public_url, vault=vault)


def fail(
    engine: Engine, claim: Claim, error: TrainhouseError, *, stage: str | None, lines: list[str] | None = None,
    artifacts: Mapping[str, Blob] | None = None,
) -> None:  # fmt: skip
    """Ends the job as failed with `error` as its problem document; what its stage had made by then is kept.

    Raises:
        LeaseLost
    """
    with transaction(engine) as session:
        job = held(session, claim)
        for line in lines or []:
            note(session, job.id, line, stage=stage)
        if stage is not None:
            keep(session, job.id, stage, artifacts or {})
        end_failed(session, job, error, stage=stage)


def end_failed(session: Session, job: Job, error: TrainhouseError, *, stage: str | None) -> None:
    """Ends a job whose row is locked as failed."""
    if job.cancel_requested_at is not None:
        jobs.end_cancelled(session, job)
        return
    stage = stage or job.stage
    job.error = {**error.document(), "stage": stage}
    if stage is not None:
        row = session.get_one(JobStage, (job.id, stage))
        row.status, row.finished_at = StageStatus.FAILED, func.clock_timestamp()
        row.summary = {"code": error.stable_code}
    jobs.skip_open_stages(session, job.id)
    note(session, job.id, f"failed: {error.stable_code}: {error.detail}", stage=stage, level="error")
    move_job(session, job, JobStatus.FAILED, error.detail)
    data = {**jobs.outcome(job), "stage": stage, "code": error.stable_code}
    events.append(session, job.project_id, type="job.failed", job_id=job.id, once=f"{job.id}/{job.fence}", data=data)


def end_late_searches(session: Session) -> None:
    """Ends searches past the seconds of their jobs: while trials run, no worker holds the job to look at the clock."""
    limit = func.make_interval(0, 0, 0, 0, 0, 0, Job.spec["resources"]["max_seconds"].as_float())
    searching = (Job.waits_on == "trials") & (Job.status == JobStatus.RUNNING)
    late = select(Job).where(searching, counted_from(Job.id) + limit < func.now())
    for job in session.scalars(late.with_for_update(skip_locked=True)):
        end_failed(session, job, DeadlineExceeded(hint="Raise resources.max_seconds."), stage="tune")


def end_cancelled(engine: Engine, claim: Claim) -> None:
    """Ends the job as cancelled.

    Raises:
        LeaseLost
    """
    with transaction(engine) as session:
        jobs.end_cancelled(session, held(session, claim))


def put_back(engine: Engine, claim: Claim, reason: str, *, after_seconds: float, charged: bool) -> None:
    """Queues the job again. `charged` says that the attempt counts: the job's own work broke.

    Raises:
        LeaseLost
    """
    with transaction(engine) as session:
        job = held(session, claim)
        if job.cancel_requested_at is not None:
            jobs.end_cancelled(session, job)
            return
        if charged:
            job.attempt += 1
        else:
            let_go(job)
        job.due_at = func.now() + SECOND * after_seconds
        note(session, job.id, f"put back: {reason}", stage=job.stage, level="warning")
        move_job(session, job, JobStatus.QUEUED, reason)
        events.ring(session)


def release_node(engine: Engine, node: str) -> int:
    """Frees, uncharged, every lease that workers of `node` held; call it only when none of them runs.

    Returns:
        How many jobs can be claimed again at once.
    """
    with transaction(engine) as session:
        rows = list(
            session.scalars(
                select(Job).where(Job.lease_owner.startswith(f"{node}:", autoescape=True)).with_for_update()
            )
        )
        for job in rows:
            if job.cancel_requested_at is not None:
                jobs.end_cancelled(session, job)
            else:
                let_go(job)
        held = Trial.lease_owner.startswith(f"{node}:", autoescape=True)
        session.execute(update(Trial).where(held, Trial.status == TrialStatus.RUNNING).values(lease_until=func.now()))
        events.ring(session)
        return len(rows)

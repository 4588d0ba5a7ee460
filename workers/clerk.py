"""claim() and settle(): outcomes become rows, events and the next step, each in one short transaction.

Every write names the fence that the claim got; a worker whose lease was taken over matches no row and stops.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import events
from app.db import transaction
from app.deployments import service as deployments
from app.errors import LeaseLost, TrainhouseError
from app.jobs import service as jobs
from app.moves import move_job, touch
from app.registry import service as registry
from app.reviews import service as reviews
from app.states import STAGES, JobStatus, StageStatus, TrialStatus
from app.tables import Artifact, Job, JobLog, JobStage, Trial
from workers.context import Blob, DeploymentRequested, Done, FanOut, Outcome, Refused, Registered, Skipped

SECOND = func.make_interval(0, 0, 0, 0, 0, 0, 1)


@dataclass(frozen=True)
class Claim:
    """A live lease on a job. `fence` guards every write."""

    job_id: str
    project_id: str
    model: str
    owner: str
    fence: int
    attempt: int
    strikes: int
    spec: Mapping[str, Any]
    started_at: datetime


@dataclass
class Settlement:
    """What one stage leaves behind, besides its outcome."""

    stage: str
    outcome: Outcome
    duration_seconds: float
    artifacts: Mapping[str, Blob] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def claim(engine: Engine, job_id: str, *, owner: str, lease_seconds: float) -> Claim | None:
    """Takes the job's lease, or None where there is nothing to take: it ended, it waits, or somebody holds it."""
    # An owner still named is one that was lost: only then, and at first, does another attempt begin.
    begun = case((or_(Job.attempt == 0, Job.lease_owner.is_not(None)), Job.attempt + 1), else_=Job.attempt)
    taking = (
        update(Job)
        .where(
            Job.id == job_id,
            Job.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]),
            Job.waits_on.is_(None),
            Job.cancel_requested_at.is_(None),
            Job.due_at <= func.now(),
            or_(Job.lease_until.is_(None), Job.lease_until < func.now()),
        )
        .values(
            status=JobStatus.RUNNING, status_reason=None, fence=Job.fence + 1, attempt=begun,
            strikes=Job.strikes + 1, lease_owner=owner, lease_until=func.now() + SECOND * lease_seconds, rung_at=None,
            started_at=func.coalesce(Job.started_at, func.now()), revision=Job.revision + 1,
        )
        .returning(
            Job.project_id, Job.model, Job.fence, Job.attempt, Job.strikes, Job.spec, Job.started_at
        )
    )  # fmt: skip
    with transaction(engine) as session:
        row = session.execute(taking).one_or_none()
        if row is None:
            return None
        events.notify_stream(session, job_id=job_id, project_id=row.project_id)
        if row.attempt > 1:
            _log(session, job_id, f"attempt {row.attempt} begins on {owner}", level="warning")
        return Claim(
            job_id, row.project_id, row.model, owner, row.fence, row.attempt, row.strikes, row.spec, row.started_at
        )


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
        _begin(session, held(session, claim), stage)


def _begin(session: Session, job: Job, stage: str) -> None:
    row = session.get_one(JobStage, (job.id, stage))
    if row.status != StageStatus.RUNNING:
        row.started_at = func.clock_timestamp()
        events.append(session, job.project_id, type="stage.started", job_id=job.id, data={"stage": stage})
    row.status, row.fence = StageStatus.RUNNING, job.fence
    job.stage = stage
    position = STAGES.index(stage)
    job.progress = {"done": 0, "total": 1, "fraction": position / len(STAGES), "eta_seconds": None}
    touch(session, job)


def settle(engine: Engine, claim: Claim, settlement: Settlement, *, public_url: str) -> str | None:
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
        _record(session, job, stage, settlement)
        return _onward(session, job, stage, settlement, public_url=public_url)


def _record(session: Session, job: Job, stage: JobStage, settlement: Settlement) -> None:
    for name, blob in settlement.artifacts.items():
        values = {
            "stage": stage.name,
            "digest": blob.digest,
            "size_bytes": blob.size_bytes,
            "media_type": blob.media_type,
        }
        session.execute(
            insert(Artifact)
            .values(job_id=job.id, name=name, **values)
            .on_conflict_do_update(index_elements=["job_id", "name"], set_=values)
        )
    for line in settlement.lines:
        _log(session, job.id, line, stage=stage.name)
    job.strikes = 0
    outcome = settlement.outcome
    if isinstance(outcome, FanOut):
        return
    done = outcome.done if isinstance(outcome, Refused) else outcome
    stage.status = StageStatus.SUCCEEDED
    summary = dict(done.summary)
    if isinstance(outcome, Refused):
        stage.status = StageStatus.FAILED
    elif isinstance(outcome, Skipped):
        stage.status, summary = StageStatus.SKIPPED, {"reason": outcome.reason, **summary}
    stage.summary, stage.output = summary, dict(done.output)
    stage.warnings = [asdict(warned) for warned in done.warnings]
    stage.finished_at = func.clock_timestamp()
    stage.duration_seconds = round((stage.duration_seconds or 0.0) + settlement.duration_seconds, 6)
    _note_facts(job, done)
    events.append(
        session, job.project_id, type="stage.finished", job_id=job.id,
        data={"stage": stage.name, "status": stage.status, "duration_seconds": stage.duration_seconds},
    )  # fmt: skip


def _note_facts(job: Job, done: Done) -> None:
    job.metrics = {**job.metrics, **{part: dict(values) for part, values in done.metrics.items()}}
    facts = dict(done.facts)
    job.data_digest = facts.pop("data_digest", job.data_digest)
    job.best_trial = facts.pop("best_trial", job.best_trial)
    job.gate = facts.pop("gate", job.gate)
    job.facts = {**job.facts, **facts}


def _onward(session: Session, job: Job, stage: JobStage, settlement: Settlement, *, public_url: str) -> str | None:
    match settlement.outcome:
        case FanOut() as wanted:
            stage.duration_seconds = (stage.duration_seconds or 0.0) + settlement.duration_seconds
            job.search = {**asdict(wanted), "ended": False}
            _let_go(job, waits_on="trials")
            touch(session, job)
            events.ring(session)
            return None
        case Refused() as refused:
            _refused(session, job, refused)
            return None
        case Registered() as registered:
            _register(session, job, registered, public_url=public_url)
        case DeploymentRequested() as asked:
            _request_deployment(session, job, asked, public_url=public_url)
    following = STAGES.index(stage.name) + 1
    if following == len(STAGES):
        move_job(session, job, JobStatus.SUCCEEDED)
        events.append(session, job.project_id, type="job.succeeded", job_id=job.id, once=job.id, data=jobs.outcome(job))
        return None
    _begin(session, job, STAGES[following])
    return STAGES[following]


def _let_go(job: Job, *, waits_on: str | None = None) -> None:
    """Gives the lease back, which costs neither an attempt nor a strike."""
    job.lease_owner = job.lease_until = job.rung_at = None
    job.waits_on = waits_on
    job.strikes = max(0, job.strikes - 1)


def _refused(session: Session, job: Job, refused: Refused) -> None:
    data = {**jobs.outcome(job), "gate": job.gate}
    if refused.road == "reject":
        jobs.skip_open_stages(session, job.id)
        move_job(session, job, JobStatus.REJECTED, "the gate refused the model")
        events.append(session, job.project_id, type="job.rejected", job_id=job.id, once=job.id, data=data)
        return
    review = reviews.open_review(session, job=job, evidence=dict(refused.evidence))
    job.review_id = review.id
    _let_go(job)
    move_job(session, job, JobStatus.AWAITING_REVIEW, "the gate refused the model; a person decides")
    events.append(
        session, job.project_id, type="job.awaiting_review", job_id=job.id, once=job.id,
        data={**data, "review_id": review.id},
    )  # fmt: skip


def _register(session: Session, job: Job, registered: Registered, *, public_url: str) -> None:
    if registered.bundle is None:
        raise TypeError("the register stage gave no bundle")
    version = registry.register(
        session, job=job, bundle_digest=registered.bundle.digest, bundle_bytes=registered.bundle.size_bytes,
        manifest=dict(registered.manifest), public_url=public_url,
    )  # fmt: skip
    job.version = version.version


def _request_deployment(session: Session, job: Job, asked: DeploymentRequested, *, public_url: str) -> None:
    wanted = job.spec["deployment"]
    if job.version is None or asked.target == "none":
        return
    deployments.request(
        session, project_id=job.project_id, model=job.model, version=job.version, target=asked.target,
        requested_by=job.created_by, public_url=public_url, job_id=job.id, reason="the job's spec asks for it",
        require_ack=wanted["require_ack"], ack_seconds=wanted["ack_seconds"],
    )  # fmt: skip


def fail(
    engine: Engine, claim: Claim, error: TrainhouseError, *, stage: str | None, lines: list[str] | None = None
) -> None:
    """Ends the job as failed with `error` as its problem document.

    Raises:
        LeaseLost
    """
    with transaction(engine) as session:
        job = held(session, claim)
        for line in lines or []:
            _log(session, job.id, line, stage=stage)
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
    _log(session, job.id, f"failed: {error.stable_code}: {error.detail}", stage=stage, level="error")
    move_job(session, job, JobStatus.FAILED, error.detail)
    data = {**jobs.outcome(job), "stage": stage, "code": error.stable_code}
    events.append(session, job.project_id, type="job.failed", job_id=job.id, once=f"{job.id}/{job.fence}", data=data)


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
            _let_go(job)
        job.due_at = func.now() + SECOND * after_seconds
        _log(session, job.id, f"put back: {reason}", stage=job.stage, level="warning")
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
                _let_go(job)
        held = Trial.lease_owner.startswith(f"{node}:", autoescape=True)
        session.execute(update(Trial).where(held, Trial.status == TrialStatus.RUNNING).values(lease_until=func.now()))
        events.ring(session)
        return len(rows)


def _log(session: Session, job_id: str, message: str, *, stage: str | None = None, level: str = "info") -> None:
    session.add(JobLog(job_id=job_id, stage=stage, level=level, message=message[:2_000]))

"""What follows a stage: what it said becomes rows and events, and the job pauses, ends or goes on to the next stage."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import events
from app.deployments import service as deployments
from app.jobs import service as jobs
from app.moves import move_job, touch
from app.registry import service as registry
from app.reviews import service as reviews
from app.secrets import Vault
from app.states import STAGES_OF, JobStatus, StageStatus
from app.tables import Artifact, Job, JobLog, JobStage
from workers.context import Blob, DeploymentRequested, Done, FanOut, Outcome, Refused, Registered, Skipped
from workers.loading import began_expression
from workers.reused import Reuse


@dataclass
class Settlement:
    """What one stage leaves behind, besides its outcome."""

    stage: str
    outcome: Outcome
    duration_seconds: float
    artifacts: Mapping[str, Blob] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    reuse: Reuse | None = None
    peak_memory_bytes: int | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    """Where trials are wanted: what the search begins with, see `workers.opening`."""


def begin(session: Session, job: Job, stage: str) -> None:
    """Marks the stage of a job whose row is locked as running."""
    row = session.get_one(JobStage, (job.id, stage))
    if row.status != StageStatus.RUNNING:
        row.started_at = func.clock_timestamp()
        events.append(session, job.project_id, type="stage.started", job_id=job.id, data={"stage": stage})
    row.status, row.fence = StageStatus.RUNNING, job.fence
    job.stage = stage
    stages = STAGES_OF[job.kind]
    fraction = stages.index(stage) / len(stages)
    job.progress = {"done": 0, "total": 1, "fraction": fraction, "eta_seconds": None}
    touch(session, job)


def keep(session: Session, job_id: str, stage: str, artifacts: Mapping[str, Blob]) -> None:
    """Writes down which blobs a stage left behind, by name."""
    for name, blob in artifacts.items():
        values = {"stage": stage, "digest": blob.digest, "size_bytes": blob.size_bytes, "media_type": blob.media_type}
        session.execute(
            insert(Artifact)
            .values(job_id=job_id, name=name, **values)
            .on_conflict_do_update(index_elements=["job_id", "name"], set_=values)
        )


def record(session: Session, job: Job, stage: JobStage, settlement: Settlement) -> None:
    """Writes down what the stage said and left behind."""
    keep(session, job.id, stage.name, settlement.artifacts)
    for line in settlement.lines:
        note(session, job.id, line, stage=stage.name)
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
    stage.peak_memory_bytes = max(stage.peak_memory_bytes or 0, settlement.peak_memory_bytes or 0) or None
    if settlement.reuse is not None:
        stage.cached, stage.reuse_key = settlement.reuse.reused, settlement.reuse.key
        stage.reuse = settlement.reuse.document()
    stage.checkpoint = None
    stage.finished_at = func.clock_timestamp()
    stage.duration_seconds = round((stage.duration_seconds or 0.0) + settlement.duration_seconds, 6)
    _note_facts(job, done)
    events.append(
        session, job.project_id, type="stage.finished", job_id=job.id,
        data={"stage": stage.name, "status": stage.status, "duration_seconds": stage.duration_seconds,
              "cached": bool(stage.cached)},
    )  # fmt: skip


def _note_facts(job: Job, done: Done) -> None:
    job.metrics = {**job.metrics, **{part: dict(values) for part, values in done.metrics.items()}}
    facts = dict(done.facts)
    job.data_digest = facts.pop("data_digest", job.data_digest)
    job.best_trial = facts.pop("best_trial", job.best_trial)
    job.gate = facts.pop("gate", job.gate)
    job.facts = {**job.facts, **facts}


def onward(
    session: Session, job: Job, stage: JobStage, settlement: Settlement, *, public_url: str, vault: Vault
) -> str | None:
    """Moves the job on; the next stage's name, or None where the job pauses or ends."""
    match settlement.outcome:
        case FanOut() as wanted:
            stage.duration_seconds = (stage.duration_seconds or 0.0) + settlement.duration_seconds
            job.search = {**settlement.search, **asdict(wanted), "began_at": _budget_began(session, job)}
            stages = STAGES_OF[job.kind]
            fraction = stages.index(stage.name) / len(stages)
            job.progress = {"done": 0, "total": wanted.trials, "fraction": fraction, "eta_seconds": None}
            let_go(job, waits_on="trials")
            touch(session, job)
            events.ring(session)
            return None
        case Refused() as refused:
            _refused(session, job, refused)
            return None
        case Registered() as registered:
            _register(session, job, registered, public_url=public_url, vault=vault)
        case DeploymentRequested() as asked:
            _request_deployment(session, job, asked, public_url=public_url)
    stages = STAGES_OF[job.kind]
    following = stages.index(stage.name) + 1
    if following == len(stages):
        move_job(session, job, JobStatus.SUCCEEDED)
        _announce_end(session, job)
        return None
    begin(session, job, stages[following])
    return stages[following]


def _announce_end(session: Session, job: Job) -> None:
    """The event of a job's success; endpoints can subscribe to that of training."""
    said: dict[str, Any] = {"job_id": job.id, "once": job.id, "data": jobs.outcome(job)}
    match job.kind:
        case "plan":
            events.append(session, job.project_id, type="job.planned", **said)
        case "reproduce":
            events.append(session, job.project_id, type="job.reproduced", **said)
        case _:
            events.append(session, job.project_id, type="job.succeeded", **said)


def _budget_began(session: Session, job: Job) -> float:
    """When `tuning.max_seconds` began to count, in seconds by the database's clock."""
    return float(session.scalars(select(func.extract("epoch", began_expression(job.id)))).one())


def let_go(job: Job, *, waits_on: str | None = None) -> None:
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
    let_go(job)
    move_job(session, job, JobStatus.AWAITING_REVIEW, "the gate refused the model; a person decides")
    events.append(
        session, job.project_id, type="job.awaiting_review", job_id=job.id, once=job.id,
        data={**data, "review_id": review.id},
    )  # fmt: skip


def _register(session: Session, job: Job, registered: Registered, *, public_url: str, vault: Vault) -> None:
    if registered.bundle is None:
        raise TypeError("the register stage gave no bundle")
    version = registry.register(
        session, job=job, bundle_digest=registered.bundle.digest, bundle_bytes=registered.bundle.size_bytes,
        manifest=dict(registered.manifest), public_url=public_url, vault=vault, made_by=registered.made_by,
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


def note(session: Session, job_id: str, message: str, *, stage: str | None = None, level: str = "info") -> None:
    """A line for the job's log."""
    session.add(JobLog(job_id=job_id, stage=stage, level=level, message=message[:2_000]))

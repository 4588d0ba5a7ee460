"""Jobs as rows: submitting, reading, cancelling, retrying. No work is done here."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, defer

from app import events
from app.errors import Conflict, InvalidSpec, NotFound, Violation
from app.ids import new_id
from app.moves import move_job
from app.spec.data import DatasetSource, HttpSource
from app.spec.decision import Gate
from app.spec.extras import refuse_missing
from app.spec.job import JobSpec, parse_spec
from app.states import STAGES_OF, TERMINAL_JOBS, JobStatus, StageStatus, TrialStatus
from app.tables import (
    Artifact,
    Connection,
    Dataset,
    Event,
    GatePolicy,
    Job,
    JobLog,
    JobStage,
    ModelVersion,
    Review,
    Trial,
)

CONNECTION_KINDS = {
    "s3": ("s3",), "database": ("postgres", "mysql", "sqlite"), "http": ("http",), "feature_store": ("feast",),
}  # fmt: skip
NO_SUCH_JOB = "There is no such job in this project."


def submit(
    session: Session, spec: JobSpec, *, project_id: str, created_by: str, extras: Collection[str], kind: str = "train"
) -> Job:
    """Accepts a job of one of `STAGES_OF`: its row, its stage rows, its event and the bell, in the caller's transaction.

    Args:
        extras: Those that the workers have.

    Raises:
        InvalidSpec: a data set, a connection or a gate policy that the spec names does not exist, or does not fit; or the
            workers lack an extra.
    """
    refuse_missing(spec, extras)
    spec = with_policy(session, spec, project_id=project_id)
    _refuse_unknown_sources(session, spec, project_id)
    return _accept(session, spec, project_id=project_id, created_by=created_by, kind=kind, facts={})


def _accept(
    session: Session, spec: JobSpec, *, project_id: str, created_by: str, kind: str, facts: Mapping[str, Any]
) -> Job:
    job = Job(
        id=new_id("job"), project_id=project_id, model=spec.model, status=JobStatus.QUEUED, spec=spec.resolved(),
        spec_digest=spec.digest(), priority=spec.resources.priority, labels=dict(spec.labels), created_by=created_by,
        attempt=0, revision=1, metrics={}, facts=dict(facts), kind=kind,
    )  # fmt: skip
    session.add(job)
    session.flush()
    session.add_all(
        JobStage(job_id=job.id, name=name, position=position, status=StageStatus.PENDING, cached=False)
        for position, name in enumerate(STAGES_OF[kind])
    )
    events.append(session, project_id, type="job.queued", job_id=job.id, data={"job_id": job.id, "model": job.model})
    events.ring(session)
    session.refresh(job, ["created_at"])
    return job


def with_policy(session: Session, spec: JobSpec, *, project_id: str) -> JobSpec:
    """`spec` with the gate policy that it names written out, and that policy's version.

    Raises:
        InvalidSpec: there is no such policy, its rules do not fit the spec, or the spec says otherwise itself.
    """
    if spec.gate.policy is None:
        return spec
    name, _, number = spec.gate.policy.partition(":")
    query = select(GatePolicy).where(GatePolicy.project_id == project_id, GatePolicy.name == name)
    query = query.where(GatePolicy.version == int(number)) if number else query.order_by(GatePolicy.version.desc())
    row = session.scalar(query.limit(1))
    if row is None:
        fault = Violation("/gate/policy", "unknown_policy", f"there is no gate policy {spec.gate.policy}",
                          "Make it with POST /v1/gate-policies.")  # fmt: skip
        raise InvalidSpec("The spec names a gate policy that does not exist.", violations=[fault])
    written = Gate.model_validate({
        **row.gate, "policy": f"{name}:{row.version}", "review": spec.gate.review.model_dump(mode="json"),
    })  # fmt: skip
    if spec.gate not in (Gate(policy=spec.gate.policy, review=spec.gate.review), written):
        fault = Violation("/gate", "policy_and_rules", f"the gate is that of the policy {spec.gate.policy}, and says more itself",
                          "Leave out everything but policy and review, or leave out policy.")  # fmt: skip
        raise InvalidSpec("The gate names a policy and says otherwise itself.", violations=[fault])
    return parse_spec({**spec.resolved(), "gate": written.model_dump(mode="json")})


def reproduce(  # what is asked: which version, changed how, by whom
    session: Session, project_id: str, *, model: str, version: int, changes: Mapping[str, Any], created_by: str,
    extras: Collection[str],
) -> Job:  # fmt: skip
    """Accepts a job that trains a version again from its pinned rows and its spec, and compares.

    Args:
        changes: A JSON merge patch (RFC 7396) of the spec: to see what it changes first.

    Raises:
        NotFound: no such version.
        InvalidSpec: the changed spec is none, or the workers lack an extra.
    """
    here = (ModelVersion.project_id == project_id) & (ModelVersion.model == model)
    row = session.scalar(select(ModelVersion).where(here, ModelVersion.version == version))
    if row is None:
        raise NotFound(f"Model {model!r} has no version {version} in this project.")
    original = session.get_one(Job, row.job_id)
    spec = parse_spec(merged(original.spec, changes))
    if spec.model != model:
        raise InvalidSpec("A reproduction is of the same model.", violations=[
            Violation("/changes/model", "not_changeable", "the model's name is what is reproduced", "Leave it out."),
        ])  # fmt: skip
    refuse_missing(spec, extras)
    return _accept(session, spec, project_id=project_id, created_by=created_by, kind="reproduce",
                   facts={"reproduces": version})  # fmt: skip


def merged(document: Any, patch: Any) -> Any:
    """`document` with the JSON merge patch applied (RFC 7396): null takes a member away."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(document) if isinstance(document, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def _refuse_unknown_sources(session: Session, spec: JobSpec, project_id: str) -> None:
    faults = []
    for name, source in spec.data.sources.items():
        pointer = f"/data/sources/{name}"
        match source:
            case DatasetSource():
                fault = _dataset_fault(session, source.dataset_id, project_id=project_id)
                pointer += "/dataset_id"
            case HttpSource(connection=None):
                fault = None
            case _:
                fault = _connection_fault(session, source.kind, str(source.connection), project_id=project_id)
                pointer += "/connection"
        if fault:
            faults.append(Violation(pointer, *fault))
    faults += _warm_start_faults(session, spec, project_id=project_id)
    fault = _reference_fault(session, spec, project_id=project_id)
    if fault:
        faults.append(Violation("/validation/drift/reference", *fault))
    if faults:
        raise InvalidSpec(f"{len(faults)} of the things that the spec names cannot be used.", violations=faults)


def _warm_start_faults(session: Session, spec: JobSpec, *, project_id: str) -> list[Violation]:
    named = spec.tuning.warm_start if isinstance(spec.tuning.warm_start, list) else []
    known = set(session.scalars(select(Job.id).where(Job.project_id == project_id, Job.id.in_(named))))
    return [
        Violation(f"/tuning/warm_start/{place}", "unknown_job", f"there is no job {job_id}", "See GET /v1/jobs.")
        for place, job_id in enumerate(named)
        if job_id not in known
    ]


def _reference_fault(session: Session, spec: JobSpec, *, project_id: str) -> tuple[str, str, str] | None:
    kind, _, name = spec.validation.drift.reference.partition(":")
    if kind == "dataset":
        return _dataset_fault(session, name, project_id=project_id)
    if kind != "version":
        return None
    known = session.scalar(
        select(ModelVersion.id).where(
            ModelVersion.project_id == project_id, ModelVersion.model == spec.model, ModelVersion.version == int(name)
        )
    )
    return None if known else ("unknown_version", f"{spec.model} has no version {name}", "See GET /v1/models.")


def _dataset_fault(session: Session, dataset_id: str, *, project_id: str) -> tuple[str, str, str] | None:
    row = session.get(Dataset, dataset_id)
    if row is None or row.project_id != project_id:
        return "unknown_dataset", f"there is no data set {dataset_id}", "Upload it with POST /v1/datasets."
    if row.status != "ready":
        return "dataset_pending", "its bytes have not been uploaded", "PUT them, then POST /v1/datasets/{id}/complete."
    return None


def _connection_fault(session: Session, kind: str, name: str, *, project_id: str) -> tuple[str, str, str] | None:
    row = session.scalar(select(Connection).where(Connection.project_id == project_id, Connection.name == name))
    if row is None:
        return "unknown_connection", f"there is no connection {name}", "Make it with POST /v1/connections."
    if row.kind not in CONNECTION_KINDS[kind]:
        fitting = " or ".join(CONNECTION_KINDS[kind])
        return "wrong_connection", f"the connection is of kind {row.kind}", f"A {kind} source needs {fitting}."
    return None


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
    for row in session.scalars(select(JobStage).where(JobStage.job_id == job.id)):
        if row.status in {StageStatus.FAILED, StageStatus.SKIPPED, StageStatus.RUNNING}:
            row.status, row.summary = StageStatus.PENDING, None
    events.append(session, job.project_id, type="job.retried", job_id=job.id, data={"by": by})
    events.ring(session)


def outcome(job: Job) -> dict[str, Any]:
    """The thin data of a job's closing event: ids and metrics, no rows."""
    return {"job_id": job.id, "model": job.model, "version": job.version, "metrics": job.metrics.get("test", {})}

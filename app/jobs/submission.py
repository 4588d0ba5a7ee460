"""Accepts jobs: what a spec names must be there, then the job's row, its stages, its event and the bell."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import events
from app.errors import InvalidSpec, NotFound, Violation
from app.ids import new_id
from app.spec.data import DatasetSource, HttpSource
from app.spec.decision import Gate
from app.spec.extras import refuse_missing
from app.spec.job import JobSpec, parse_spec
from app.states import STAGES_OF, JobStatus, StageStatus
from app.tables import Connection, Dataset, GatePolicy, Job, JobStage, ModelVersion

CONNECTION_KINDS = {
    "s3": ("s3",), "database": ("postgres", "mysql", "sqlite"), "http": ("http",), "feature_store": ("feast",),
}  # fmt: skip


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
    try:
        return parse_spec({**spec.resolved(), "gate": written.model_dump(mode="json")})
    except InvalidSpec as refused:  # only the policy's rules can be at fault, and those the caller did not write
        faults = [replace(fault, pointer="/gate/policy") for fault in refused.violations]
        raise InvalidSpec(f"The gate policy {name} does not fit this spec.", violations=faults) from None


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
    there = here & ModelVersion.deleted_at.is_(None)
    row = session.scalar(select(ModelVersion).where(there, ModelVersion.version == version))
    if row is None:
        raise NotFound(f"Model {model!r} has no version {version} in this project.")
    original = session.get_one(Job, row.job_id)
    spec = parse_spec(merged(original.spec, changes), accepted=not changes)
    if spec.model != model:
        raise InvalidSpec("A reproduction is of the same model.", violations=[
            Violation("/changes/model", "not_changeable", "the model's name is what is reproduced", "Leave it out."),
        ])  # fmt: skip
    refuse_missing(spec, extras)
    reference = spec.validation.drift.reference
    own = reference == original.spec["validation"]["drift"]["reference"]
    fault = None if own else _reference_fault(session, spec, project_id=project_id)
    if fault:
        raise InvalidSpec("The reference for drift cannot be used.", violations=[
            Violation("/changes/validation/drift/reference", *fault)
        ])  # fmt: skip
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
            ModelVersion.project_id == project_id,
            ModelVersion.model == spec.model,
            ModelVersion.version == int(name),
            ModelVersion.deleted_at.is_(None),
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

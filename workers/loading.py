"""From rows to a Context: what a stage or a trial of a claimed job may see."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, case, func, select
from sqlalchemy.orm import Session

from app.db import transaction
from app.errors import InvalidData, SourceRefused
from app.secrets import Vault
from app.spec.data import DatasetSource
from app.spec.job import JobSpec, parse_spec
from app.states import StageStatus
from app.tables import Alias, Artifact, Connection, Dataset, Event, Job, JobStage, ModelVersion, Receipt, Trial
from workers.context import Blob, Champion, ConnectionRef, DatasetRef, Original, TrialResult

CHAMPION = "champion"


@dataclass
class Loaded:
    """What the rows say of a job when its work begins; `outputs` and `artifacts` grow as stages end."""

    spec: JobSpec
    kind: str = "train"
    spec_digest: str = ""
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, Blob] = field(default_factory=dict)
    datasets: dict[str, DatasetRef] = field(default_factory=dict)
    connections: dict[str, ConnectionRef] = field(default_factory=dict)
    champion: Champion | None = None
    original: Original | None = None
    reference: Champion | None = None
    tested: tuple[Blob, ...] = ()
    trials: tuple[TrialResult, ...] = ()
    next_stage: str | None = None
    budget_ends: float = math.inf
    """Reading of `time.monotonic()` at which `tuning.max_seconds` are over; unknown before `train` has begun."""
    search: dict[str, Any] = field(default_factory=dict)
    checkpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By stage, where its long fit stood when its worker was lost."""


def load(engine: Engine, vault: Vault, job_id: str) -> Loaded:
    """What the rows say of the job."""
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        loaded = Loaded(
            parse_spec(job.spec, accepted=True), job.kind, job.spec_digest, artifacts=artifacts_of(session, job_id)
        )
        for stage in session.scalars(select(JobStage).where(JobStage.job_id == job_id).order_by(JobStage.position)):
            if stage.output is not None:
                loaded.outputs[stage.name] = stage.output
            if stage.checkpoint is not None:
                loaded.checkpoints[stage.name] = stage.checkpoint
            if loaded.next_stage is None and stage.status not in {StageStatus.SUCCEEDED, StageStatus.SKIPPED}:
                loaded.next_stage = stage.name
        if job.kind != "reproduce":  # its rows are pinned
            _load_sources(session, vault, job.project_id, loaded)
        loaded.original = _original(session, job)
        loaded.champion = _champion(session, job, loaded.original)
        loaded.reference = _reference(session, job, loaded)
        loaded.tested = _tested(session, job, loaded)
        loaded.search, loaded.budget_ends = job.search or {}, _budget_ends(session, loaded.spec, job_id)
        if job.search and job.search["ended"]:
            rows = session.scalars(select(Trial).where(Trial.job_id == job_id).order_by(Trial.number))
            loaded.trials = tuple(results(rows))
        return loaded


def _budget_ends(session: Session, spec: JobSpec, job_id: str) -> float:
    if spec.tuning.max_seconds is None:
        return math.inf
    passed = session.scalar(select(func.extract("epoch", func.clock_timestamp() - began_expression(job_id))))
    return math.inf if passed is None else time.monotonic() + spec.tuning.max_seconds - float(passed)


def began_expression(job_id: str) -> Any:
    """When `train` began, or the job's last retry where that came later: whoever retries gives a new budget."""
    began = select(JobStage.started_at).where(JobStage.job_id == job_id, JobStage.name == "train").scalar_subquery()
    return case((began.is_not(None), func.greatest(began, _last(job_id, "job.retried"))))


def counted_from(job_id: Any) -> Any:
    """From when `resources.max_seconds` count: the job's start, or its last retry or review where that came later.

    Nobody's time to decide is the job's, and whoever retries gives it all its seconds again.
    """
    return func.greatest(Job.started_at, _last(job_id, "job.retried", "review.decided"))


def _last(job_id: Any, *types: str) -> Any:
    """When one of these last happened to the job."""
    return select(func.max(Event.at)).where(Event.job_id == job_id, Event.type.in_(types)).scalar_subquery()


def artifacts_of(session: Session, job_id: str) -> dict[str, Blob]:
    """The job's artifacts by name."""
    rows = session.scalars(select(Artifact).where(Artifact.job_id == job_id))
    return {row.name: Blob(row.digest, row.size_bytes, row.media_type) for row in rows}


def results(rows: Iterable[Trial]) -> list[TrialResult]:
    """Trial rows as the learning code sees them."""
    return [
        TrialResult(
            row.number, row.status, row.params, row.value, row.iterations, row.metrics, row.duration_seconds,
            tuple((int(step), float(value)) for step, value in row.curve or ()),
            Blob(row.model_digest, row.model_bytes or 0) if row.model_digest else None,
            Blob(row.predictions_digest, row.predictions_bytes or 0) if row.predictions_digest else None,
            row.facts,
        )
        for row in rows
    ]  # fmt: skip


def _load_sources(session: Session, vault: Vault, project_id: str, loaded: Loaded) -> None:
    for source in loaded.spec.data.sources.values():
        if isinstance(source, DatasetSource):
            _load_dataset(session, project_id, source.dataset_id, loaded)
            continue
        if source.connection is None:
            continue
        row = session.scalar(
            select(Connection).where(Connection.project_id == project_id, Connection.name == source.connection)
        )
        if row is None:
            raise SourceRefused(
                f"The connection {source.connection} was removed after the job was accepted.", code="unknown_connection",
                hint="Make it again with POST /v1/connections, then retry the job.",
            )  # fmt: skip
        secret = vault.unseal_mapping(row.sealed_secret)
        loaded.connections[row.name] = ConnectionRef(row.name, row.kind, row.config, secret)


def _load_dataset(session: Session, project_id: str, dataset_id: str, loaded: Loaded) -> None:
    dataset = session.get(Dataset, dataset_id)
    if dataset is None or dataset.project_id != project_id:
        raise InvalidData(f"There is no data set {dataset_id} in this project.", code="unknown_dataset")
    blob = Blob(dataset.digest or "", dataset.size_bytes or 0)
    loaded.datasets[dataset.id] = DatasetRef(dataset.id, blob, dataset.format, dataset.filename)


def _reference(session: Session, job: Job, loaded: Loaded) -> Champion | None:
    """The version that drift is measured from; a data set as reference is loaded beside the sources."""
    kind, _, name = loaded.spec.validation.drift.reference.partition(":")
    if kind == "dataset":
        _load_dataset(session, job.project_id, name, loaded)
    if kind != "version":
        return loaded.champion if kind == "champion" else None
    return _as_champion(
        session,
        session.scalar(
            select(ModelVersion).where(
                ModelVersion.project_id == job.project_id, ModelVersion.model == job.model,
                ModelVersion.version == int(name),
            )
        ),
    )  # fmt: skip


def _tested(session: Session, job: Job, loaded: Loaded) -> tuple[Blob, ...]:
    """What the split stages of the model's versions wrote down of the rows that judged them; a reproduction's original saw some."""
    spec, original = loaded.spec, loaded.original
    if not spec.task.id_columns or spec.split.tested_rows == "allow":
        return ()
    query = (
        select(Artifact)
        .join(ModelVersion, ModelVersion.job_id == Artifact.job_id)
        .where(ModelVersion.project_id == job.project_id, ModelVersion.model == job.model, Artifact.name == "tested")
        .order_by(ModelVersion.version)
    )
    rows = session.scalars(query if original is None else query.where(ModelVersion.version < original.version))
    seen = None if original is None else original.outputs.get("split", {}).get("tested_before")
    return tuple(Blob(row.digest, row.size_bytes, row.media_type) for row in rows if seen is None or row.digest in seen)


def _original(session: Session, job: Job) -> Original | None:
    """The version that a job of the kind `reproduce` trains again."""
    if job.kind != "reproduce":
        return None
    version = session.scalars(
        select(ModelVersion).where(
            ModelVersion.project_id == job.project_id, ModelVersion.model == job.model,
            ModelVersion.version == job.facts["reproduces"], ModelVersion.deleted_at.is_(None),
        )
    ).one_or_none()  # fmt: skip
    if version is None:
        raise InvalidData("The version was deleted before it could be trained again.", code="version_gone")
    artifacts: dict[str, dict[str, Blob]] = {}
    for row in session.scalars(select(Artifact).where(Artifact.job_id == version.job_id)):
        artifacts.setdefault(row.stage, {})[row.name] = Blob(row.digest, row.size_bytes, row.media_type)
    stages = session.scalars(select(JobStage).where(JobStage.job_id == version.job_id, JobStage.output.is_not(None)))
    receipt = session.get(Receipt, (job.project_id, job.model, version.version))
    made_by = receipt.receipt["document"]["made_by"] if receipt else {}
    search = session.get_one(Job, version.job_id).search or {}
    return Original(
        version.model, version.version, version.job_id, artifacts, {row.name: row.output or {} for row in stages},
        search.get("warm", {}), made_by.get("libraries", {}), made_by.get("code"),
    )  # fmt: skip


def _champion(session: Session, job: Job, original: Original | None) -> Champion | None:
    """The model's champion; where a version is trained again, the one that was champion then."""
    if original is not None:
        met = original.outputs.get("evaluate", {}).get("champion") or {}
        was = (ModelVersion.project_id == job.project_id) & (ModelVersion.model == job.model)
        return _as_champion(
            session, session.scalar(select(ModelVersion).where(was, ModelVersion.version == met.get("version")))
        )
    version = session.scalar(
        select(ModelVersion)
        .join(
            Alias,
            (Alias.project_id == ModelVersion.project_id)
            & (Alias.model == ModelVersion.model)
            & (Alias.version == ModelVersion.version),
        )
        .where(Alias.project_id == job.project_id, Alias.model == job.model, Alias.alias == CHAMPION)
    )
    return _as_champion(session, version)


def _as_champion(session: Session, version: ModelVersion | None) -> Champion | None:
    if version is None:
        return None
    artifacts = artifacts_of(session, version.job_id)
    return Champion(version.model, version.version, version.job_id, artifacts, version.metrics)

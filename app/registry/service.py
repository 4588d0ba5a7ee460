"""Registers versions, reads models, and moves aliases that a caller names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from app import events
from app.aliases import lock_model, move_alias
from app.errors import NotFound, PreconditionFailed
from app.ids import derived_id
from app.registry import receipts
from app.secrets import Vault
from app.tables import Alias, AliasMove, Artifact, Deployment, Job, JobStage, ModelVersion, RegisteredModel


@dataclass(frozen=True)
class Move:
    """Who moves an alias, and why."""

    moved_by: str
    reason: str


def register(  # noqa: PLR0913  # a version is a job, a bundle, and what vouches for it
    session: Session,
    *,
    job: Job,
    bundle_digest: str,
    bundle_bytes: int,
    manifest: Mapping[str, Any],
    public_url: str,
    vault: Vault,
    made_by: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """The version that `job` makes, with the next free number, its aliases and its event, in the caller's transaction.

    Registering the same job again gives the version that is there and announces nothing. No alias but those that the
    spec asks for moves: a first version does not become champion by being first.

    Args:
        bundle_digest: `sha256:…` of the stored bundle.
        public_url: Base of the URL that the event carries.
        vault: Opens the key that the receipt is signed with.
        made_by: See `receipts.write`.
    """
    fresh = insert(RegisteredModel).values(project_id=job.project_id, name=job.model).on_conflict_do_nothing()
    session.execute(fresh)
    model = lock_model(session, job.project_id, model=job.model)
    version = session.scalar(select(ModelVersion).where(ModelVersion.job_id == job.id))
    if version is not None:
        return version
    model.last_version += 1
    wish = job.spec.get("registration", {})
    version = ModelVersion(
        id=derived_id("ver", job.id), project_id=job.project_id, model=job.model, version=model.last_version, job_id=job.id,
        bundle_digest=bundle_digest, bundle_bytes=bundle_bytes, manifest=dict(manifest), spec_digest=job.spec_digest,
        data_digest=job.data_digest, metrics=job.metrics or {}, gate=job.gate, facts=job.facts or {},
        tags=wish.get("tags", {}), description=wish.get("description", ""),
    )  # fmt: skip
    session.add(version)
    session.flush()
    job.version = version.version
    for alias in dict.fromkeys(wish.get("aliases", [])):
        move_alias(
            session, job.project_id, model=job.model, alias=alias, version=version.version, moved_by=job.id,
            reason="the job's spec asks for it",
        )  # fmt: skip
    receipt = receipts.write(session, vault, job=job, version=version, made_by=made_by or {})
    _announce(session, version, public_url, receipt_digest=receipt.digest)
    return version


def version_url(public_url: str, model: str, version: int) -> str:
    """The address of a version."""
    return f"{public_url.rstrip('/')}/v1/models/{model}/versions/{version}"


def _announce(session: Session, version: ModelVersion, public_url: str, *, receipt_digest: str) -> None:
    data = {
        "model": version.model, "version": version.version, "job_id": version.job_id,
        "url": version_url(public_url, version.model, version.version), "bundle_digest": version.bundle_digest,
        "receipt_digest": receipt_digest, "metrics": version.metrics,
    }  # fmt: skip
    events.append(
        session,
        version.project_id,
        type="model.version.registered",
        data=data,
        job_id=version.job_id,
        once=version.job_id,
    )


def models(session: Session, project_id: str, *, after: str | None, limit: int) -> list[RegisteredModel]:
    """Up to `limit` models that have a version, by name; `after` is the name that the page before ended with."""
    here = (RegisteredModel.project_id == project_id) & (RegisteredModel.last_version > 0)
    query = select(RegisteredModel).where(here).order_by(RegisteredModel.name).limit(limit)
    if after is not None:
        query = query.where(RegisteredModel.name > after)
    return list(session.scalars(query))


def find_model(session: Session, project_id: str, *, model: str) -> RegisteredModel:
    """One model of the project.

    Raises:
        NotFound
    """
    found = session.get(RegisteredModel, (project_id, model))
    if found is None:
        raise NotFound(
            f"There is no model {model!r} in this project.", hint="A model is there once a job registers it."
        )
    return found


def aliases_of(session: Session, project_id: str, *, models: Sequence[str]) -> dict[str, dict[str, int]]:
    """By model, by alias, the version it points at."""
    found: dict[str, dict[str, int]] = {name: {} for name in models}
    query = select(Alias).where(Alias.project_id == project_id, Alias.model.in_(models)).order_by(Alias.alias)
    for row in session.scalars(query):
        found[row.model][row.alias] = row.version
    return found


def versions(session: Session, project_id: str, *, model: str, after: int | None, limit: int) -> list[ModelVersion]:
    """Up to `limit` versions, newest first; `after` is the number that the page before ended with.

    Raises:
        NotFound: no such model.
    """
    find_model(session, project_id, model=model)
    here = (ModelVersion.project_id == project_id) & (ModelVersion.model == model) & ModelVersion.deleted_at.is_(None)
    query = select(ModelVersion).where(here).order_by(ModelVersion.version.desc()).limit(limit)
    if after is not None:
        query = query.where(ModelVersion.version < after)
    return list(session.scalars(query))


def history(session: Session, project_id: str, *, model: str, after: int | None, limit: int) -> list[AliasMove]:
    """Up to `limit` alias moves of the model, newest first; `after` is the id that the page before ended with.

    Raises:
        NotFound: no such model.
    """
    find_model(session, project_id, model=model)
    here = (AliasMove.project_id == project_id) & (AliasMove.model == model)
    query = select(AliasMove).where(here).order_by(AliasMove.id.desc()).limit(limit)
    if after is not None:
        query = query.where(AliasMove.id < after)
    return list(session.scalars(query))


def model_tag(model: RegisteredModel) -> str:
    """The strong ETag of a model: another one after every registration and every move of an alias."""
    return f'"m{model.last_version}-{model.alias_revision}"'


def alias_tag(alias: Alias) -> str:
    """The strong ETag of an alias: another one after every move of it."""
    return f'"a{alias.revision}"'


def find_alias(session: Session, project_id: str, *, model: str, alias: str) -> Alias:
    """One alias of the model.

    Raises:
        NotFound
    """
    found = session.get(Alias, (project_id, model, alias))
    if found is None:
        raise NotFound(f"Model {model!r} has no alias {alias!r}.")
    return found


def set_alias(
    session: Session,
    project_id: str,
    *,
    model: str,
    alias: str,
    version: int | None,
    expected: frozenset[str],
    by: Move,
) -> Alias | None:
    """Points an alias at a version, or takes it away, if nobody changed it since the caller looked.

    Args:
        expected: ETags of which one must be the alias's or the model's; `*` asks for no particular state.

    Raises:
        NotFound: no such model or version, or nothing to take away.
        PreconditionFailed: the alias, or the model, has another ETag now.
    """
    owner = lock_model(session, project_id, model=model)
    present = session.get(Alias, (project_id, model, alias), populate_existing=True)
    if present is None and version is None:
        raise NotFound(f"Model {model!r} has no alias {alias!r}.")
    valid = {"*", model_tag(owner)} | ({alias_tag(present)} if present else set())
    if valid.isdisjoint(expected):
        raise PreconditionFailed(
            f"The alias {alias!r} points at {f'version {present.version}' if present else 'nothing'} now.",
            hint="Read the alias or the model again and send its ETag in If-Match.",
        )
    return move_alias(
        session, project_id, model=model, alias=alias, version=version, moved_by=by.moved_by, reason=by.reason
    )


def sources_of(job: Job) -> list[dict[str, Any]]:
    """What the job's spec says of where its data came from: names and addresses, never text of a query."""
    shown = ("dataset_id", "connection", "table", "uri", "url", "feature_service", "format")
    return [
        {
            "name": name,
            "kind": source["kind"],
            "names": {key: source[key] for key in shown if source.get(key) is not None},
        }
        for name, source in sorted(job.spec.get("data", {}).get("sources", {}).items())
    ]


def outputs_of(session: Session, job_id: str) -> dict[str, dict[str, Any]]:
    """By stage of the job that made a version, the output that later stages read."""
    query = select(JobStage).where(JobStage.job_id == job_id, JobStage.output.is_not(None))
    return {row.name: row.output or {} for row in session.scalars(query)}


def artifacts_of(session: Session, job_id: str) -> list[Artifact]:
    """The artifacts of the job that made a version, by name."""
    return list(session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))


def test_set_uses(session: Session, job: Job) -> int | None:
    """How many candidates of the project were judged by the same test rows as that of `job`, itself among them.

    The rows are the same where the snapshot and its division are. None where they are not written down.
    """
    frozen = {row.name: row.digest for row in artifacts_of(session, job.id) if row.name in {"snapshot", "split"}}
    if len(frozen) < 2:
        return None
    snapshot, split = aliased(Artifact), aliased(Artifact)
    query = (
        select(func.count())
        .select_from(Job)
        .join(snapshot, (snapshot.job_id == Job.id) & (snapshot.name == "snapshot"))
        .join(split, (split.job_id == Job.id) & (split.name == "split"))
        .join(JobStage, (JobStage.job_id == Job.id) & (JobStage.name == "evaluate") & JobStage.output.is_not(None))
        .where(
            Job.project_id == job.project_id, Job.kind == "train", snapshot.digest == frozen["snapshot"],
            split.digest == frozen["split"],
        )
    )  # fmt: skip
    return session.scalar(query)


def deployments_of(session: Session, version: ModelVersion) -> list[str]:
    """The ids of the deployments of a version, oldest first."""
    here = (Deployment.project_id == version.project_id) & (Deployment.model == version.model)
    query = select(Deployment.id).where(here, Deployment.version == version.version).order_by(Deployment.id)
    return list(session.scalars(query))

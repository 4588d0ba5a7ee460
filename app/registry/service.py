"""Registers versions, reads models, and moves aliases that a caller names."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import events
from app.aliases import lock_model, move_alias
from app.ids import derived_id
from app.tables import Job, ModelVersion, RegisteredModel


def register(
    session: Session,
    *,
    job: Job,
    bundle_digest: str,
    bundle_bytes: int,
    manifest: Mapping[str, Any],
    public_url: str,
) -> ModelVersion:
    """The version that `job` makes, with the next free number, its aliases and its event, in the caller's transaction.

    Registering the same job again gives the version that is there and announces nothing. No alias but those that the
    spec asks for moves: a first version does not become champion by being first.

    Args:
        bundle_digest: `sha256:…` of the stored bundle.
        public_url: Base of the URL that the event carries.
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
    _announce(session, version, public_url)
    return version


def version_url(public_url: str, model: str, version: int) -> str:
    """The address of a version."""
    return f"{public_url.rstrip('/')}/v1/models/{model}/versions/{version}"


def _announce(session: Session, version: ModelVersion, public_url: str) -> None:
    data = {
        "model": version.model, "version": version.version, "job_id": version.job_id,
        "url": version_url(public_url, version.model, version.version), "bundle_digest": version.bundle_digest,
        "receipt_digest": None, "metrics": version.metrics,
    }  # fmt: skip
    events.append(
        session,
        version.project_id,
        type="model.version.registered",
        data=data,
        job_id=version.job_id,
        once=version.job_id,
    )

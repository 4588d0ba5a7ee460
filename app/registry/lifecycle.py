"""The end of a version: set aside, brought back, or deleted for good; what nothing refers to any more is garbage."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app import events
from app.aliases import lock_model, require_version
from app.discards import discard
from app.errors import Conflict
from app.states import DeploymentState
from app.tables import Alias, Artifact, Deployment, ModelVersion, Trial

UNDER_WAY = (DeploymentState.REQUESTED, DeploymentState.ACCEPTED, DeploymentState.SERVING)


def archive(session: Session, project_id: str, *, model: str, version: int, by: str, reason: str) -> ModelVersion:
    """Sets a version aside: no alias may point at it and no deployment may ask for it, until it is brought back.

    Raises:
        NotFound
        Conflict: `version_in_use`.
    """
    row = _unused(session, project_id, model=model, version=version)
    if row.archived_at is None:
        row.archived_at = datetime.now(UTC)
        _say(session, row, kind="archived", by=by, reason=reason)
    return row


def restore(session: Session, project_id: str, *, model: str, version: int, by: str, reason: str) -> ModelVersion:
    """Brings an archived version back.

    Raises:
        NotFound
    """
    lock_model(session, project_id, model=model)
    row = require_version(session, project_id, model=model, version=version)
    if row.archived_at is not None:
        row.archived_at = None
        _say(session, row, kind="restored", by=by, reason=reason)
    return row


def remove(session: Session, project_id: str, *, model: str, version: int, by: str) -> None:
    """Deletes a version and everything that its job stored, for good; its number is not used again, its receipt stays.

    Raises:
        NotFound
        Conflict: `version_in_use`.
    """
    row = _unused(session, project_id, model=model, version=version)
    row.deleted_at = datetime.now(UTC)
    digests = {row.bundle_digest, *session.scalars(select(Artifact.digest).where(Artifact.job_id == row.job_id))}
    kept = select(Trial.model_digest, Trial.predictions_digest).where(Trial.job_id == row.job_id)
    digests |= {digest for pair in session.execute(kept) for digest in pair if digest is not None}
    session.execute(delete(Artifact).where(Artifact.job_id == row.job_id))
    session.execute(
        update(Trial).where(Trial.job_id == row.job_id)
        .values(model_digest=None, model_bytes=None, predictions_digest=None, predictions_bytes=None)
    )  # fmt: skip
    discard(session, project_id, digests)
    _say(session, row, kind="deleted", by=by, reason="")


def _unused(session: Session, project_id: str, *, model: str, version: int) -> ModelVersion:
    lock_model(session, project_id, model=model)
    row = require_version(session, project_id, model=model, version=version)
    here = (Alias.project_id == project_id) & (Alias.model == model) & (Alias.version == version)
    aliases: Sequence[str] = session.scalars(select(Alias.alias).where(here).order_by(Alias.alias)).all()
    if aliases:
        raise Conflict(
            f"Version {version} is {', '.join(aliases)}.", code="version_in_use",
            hint="Move or take away its aliases first.",
        )  # fmt: skip
    asked = (Deployment.project_id == project_id) & (Deployment.model == model) & (Deployment.version == version)
    deployed = session.scalar(select(Deployment.id).where(asked, Deployment.state.in_(UNDER_WAY)).limit(1))
    if deployed is not None:
        raise Conflict(
            f"Version {version} is deployed by {deployed}.", code="version_in_use",
            hint="Deploy another version first.",
        )  # fmt: skip
    return row


def _say(session: Session, row: ModelVersion, *, kind: str, by: str, reason: str) -> None:
    """For the audit trail; endpoints cannot subscribe to it."""
    data = {"model": row.model, "version": row.version, "by": by, "reason": reason}
    events.append(session, row.project_id, type=f"model.version.{kind}", data=data)

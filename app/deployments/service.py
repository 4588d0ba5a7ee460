"""Asks deployers to serve versions, hears what they report, and moves a target's aliases when it is time."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import events
from app.aliases import lock_model, move_target, require_usable
from app.deployments.schemas import Reported, RollbackRequest
from app.errors import Conflict, NotFound
from app.ids import new_id
from app.states import DEPLOYMENT_MOVES, DeploymentState
from app.tables import AliasMove, Deployment, ModelVersion

UNDER_WAY = (DeploymentState.REQUESTED, DeploymentState.ACCEPTED)
ACKNOWLEDGED = frozenset({DeploymentState.ACCEPTED, DeploymentState.SERVING})


def request(  # noqa: PLR0913  # a request is who, what, where to, why and how
    session: Session,
    *,
    project_id: str,
    model: str,
    version: int,
    target: str,
    requested_by: str,
    public_url: str,
    job_id: str | None = None,
    reason: str = "",
    require_ack: bool = False,
    ack_seconds: int = 900,
) -> Deployment:
    """Asks for `version` to serve `target`, in the caller's transaction; an earlier request under way is superseded.

    Without `require_ack` the target's aliases move now; with it they move when a deployer reports `accepted` or
    `serving` within `ack_seconds`, and stay where they are otherwise.

    Raises:
        NotFound: no such model or version.
        Conflict: the version is archived.
    """
    lock_model(session, project_id, model=model)
    bundle_digest = require_usable(session, project_id, model=model, version=version).bundle_digest
    _supersede(session, project_id, model=model, target=target, states=UNDER_WAY)
    now = session.scalar(select(func.now())) or datetime.now(UTC)
    deployment = Deployment(
        id=new_id("dep"), project_id=project_id, job_id=job_id, model=model,
        version=version, target=target, state=DeploymentState.REQUESTED, detail="", require_ack=require_ack,
        ack_until=now + timedelta(seconds=ack_seconds) if require_ack else None, requested_by=requested_by, reason=reason,
    )  # fmt: skip
    session.add(deployment)
    session.flush()
    _announce_request(session, deployment, bundle_digest, public_url)
    if not require_ack:
        _move_aliases(session, deployment, moved_by=requested_by)
    return deployment


def report(
    session: Session, project_id: str, *, deployment_id: str, state: Reported, detail: str, reported_by: str
) -> Deployment:
    """Writes down what a deployer says; the first acknowledgement moves the aliases where they waited for it.

    The same state reported again changes nothing.

    Raises:
        NotFound
        Conflict: the deployment is superseded, timed out, failed, or already further on.
    """
    known = find(session, project_id, deployment_id=deployment_id)
    lock_model(session, project_id, model=known.model)
    deployment = _lock(session, known.id)
    before, after = DeploymentState(deployment.state), DeploymentState(state)
    if before == after:
        return deployment
    if after not in DEPLOYMENT_MOVES[before]:
        raise Conflict(f"This deployment is {before}; it can no longer become {after}.", code="deployment_closed")
    deployment.state, deployment.detail, deployment.reported_at = after, detail, datetime.now(UTC)
    session.flush()
    _announce_report(session, deployment)
    if before is DeploymentState.REQUESTED and after in ACKNOWLEDGED and deployment.require_ack:
        _move_aliases(session, deployment, moved_by=reported_by)
    if after is DeploymentState.SERVING:
        serving = (DeploymentState.SERVING,)
        _supersede(
            session, project_id, model=deployment.model, target=deployment.target, states=serving, but=deployment.id
        )
    return deployment


def timeout_due(session: Session, *, limit: int = 100) -> int:
    """Marks up to `limit` requests whose acknowledgement is overdue as timed out; how many there were."""
    overdue = session.scalars(
        select(Deployment)
        .where(Deployment.state == DeploymentState.REQUESTED, Deployment.ack_until <= func.now())
        .order_by(Deployment.ack_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for deployment in overdue:
        deployment.state, deployment.detail = DeploymentState.TIMED_OUT, "no deployer acknowledged in time"
        _note(session, deployment, "deployment.timed_out")
    return len(overdue)


def rollback(
    session: Session, project_id: str, *, model: str, wish: RollbackRequest, requested_by: str, public_url: str
) -> Deployment:
    """Asks for the version that served the target of `wish` before the present one, and still may.

    Raises:
        NotFound: no such model.
        Conflict: no version that may serve did so before the present one.
    """
    lock_model(session, project_id, model=model)
    served = _moves_of(session, project_id, model=model, alias=wish.target)
    before = version_before(served, usable=_usable(session, project_id, model=model))
    if before is None:
        raise Conflict(
            f"No earlier version of {model!r} served {wish.target} and may do so again.", code="nothing_to_roll_back_to",
            hint="Promote the version that you want.",
        )  # fmt: skip
    return request(
        session, project_id=project_id, model=model, version=before, target=wish.target, requested_by=requested_by,
        public_url=public_url, reason=wish.reason, require_ack=wish.require_ack, ack_seconds=wish.ack_seconds,
    )  # fmt: skip


def version_before(served: Sequence[int | None], *, usable: Collection[int]) -> int | None:
    """The version to go back to, of those that served in order; the last one serves now.

    Going back is not going forth: after 1, 2, 3 and a return to 2, the version before is 1, not 3. What is not `usable`,
    archived or deleted, is passed over.
    """
    road: list[int] = []
    for version in served:
        if version is None:
            continue
        if version in road:
            del road[road.index(version) :]
        road.append(version)
    return next((version for version in reversed(road[:-1]) if version in usable), None)


def find(session: Session, project_id: str, *, deployment_id: str) -> Deployment:
    """One deployment of the project.

    Raises:
        NotFound
    """
    found = session.scalar(
        select(Deployment).where(Deployment.project_id == project_id, Deployment.id == deployment_id)
    )
    if found is None:
        raise NotFound("There is no such deployment in this project.")
    return found


def page(
    session: Session, project_id: str, *, model: str | None, state: str | None, after: str | None, limit: int
) -> list[Deployment]:
    """Up to `limit` deployments, newest first; `after` is the id that the page before ended with."""
    query = select(Deployment).where(Deployment.project_id == project_id).order_by(Deployment.id.desc()).limit(limit)
    if model is not None:
        query = query.where(Deployment.model == model)
    if state is not None:
        query = query.where(Deployment.state == state)
    if after is not None:
        query = query.where(Deployment.id < after)
    return list(session.scalars(query))


def _moves_of(session: Session, project_id: str, *, model: str, alias: str) -> list[int | None]:
    here = (AliasMove.project_id == project_id) & (AliasMove.model == model) & (AliasMove.alias == alias)
    return list(session.scalars(select(AliasMove.to_version).where(here).order_by(AliasMove.id)))


def _usable(session: Session, project_id: str, *, model: str) -> set[int]:
    """The versions that an alias may point at."""
    here = (ModelVersion.project_id == project_id) & (ModelVersion.model == model)
    whole = ModelVersion.deleted_at.is_(None) & ModelVersion.archived_at.is_(None)
    return set(session.scalars(select(ModelVersion.version).where(here, whole)))


def _lock(session: Session, deployment_id: str) -> Deployment:
    return session.get_one(Deployment, deployment_id, with_for_update=True, populate_existing=True)


def _supersede(
    session: Session, project_id: str, *, model: str, target: str, states: tuple[DeploymentState, ...], but: str = ""
) -> None:
    here = (Deployment.project_id == project_id) & (Deployment.model == model) & (Deployment.target == target)
    older = select(Deployment).where(here, Deployment.state.in_(states), Deployment.id != but).with_for_update()
    for deployment in session.scalars(older.order_by(Deployment.id).execution_options(populate_existing=True)):
        deployment.state = DeploymentState.SUPERSEDED
        _note(session, deployment, "deployment.superseded")


def _move_aliases(session: Session, deployment: Deployment, *, moved_by: str) -> None:
    why = deployment.reason or f"deployment {deployment.id}"
    move_target(
        session, deployment.project_id, model=deployment.model, version=deployment.version, target=deployment.target,
        moved_by=moved_by, reason=why,
    )  # fmt: skip


def _about(deployment: Deployment) -> dict[str, Any]:
    return {
        "deployment_id": deployment.id, "model": deployment.model, "version": deployment.version, "target": deployment.target
    }  # fmt: skip


def _announce_request(session: Session, deployment: Deployment, bundle_digest: str, public_url: str) -> None:
    base = public_url.rstrip("/")
    data = {
        **_about(deployment), "url": f"{base}/v1/models/{deployment.model}/versions/{deployment.version}",
        "report_url": f"{base}/v1/deployments/{deployment.id}/report", "bundle_digest": bundle_digest,
        "require_ack": deployment.require_ack,
    }  # fmt: skip
    events.append(
        session,
        deployment.project_id,
        type="deployment.requested",
        data=data,
        job_id=deployment.job_id,
        once=deployment.id,
    )


def _announce_report(session: Session, deployment: Deployment) -> None:
    data = {**_about(deployment), "state": deployment.state, "detail": deployment.detail}
    events.append(session, deployment.project_id, type="deployment.reported", data=data, job_id=deployment.job_id)


def _note(session: Session, deployment: Deployment, kind: str) -> None:
    """For the audit trail and the streams; endpoints cannot subscribe to it."""
    events.append(session, deployment.project_id, type=kind, data=_about(deployment), job_id=deployment.job_id)

"""Makes, lists and revokes API keys and projects."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.accounts.schemas import KeyMade, KeyRequest, KeyShown
from app.errors import Conflict, Forbidden, InvalidRequest, NotFound, Violation
from app.ids import new_id
from app.secrets import Vault, new_api_key
from app.tables import ApiKey, Project

MAX_KEYS = 1_000


def make_project(session: Session, name: str, *, asking: str | None = None) -> Project:
    """A new project. `asking` is the project of the key that asks; None is the installation itself.

    Raises:
        Forbidden: only the first project's admins make projects.
        Conflict: another project has this name.
    """
    if asking is not None and not operates(session, asking):
        raise Forbidden("Only an admin of the installation's first project makes projects.")
    made = insert(Project).values(id=new_id("prj"), name=name).on_conflict_do_nothing().returning(Project)
    project = session.scalar(made)
    if project is None:
        raise Conflict("A project has this name already.", code="project_exists")
    return project


def operates(session: Session, project_id: str) -> bool:
    """Whether this is the installation's first project, whose admins look after all projects."""
    # By the database's clock: ids are of the clocks of many hosts.
    return session.scalar(select(Project.id).order_by(Project.created_at, Project.id).limit(1)) == project_id


def projects(session: Session, asking: str, *, after: str | None, limit: int) -> Sequence[Project]:
    """Up to `limit` projects that the project `asking` may see, in the order of their making, after the id `after`."""
    wanted = select(Project).order_by(Project.id).limit(limit)
    if not operates(session, asking):
        wanted = wanted.where(Project.id == asking)
    return session.scalars(wanted.where(Project.id > after) if after else wanted).all()


def make_key(session: Session, vault: Vault, request: KeyRequest, *, asking: str) -> KeyMade:
    """A new key for the project `asking`, or for the one that the request names; its text is in the answer only.

    Raises:
        NotFound: there is no such project, or it is not for the project `asking` to make keys for it.
        InvalidRequest: the key would have expired already.
        Conflict: the project has MAX_KEYS live keys.
    """
    project_id = request.project_id or asking
    foreign = project_id != asking and not operates(session, asking)
    if foreign or session.get(Project, project_id) is None:
        raise NotFound("There is no such project.")
    if request.expires_at is not None and request.expires_at <= datetime.now(UTC):
        fault = Violation("/expires_at", "in_the_past", "must be in the future")
        raise InvalidRequest("The key would have expired already.", violations=[fault])
    live = select(func.count()).where(ApiKey.project_id == project_id, ApiKey.revoked_at.is_(None))
    if (session.scalar(live) or 0) >= MAX_KEYS:
        raise Conflict(f"The project has {MAX_KEYS} keys.", code="too_many_keys", hint="Revoke those that nobody uses.")
    fresh = new_api_key()
    row = ApiKey(
        id=new_id("key"), project_id=project_id, name=request.name, lookup=fresh.lookup,
        digest=vault.key_digest(fresh.text), scopes=sorted(request.scopes), expires_at=request.expires_at,
    )  # fmt: skip
    session.add(row)
    session.flush()
    session.refresh(row)
    return KeyMade(**shown(row).model_dump(), key=fresh.text)


def keys(session: Session, project_id: str, *, after: str | None, limit: int) -> Sequence[KeyShown]:
    """Up to `limit` keys of the project, the newest first, those before the id `after`."""
    wanted = select(ApiKey).where(ApiKey.project_id == project_id).order_by(ApiKey.id.desc()).limit(limit)
    return [shown(row) for row in session.scalars(wanted.where(ApiKey.id < after) if after else wanted)]


def revoke_key(session: Session, project_id: str, key_id: str) -> None:
    """Ends a key at once and for good; to revoke it again changes nothing.

    Raises:
        NotFound: the project has no such key.
        Conflict: it is the project's last key that can administer.
    """
    held = select(ApiKey).where(ApiKey.project_id == project_id).with_for_update()
    rows = {row.id: row for row in session.scalars(held)}
    row = rows.get(key_id)
    if row is None:
        raise NotFound("There is no such key.")
    if row.revoked_at is not None:
        return
    now = datetime.now(UTC)
    others = [
        other for other in rows.values()
        if other is not row and "admin" in other.scopes and other.revoked_at is None
        and (other.expires_at is None or other.expires_at > now)
    ]  # fmt: skip
    if "admin" in row.scopes and not others:
        raise Conflict(
            "This is the project's last key with the scope admin.",
            code="last_admin_key",
            hint="Make another one first.",
        )
    row.revoked_at = now


def shown(row: ApiKey) -> KeyShown:
    """The row as callers see it."""
    return KeyShown(
        id=row.id, project_id=row.project_id, name=row.name, scopes=row.scopes,  # type: ignore[arg-type]
        prefix=f"th_live_{row.lookup}", created_at=row.created_at, expires_at=row.expires_at,
        revoked_at=row.revoked_at, last_used_at=row.last_used_at,
    )  # fmt: skip

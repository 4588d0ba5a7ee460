"""Moves aliases: under the model's lock, with history and an event for every move."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import events
from app.errors import Conflict, NotFound
from app.tables import Alias, AliasMove, ModelVersion, RegisteredModel

TARGET_ALIASES = {"staging": ("staging",), "production": ("champion", "production")}
"""The aliases that point at what serves each target; later jobs are judged against `champion`."""


def lock_model(session: Session, project_id: str, *, model: str) -> RegisteredModel:
    """The model's row, locked to the end of the transaction; versions and aliases change under this lock only.

    Raises:
        NotFound: the project has no such model.
    """
    found = session.scalar(
        select(RegisteredModel)
        .where(RegisteredModel.project_id == project_id, RegisteredModel.name == model)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound(f"There is no model {model!r} in this project.")
    return found


def move_alias(
    session: Session, project_id: str, *, model: str, alias: str, version: int | None, moved_by: str, reason: str
) -> Alias | None:
    """Points `alias` at `version`, or takes it away where that is None; the present alias, or None.

    A move to where the alias already points changes nothing and leaves no history. A revision is never used twice,
    not even by an alias that was deleted and made again.

    Raises:
        NotFound: no such model, or no such version.
        Conflict: the version is archived.
    """
    owner = lock_model(session, project_id, model=model)
    row = session.get(Alias, (project_id, model, alias), populate_existing=True)
    before = row.version if row else None
    if before == version:
        return row
    if version is not None:
        require_usable(session, project_id, model=model, version=version)
    owner.alias_revision += 1
    if row is not None:
        session.delete(row)
        session.flush()
        row = None
    if version is not None:
        row = Alias(project_id=project_id, model=model, alias=alias, version=version, revision=owner.alias_revision)
        session.add(row)
    session.add(AliasMove(
        project_id=project_id, model=model, alias=alias, from_version=before, to_version=version, reason=reason,
        moved_by=moved_by,
    ))  # fmt: skip
    said = {"model": model, "alias": alias, "from_version": before, "to_version": version, "moved_by": moved_by}
    events.append(session, project_id, type="model.alias.moved", data={**said, "reason": reason})
    return row


def move_target(
    session: Session, project_id: str, *, model: str, version: int, target: str, moved_by: str, reason: str
) -> None:
    """Points every alias of `target` at `version`.

    Raises:
        NotFound: no such model, or no such version.
    """
    for alias in TARGET_ALIASES[target]:
        move_alias(session, project_id, model=model, alias=alias, version=version, moved_by=moved_by, reason=reason)


def require_version(session: Session, project_id: str, *, model: str, version: int) -> ModelVersion:
    """The version's row.

    Raises:
        NotFound: the project has no such version.
    """
    found = session.scalar(
        select(ModelVersion).where(
            ModelVersion.project_id == project_id, ModelVersion.model == model, ModelVersion.version == version,
            ModelVersion.deleted_at.is_(None),
        )
    )  # fmt: skip
    if found is None:
        raise NotFound(f"There is no version {version} of model {model!r} in this project.")
    return found


def require_usable(session: Session, project_id: str, *, model: str, version: int) -> ModelVersion:
    """The version's row, for an alias or a deployment.

    Raises:
        NotFound: the project has no such version.
        Conflict: `version_archived`.
    """
    found = require_version(session, project_id, model=model, version=version)
    if found.archived_at is not None:
        raise Conflict(
            f"Version {version} of model {model!r} is archived.", code="version_archived",
            hint="Bring it back with POST /v1/models/{name}/versions/{n}/restore.",
        )  # fmt: skip
    return found

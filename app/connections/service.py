"""Keeps connections; their secrets are sealed and leave only with a job."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.connections import feast
from app.connections.postgres import own_database
from app.connections.reach import host_of, reach
from app.connections.schemas import AnyConnection, ConnectionShown, ConnectionTested
from app.egress import resolve
from app.egress.own import is_own_database
from app.errors import Conflict, EgressDenied, NotFound, SourceRefused, SourceUnavailable, TooLarge, Violation
from app.ids import new_id
from app.secrets import Vault
from app.settings import Settings
from app.tables import Connection


def check_host(wanted: AnyConnection, *, settings: Settings) -> None:
    """Refuses a host that may not be reached; one whose name has no address now is judged again at each use.

    Raises:
        EgressDenied
        SourceRefused: `own_database`.
    """
    if isinstance(wanted, feast.FeastConnection):
        feast.check(wanted.config, settings=settings)
    led = host_of(wanted.kind, wanted.config.model_dump())
    if led is None:
        return
    host, port = led
    try:
        addresses = resolve(host, port, settings.egress_allow)
        if wanted.kind == "postgres" and is_own_database(addresses, port, wanted.config.database, settings=settings):
            raise own_database(pointer="/config/database")
    except SourceUnavailable:
        return
    except EgressDenied as error:
        if error.stable_code == "unknown_host":
            return
        where = "/config/endpoint" if wanted.kind == "s3" else "/config/host"
        fault = Violation(where, error.stable_code, error.detail, error.hint)
        raise EgressDenied(error.detail, code=error.stable_code, hint=error.hint, violations=[fault]) from None


def make(session: Session, vault: Vault, project_id: str, wanted: AnyConnection) -> ConnectionShown:
    """A new connection.

    Raises:
        Conflict: the project has one of this name.
    """
    given = getattr(wanted, "secret", None)
    secret = _opened(given.model_dump(exclude_none=True)) if given else None
    made = (
        insert(Connection)
        .values(
            id=new_id("con"), project_id=project_id, name=wanted.name, kind=wanted.kind,
            config=wanted.config.model_dump(mode="json"), sealed_secret=vault.seal(secret) if secret else None,
        )
        .on_conflict_do_nothing().returning(Connection)
    )  # fmt: skip
    row = session.scalar(made)
    if row is None:
        raise Conflict(
            "A connection has this name already.",
            code="connection_exists",
            hint="DELETE it first, or choose another name.",
        )
    return shown(row)


def _opened(secret: dict[str, Any]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in secret.items() if isinstance(value, SecretStr)}


def find(session: Session, project_id: str, name: str) -> Connection:
    """The project's connection of that name.

    Raises:
        NotFound
    """
    wanted = select(Connection).where(Connection.project_id == project_id, Connection.name == name)
    found = session.scalar(wanted)
    if found is None:
        raise NotFound("There is no such connection.")
    return found


def connections(session: Session, project_id: str, *, after: str | None, limit: int) -> Sequence[ConnectionShown]:
    """Up to `limit` connections of the project by name, those after the name `after`."""
    wanted = select(Connection).where(Connection.project_id == project_id).order_by(Connection.name).limit(limit)
    return [shown(row) for row in session.scalars(wanted.where(Connection.name > after) if after else wanted)]


def remove(session: Session, project_id: str, name: str) -> None:
    """Takes a connection and its secret away; jobs that still need it fail with a hint.

    Raises:
        NotFound
    """
    session.delete(find(session, project_id, name))


def test(row: Connection, vault: Vault, *, settings: Settings) -> ConnectionTested:
    """What comes of reaching the engine; a refusal is an answer, not an error."""
    started, code = perf_counter(), None
    try:
        detail = reach(row.kind, row.config, vault.unseal_mapping(row.sealed_secret), settings=settings)
    except (EgressDenied, SourceRefused, SourceUnavailable, TooLarge) as error:
        code, detail = error.stable_code, error.detail
    return ConnectionTested(ok=code is None, code=code, detail=detail, duration_seconds=perf_counter() - started)


def shown(row: Connection) -> ConnectionShown:
    """The row as callers see it."""
    return ConnectionShown(
        id=row.id, name=row.name, kind=row.kind, config=row.config,  # type: ignore[arg-type]
        has_secret=row.sealed_secret is not None, created_at=row.created_at,
    )  # fmt: skip

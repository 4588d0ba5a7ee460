"""Connections over HTTP."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.connections import service
from app.connections.schemas import ConnectionRequest, Connections, ConnectionShown, ConnectionTested
from app.db import transaction
from app.http import (
    Admin,
    AdminOnce,
    EarlyReader,
    PageDep,
    Reader,
    SessionDep,
    SettingsDep,
    StrictRoute,
    VaultDep,
    listing,
)

router = APIRouter(prefix="/v1/connections", route_class=StrictRoute, tags=["connections"])


@router.post("", status_code=201, operation_id="make_connection", response_model=ConnectionShown)
def make_connection(
    wanted: ConnectionRequest,
    caller: Admin,
    session: SessionDep,
    vault: VaultDep,
    settings: SettingsDep,
    once: AdminOnce,
) -> Response:
    """Keeps how to reach an engine. The secret is sealed and never shown again."""
    service.check_host(wanted, settings=settings)
    made = service.make(session, vault, caller.project_id, wanted)
    return once.answer(201, made, headers={"Location": f"/v1/connections/{made.name}"})


@router.get("", operation_id="list_connections", response_model=Connections)
def list_connections(caller: Reader, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """The project's connections by name."""
    found = service.connections(session, caller.project_id, after=page.after_text, limit=page.limit + 1)
    return listing(found, limit=page.limit, key=lambda row: [row.name])


@router.get("/{name}", operation_id="get_connection")
def get_connection(name: str, caller: Reader, session: SessionDep) -> ConnectionShown:
    """One connection."""
    return service.shown(service.find(session, caller.project_id, name))


@router.delete("/{name}", status_code=204, operation_id="remove_connection")
def remove_connection(name: str, caller: Admin, session: SessionDep) -> None:
    """Takes a connection and its secret away."""
    service.remove(session, caller.project_id, name)


@router.post("/{name}/test", operation_id="test_connection")
def test_connection(
    name: str, request: Request, caller: EarlyReader, vault: VaultDep, settings: SettingsDep
) -> ConnectionTested:
    """Reaches the engine with the stored secret and says what came of it, within some seconds."""
    with transaction(request.app.state.engine) as session:
        row = service.find(session, caller.project_id, name)
    return service.test(row, vault, settings=settings)

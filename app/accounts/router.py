"""Keys and projects over HTTP; every call needs the scope `admin`."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from app.accounts import service
from app.accounts.schemas import KeyMade, KeyRequest, Keys, ProjectRequest, Projects, ProjectShown
from app.http import Admin, AdminOnce, PageDep, SessionDep, StrictRoute, VaultDep, listing
from app.problems import declared

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["accounts"])


@router.post("/keys", status_code=201, operation_id="make_key", response_model=KeyMade, responses=declared(404))
def make_key(request: KeyRequest, caller: Admin, session: SessionDep, vault: VaultDep, once: AdminOnce) -> Response:
    """Makes an API key. It is shown in this answer and never again."""
    made = service.make_key(session, vault, request, asking=caller.project_id)
    return once.answer(201, made, headers={"Location": f"/v1/keys/{made.id}"})


@router.get("/keys", operation_id="list_keys", response_model=Keys)
def list_keys(caller: Admin, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """The project's keys, the newest first."""
    found = service.keys(session, caller.project_id, after=page.after_text, limit=page.limit + 1)
    return listing(found, limit=page.limit, key=lambda key: [key.id])


@router.delete("/keys/{key_id}", status_code=204, operation_id="revoke_key")
def revoke_key(key_id: str, caller: Admin, session: SessionDep) -> None:
    """Revokes a key at once."""
    service.revoke_key(session, caller.project_id, key_id)


@router.post("/projects", status_code=201, operation_id="make_project", response_model=ProjectShown)
def make_project(request: ProjectRequest, caller: Admin, session: SessionDep, once: AdminOnce) -> Response:
    """Makes a project; an admin of the first project may. Make a key for it next, with its `project_id`."""
    made = ProjectShown.model_validate(service.make_project(session, request.name, asking=caller.project_id))
    return once.answer(201, made, headers={"Location": f"/v1/projects/{made.id}"})


@router.get("/projects", operation_id="list_projects", response_model=Projects)
def list_projects(caller: Admin, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """All projects, for an admin of the first one; for others, their own."""
    found = service.projects(session, caller.project_id, after=page.after_text, limit=page.limit + 1)
    return listing([ProjectShown.model_validate(row) for row in found], limit=page.limit, key=lambda row: [row.id])

"""Gate policies over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response

from app.http import (
    PageDep,
    Reader,
    ReadOnce,
    SessionDep,
    StrictRoute,
    Trainer,
    TrainOnce,
    VersionNumber,
    listing,
)
from app.policies import service
from app.policies.schemas import PolicyList, PolicyOut, PolicyRequest, ReplayOut, ReplayRequest

router = APIRouter(prefix="/v1/gate-policies", route_class=StrictRoute, tags=["gate policies"])
PolicyName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["strict"])]


@router.post("", status_code=201, operation_id="make_gate_policy", response_model=PolicyOut)
def make_gate_policy(wanted: PolicyRequest, caller: Trainer, session: SessionDep, once: TrainOnce) -> Response:
    """Keeps a gate under a name. Another gate under the same name is its next version; the same one is there already."""
    policy, is_new = service.make(session, caller.project_id, wanted, created_by=caller.key_id)
    where = f"/v1/gate-policies/{policy.name}/versions/{policy.version}"
    return once.answer(201 if is_new else 200, PolicyOut.model_validate(policy), headers={"Location": where})


@router.get("", operation_id="list_gate_policies", response_model=PolicyList)
def list_gate_policies(caller: Reader, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """The project's policies by name, each in its last version."""
    rows = service.page(session, caller.project_id, after=page.after_text, limit=page.limit + 1)
    return listing([PolicyOut.model_validate(row) for row in rows], limit=page.limit, key=lambda row: [row.name])


@router.get("/{name}", operation_id="get_gate_policy")
def get_gate_policy(name: PolicyName, caller: Reader, session: SessionDep) -> PolicyOut:
    """A policy in its last version."""
    return PolicyOut.model_validate(service.find(session, caller.project_id, name=name))


@router.get("/{name}/versions", operation_id="list_gate_policy_versions", response_model=PolicyList)
def list_gate_policy_versions(name: PolicyName, caller: Reader, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """A policy's versions, newest first."""
    rows = service.versions(session, caller.project_id, name=name, after=page.after_number, limit=page.limit + 1)
    return listing([PolicyOut.model_validate(row) for row in rows], limit=page.limit, key=lambda row: [row.version])


@router.get("/{name}/versions/{number}", operation_id="get_gate_policy_version")
def get_gate_policy_version(name: PolicyName, number: VersionNumber, caller: Reader, session: SessionDep) -> PolicyOut:
    """One version of a policy."""
    return PolicyOut.model_validate(service.find(session, caller.project_id, name=name, version=number))


@router.post("/{name}/versions/{number}/replay", operation_id="replay_gate_policy", response_model=ReplayOut)
def replay_gate_policy(  # FastAPI's way of asking
    name: PolicyName, number: VersionNumber, wanted: ReplayRequest, caller: Reader, session: SessionDep, once: ReadOnce
) -> Response:
    """Judges past candidates by a policy, from what was measured then: who would have passed, and who would not."""
    policy = service.find(session, caller.project_id, name=name, version=number)
    found = service.replay(session, caller.project_id, policy, wanted)
    return once.answer(200, ReplayOut.model_validate(found))

"""Promotion, rollback and deployments over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from app.deployments import service
from app.deployments.schemas import (
    DeploymentList,
    DeploymentOut,
    PromoteRequest,
    ReportRequest,
    RollbackRequest,
    State,
)
from app.http import (
    ModelName,
    PageDep,
    Reader,
    SessionDep,
    SettingsDep,
    StrictRoute,
    Trainer,
    TrainOnce,
    VersionNumber,
    listing,
)
from app.tables import Deployment

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["deployments"])
DeploymentId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["dep_06f4wx0v2s7m5d1c9b8a3n6k2e"])]


@router.post(
    "/models/{name}/versions/{number}/promote", status_code=201, operation_id="promote_version",
    response_model=DeploymentOut,
)  # fmt: skip
def promote_version(
    name: ModelName,
    number: VersionNumber,
    wish: PromoteRequest,
    caller: Trainer,
    session: SessionDep,
    settings: SettingsDep,
    once: TrainOnce,
) -> Response:
    """Asks deployers to serve this version. The target's aliases move at once, or with `require_ack` when one answers."""
    made = service.request(
        session, project_id=caller.project_id, model=name, version=number, target=wish.target,
        requested_by=caller.key_id, public_url=settings.public_url, reason=wish.reason, require_ack=wish.require_ack,
        ack_seconds=wish.ack_seconds,
    )  # fmt: skip
    return _created(once, session, made)


@router.post("/models/{name}/rollback", status_code=201, operation_id="roll_back_model", response_model=DeploymentOut)
def roll_back_model(
    name: ModelName,
    wish: RollbackRequest,
    caller: Trainer,
    session: SessionDep,
    settings: SettingsDep,
    once: TrainOnce,
) -> Response:
    """Asks deployers to serve the version that served before the present one, as a promotion asks for another."""
    made = service.rollback(
        session, caller.project_id, model=name, wish=wish, requested_by=caller.key_id, public_url=settings.public_url
    )
    return _created(once, session, made)


@router.get("/deployments", operation_id="list_deployments", response_model=DeploymentList)
def list_deployments(
    caller: Reader,
    session: SessionDep,
    page: PageDep,
    model: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = None,
    state: Annotated[State | None, Query()] = None,
) -> dict[str, Any]:
    """The project's deployments, newest first."""
    rows = service.page(
        session, caller.project_id, model=model, state=state, after=page.after_text, limit=page.limit + 1
    )
    return listing([DeploymentOut.model_validate(row) for row in rows], limit=page.limit, key=lambda row: [row.id])


@router.get("/deployments/{deployment_id}", operation_id="get_deployment")
def get_deployment(deployment_id: DeploymentId, caller: Reader, session: SessionDep) -> DeploymentOut:
    """One deployment."""
    return DeploymentOut.model_validate(service.find(session, caller.project_id, deployment_id=deployment_id))


@router.post("/deployments/{deployment_id}/report", operation_id="report_deployment", response_model=DeploymentOut)
def report_deployment(
    deployment_id: DeploymentId, said: ReportRequest, caller: Trainer, session: SessionDep, once: TrainOnce
) -> Response:
    """A deployer says how far it is; its first acknowledgement moves the aliases that waited for it."""
    deployment = service.report(
        session, caller.project_id, deployment_id=deployment_id, state=said.state, detail=said.detail,
        reported_by=caller.key_id,
    )  # fmt: skip
    return once.answer(200, DeploymentOut.model_validate(deployment))


def _created(once: TrainOnce, session: SessionDep, made: Deployment) -> Response:
    session.refresh(made)
    return once.answer(201, DeploymentOut.model_validate(made), headers={"Location": f"/v1/deployments/{made.id}"})

"""The route that trains a version again."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.http import ModelName, SessionDep, SettingsDep, StrictRoute, Trainer, TrainOnce, VersionNumber
from app.jobs import submission
from app.jobs.schemas import JobOut, ReproduceRequest
from app.jobs.showing import accepted, accepted_headers
from app.spec.extras import declared

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)


@router.post(
    "/{name}/versions/{number}/reproduce", status_code=202, response_model=JobOut, operation_id="reproduce_version"
)
def reproduce_version(  # FastAPI's way of asking
    name: ModelName, number: VersionNumber, wanted: ReproduceRequest, caller: Trainer, session: SessionDep, once: TrainOnce,
    settings: SettingsDep,
) -> Response:  # fmt: skip
    """Accepts a job that trains the version again from its pinned rows, and says identical, within_tolerance or diverged."""
    job = submission.reproduce(
        session, caller.project_id, model=name, version=number, changes=wanted.changes, created_by=caller.key_id,
        extras=declared(settings.extras),
    )  # fmt: skip
    return once.answer(202, accepted(job, settings.public_url), headers=accepted_headers(job))

"""What a job spec may name, over HTTP."""

from fastapi import APIRouter

from app.capabilities import service
from app.capabilities.schemas import Algorithms, Metrics
from app.http import Reader, SettingsDep, StrictRoute
from app.spec.extras import declared

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["capabilities"])


@router.get("/algorithms", operation_id="list_algorithms")
def list_algorithms(_caller: Reader, settings: SettingsDep) -> Algorithms:
    """The algorithms, with their parameters as JSON Schema, their default search spaces, and whether they are there."""
    return Algorithms(items=service.algorithms(declared(settings.extras)))


@router.get("/metrics", operation_id="list_metrics")
def list_metrics(_caller: Reader) -> Metrics:
    """The metrics, with their tasks and which way is better."""
    return Metrics(items=service.metrics())

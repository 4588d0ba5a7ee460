"""Whether the process lives, whether it can serve, and its metrics."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from sqlalchemy import text

from app.db import transaction
from app.errors import Unavailable
from app.http import StoreDep
from app.telemetry import exposition

router = APIRouter(tags=["health"])
Part = Literal["ok", "unavailable"]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """What the process needs to serve; the broker is not among it."""

    status: Part
    parts: Annotated[dict[Literal["database", "store"], Part], Field(examples=[{"database": "ok", "store": "ok"}])]


@router.get("/livez", operation_id="livez")
async def livez() -> Alive:
    """The process lives."""
    return Alive()


@router.get("/readyz", operation_id="readyz", response_model=Ready, responses={503: {"model": Ready}})
def readyz(request: Request, store: StoreDep) -> Response:
    """The database and the object store answer."""
    parts: dict[Literal["database", "store"], Part] = {"database": "ok", "store": "ok"}
    try:
        with transaction(request.app.state.engine) as session:
            session.execute(text("select 1 from projects limit 1"))
    except Exception:  # noqa: BLE001  # whatever is wrong with it, it is not ready
        parts["database"] = "unavailable"
    try:
        store.ping()
    except Unavailable:
        parts["store"] = "unavailable"
    ready = set(parts.values()) == {"ok"}
    body = Ready(status="ok" if ready else "unavailable", parts=parts)
    return JSONResponse(body.model_dump(), status_code=200 if ready else 503)


@router.get("/metrics", operation_id="metrics", response_class=Response)
def metrics() -> Response:
    """Metrics in Prometheus' text format; they name routes, never tenants."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)

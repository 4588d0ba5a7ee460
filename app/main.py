"""Builds the FastAPI app: routers, error handlers, lifespan."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from starlette.types import ASGIApp

from app import docs, health, problems
from app.accounts.router import router as accounts_router
from app.capabilities.router import router as capabilities_router
from app.connections.router import router as connections_router
from app.datasets.router import ENVELOPE_BYTES, uploads
from app.datasets.router import router as datasets_router
from app.db import make_engine
from app.deployments.router import router as deployments_router
from app.edge import Edge
from app.erasure.router import router as erasure_router
from app.http import MAX_JSON_BYTES
from app.idempotency import Replay
from app.jobs.reports import router as reports_router
from app.jobs.reproductions import router as reproductions_router
from app.jobs.router import router as jobs_router
from app.policies.router import router as policies_router
from app.registry.across import router as across_models_router
from app.registry.router import router as registry_router
from app.reviews.router import router as reviews_router
from app.secrets import Vault
from app.settings import Settings
from app.settings import settings as read_settings
from app.storage import S3Store
from app.streams import Hub
from app.strict import refuse_unknown_parameters
from app.telemetry import configure_logs
from app.turns import Turns
from app.webhooks.router import router as webhooks_router

ROUTERS = (
    health.router, accounts_router, connections_router, datasets_router, jobs_router, reports_router, reproductions_router, registry_router, across_models_router, erasure_router, policies_router, reviews_router,
    deployments_router, capabilities_router, webhooks_router,
)  # fmt: skip

CONNECTIONS = 20
MOST_WAITING = 500


class Api(FastAPI):
    """FastAPI inside the edge, so that even its own error answers carry the edge's headers."""

    def build_middleware_stack(self) -> ASGIApp:
        """See Starlette."""
        return Edge(super().build_middleware_stack(), allowed_hosts=self.state.settings.allowed_hosts)


def build(settings: Settings | None = None) -> FastAPI:
    """The API as an ASGI app, ready for uvicorn's `--factory`."""
    known = settings or read_settings()
    configure_logs(known)
    app = Api(
        title="Trainhouse", version="0.1.0", openapi_url="/openapi.json", docs_url=None, redoc_url=None,
        lifespan=_lifespan, dependencies=[Depends(refuse_unknown_parameters)], redirect_slashes=False,
    )  # fmt: skip
    app.state.settings = known
    app.state.engine = make_engine(known, application="api", pool_size=CONNECTIONS)
    app.state.turns = Turns(CONNECTIONS, most_waiting=MOST_WAITING)
    app.state.vault = Vault(known.secret_keys.get_secret_value())
    app.state.store = S3Store(known)
    app.state.hub = Hub(known)
    problems.install(app)
    app.add_exception_handler(Replay, _replay)
    for router in ROUTERS:
        app.include_router(router, max_body_size=MAX_JSON_BYTES)
    app.include_router(uploads, max_body_size=known.max_upload_bytes + ENVELOPE_BYTES)
    docs.publish(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    await app.state.hub.start()
    yield
    await app.state.hub.stop()
    app.state.engine.dispose()


async def _replay(_request: Request, replay: Exception) -> Response:
    assert isinstance(replay, Replay)
    return replay.response


__all__ = ["MAX_JSON_BYTES", "build"]

"""Builds the FastAPI app: routers, error handlers, lifespan."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response

from app import problems
from app.db import make_engine
from app.http import MAX_JSON_BYTES, Replay, refuse_unknown_parameters
from app.secrets import Vault
from app.settings import Settings
from app.settings import settings as read_settings
from app.storage import S3Store


def build(settings: Settings | None = None) -> FastAPI:
    """The API as an ASGI app, ready for uvicorn's `--factory`."""
    known = settings or read_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.engine.dispose()

    app = FastAPI(
        title="Trainhouse", version="0.1.0", openapi_url="/openapi.json", docs_url=None, redoc_url=None, lifespan=lifespan,
        dependencies=[Depends(refuse_unknown_parameters)],
    )  # fmt: skip
    app.state.settings = known
    app.state.engine = make_engine(known, application="api", pool_size=20)
    app.state.vault = Vault(known.secret_keys.get_secret_value())
    app.state.store = S3Store(known)
    problems.install(app)
    app.add_exception_handler(Replay, _replay)
    return app


async def _replay(_request: Request, replay: Exception) -> Response:
    assert isinstance(replay, Replay)
    return replay.response


__all__ = ["MAX_JSON_BYTES", "build"]

"""Requests made from the contract itself, right and wrong, find no server error and no answer that it does not declare."""

import json
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import build
from app.openapi import rendered
from app.settings import Settings
from tests.api.rows import Tenant
from tests.driver import eventually

EXAMPLES = 12
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def live(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The API under uvicorn on a port of its own: its address and its app."""
    app = build(settings)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        eventually(lambda: server.started, what="the API coming up")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", app
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def world(live: tuple[str, Any]) -> dict[str, str]:
    """By path parameter, something that is really there, in a project with one of everything."""
    tenant = Tenant(None, live[1].state.engine, live[1].state.vault)  # type: ignore[arg-type]  # it only makes rows
    tenant.registered()
    job_id, review_id = tenant.reviewed()
    return {
        "name": "late-flights", "number": "1", "alias": "candidate", "job_id": job_id, "review_id": review_id,
        "authorization": f"Bearer {tenant.key('read', 'train', 'review', 'admin')}",
    }  # fmt: skip


CONTRACT = schemathesis.openapi.from_dict(json.loads(rendered()))
CONTRACT.config.generation.update(with_security_parameters=False)  # else most cases would end at the door


@CONTRACT.parametrize()
@hypothesis_settings(
    max_examples=EXAMPLES, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_no_request_that_the_contract_suggests_breaks_the_service(case, live, world):
    point_at_what_is_there(case, world)
    case.call_and_validate(
        base_url=live[0], checks=CHECKS, headers={"Authorization": world["authorization"]}, timeout=20
    )  # fmt: skip


def point_at_what_is_there(case: Any, world: dict[str, str]) -> None:
    """Half of the cases, by their own content, speak of things that exist; none waits for long."""
    if case.path_parameters and zlib.crc32(repr(case.path_parameters).encode()) % 2:
        case.path_parameters = {name: world.get(name, value) for name, value in case.path_parameters.items()}
    if case.query and "wait" in case.query:
        case.query = {**case.query, "wait": 0}

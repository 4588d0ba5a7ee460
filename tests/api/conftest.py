"""The API in this process, over real engines; each test gets a project of its own."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.main import build
from app.settings import Settings
from tests.api.rows import Tenant


@pytest.fixture(scope="session")
def api(settings: Settings) -> Iterator[TestClient]:
    """A client of the API without a caller."""
    with TestClient(build(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def tenant(api: TestClient) -> Tenant:
    """A project with a key that may read, train and review."""
    return Tenant(api, api.app.state.engine, api.app.state.vault)


@pytest.fixture
def stranger(api: TestClient) -> Tenant:
    """Another project."""
    return Tenant(api, api.app.state.engine, api.app.state.vault)

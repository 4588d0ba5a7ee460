"""The API in this process, over real engines; each test gets a project of its own."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import transaction
from app.ids import new_id
from app.main import build
from app.settings import Settings
from app.tables import Dataset
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


@pytest.fixture
def spec(tenant: Tenant) -> dict[str, Any]:
    """A spec over a data set of the tenant's."""
    with transaction(tenant.engine) as session:
        dataset = Dataset(
            id=new_id("ds"), project_id=tenant.id, name="t", filename="t.csv", format="csv", status="ready",
            digest="sha256:" + "d" * 64, size_bytes=10,
        )  # fmt: skip
        session.add(dataset)
    return {
        "model": "a-model", "task": {"target": "y"},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": dataset.id}}},
    }  # fmt: skip

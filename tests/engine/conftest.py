"""An engine on the session's real Postgres."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from app.db import make_engine
from app.settings import Settings


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    """A pooled engine for this session's tests."""
    made = make_engine(settings, application="tests", pool_size=20)
    yield made
    made.dispose()

"""An engine on the session's real Postgres."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from app.db import make_engine, transaction
from app.settings import Settings


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    """A pooled engine for this session's tests."""
    made = make_engine(settings, application="tests", pool_size=20)
    yield made
    made.dispose()


@pytest.fixture(autouse=True)
def _no_jobs_of_others(engine: Engine) -> None:
    """Puts off what other tests left queued: a bell takes the job whose turn it is, be it theirs."""
    with transaction(engine) as session:
        session.execute(text("update jobs set due_at = now() + interval '1 year' where finished_at is null"))

"""The database: engines, the one `transaction()`, and calls that wait for its commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy
from sqlalchemy import Engine, NullPool
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.errors import DatabaseUnavailable
from app.settings import Settings

AFTER_COMMIT = "after_commit_calls"


def make_engine(settings: Settings, *, application: str, pool_size: int = 5, pooled: bool = True) -> Engine:
    """An engine for this process. `application` names it in `pg_stat_activity`."""
    options = (
        "-c statement_timeout=15000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000 -c timezone=UTC"
    )
    connect_args = {
        "connect_timeout": 5, "application_name": f"trainhouse-{application}", "options": options, "keepalives": 1,
        "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 20_000,
    }  # fmt: skip
    url = sqlalchemy.make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg")
    if not pooled:
        return sqlalchemy.create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=connect_args)
    return sqlalchemy.create_engine(
        url, pool_pre_ping=True, pool_size=pool_size, max_overflow=5, pool_timeout=5, pool_recycle=1800,
        pool_use_lifo=True, hide_parameters=True, connect_args=connect_args,
    )  # fmt: skip


def is_outage(error: BaseException) -> bool:
    """Whether `error` says that Postgres is away rather than that a statement is wrong."""
    if isinstance(error, PoolTimeout | InterfaceError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(error, OperationalError)
    return False


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session whose work commits at the end, or leaves nothing; then the after-commit calls run.

    Raises:
        DatabaseUnavailable: Postgres went away; whether a commit arrived is then unknown.
    """
    session = Session(engine, expire_on_commit=False)
    try:
        with session.begin():
            yield session
    except (DBAPIError, PoolTimeout) as error:
        if is_outage(error):
            raise DatabaseUnavailable from error
        raise
    finally:
        session.close()
    for call in session.info.pop(AFTER_COMMIT, []):
        call()


def after_commit(session: Session, call: Callable[[], object]) -> None:
    """Lets `call` run once the transaction of `session` has committed; a rollback forgets it."""
    session.info.setdefault(AFTER_COMMIT, []).append(call)

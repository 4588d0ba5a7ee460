"""Alembic's entry: the database is the one that Settings names."""

from alembic import context

from app.db import make_engine
from app.settings import settings
from app.tables import Row


def migrate() -> None:
    """Runs the migrations in one transaction on the database of this process's settings."""
    engine = make_engine(settings(), application="migrate", pooled=False)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Row.metadata, compare_type=True)
        with context.begin_transaction():
            # An index on a large table takes its time, and so does another process's migration; a lock on a table that
            # is in use does not, for whoever asks next stands behind it.
            context.execute("set local statement_timeout = 0")
            context.execute("set local lock_timeout = 0")
            context.execute("select pg_advisory_xact_lock(7241)")
            context.execute("set local lock_timeout = '5s'")
            context.run_migrations()


migrate()

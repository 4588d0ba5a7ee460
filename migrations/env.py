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
            context.execute("select pg_advisory_xact_lock(7241)")
            context.run_migrations()


migrate()

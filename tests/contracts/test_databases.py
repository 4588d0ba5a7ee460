"""Every database keeps one contract: an equal table, one SELECT and no more, and faults that say whose turn it is."""

import datetime as dt
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.egress import Relay
from app.egress.own import OWN_TABLES
from app.errors import Cancelled, EgressDenied, SourceRefused, SourceUnavailable
from app.settings import Settings
from app.tables import Row
from standalone.engines import Engines
from tests.contracts.databases import PASSWORD, READER, Place
from tests.contracts.test_sources import digest
from tests.lookup import answers
from tests.mariadb import MariaDB
from tests.sources import configured, refusal, result
from workers.context import ConnectionRef
from workers.table.snapshot import data_digest

__all__ = ["digest"]
KINDS = ("postgres", "mysql", "sqlite")


@pytest.fixture(scope="module")
def known(
    engines: Engines, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, ConnectionRef]]]:  # fmt: skip
    """The folder of SQLite files, and the connections that were made by now."""
    folder = tmp_path_factory.mktemp("sqlite")
    allowed = {"TRAINHOUSE_EGRESS_ALLOW": "127.0.0.0/8", "TRAINHOUSE_SQLITE_DIR": str(folder)}
    with configured(engines.variables() | allowed):
        yield folder, {}


@pytest.fixture
def place(
    engines: Engines, known: tuple[Path, dict[str, ConnectionRef]], request: pytest.FixtureRequest
) -> Place:  # fmt: skip
    """Postgres, MariaDB and a SQLite file, each with the table and, where it knows roles, one that may only read."""
    return Place(known[0], engines, lambda: request.getfixturevalue("mariadb"), known[1])


def moment(*parts: int) -> dt.datetime:
    """A time as the canonical table holds it: in UTC, without saying so."""
    return dt.datetime(*parts, tzinfo=dt.UTC).replace(tzinfo=None)


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


REFUSED = {
    "postgres": [
        "select 1; drop table contract_rows",
        "delete from contract_rows",
        "with gone as (delete from contract_rows returning *) select * from gone",
        "select 1 as a) as x; drop table contract_rows; select * from (select 1 as a",
        "select 1 as a) as x into stolen from (select 1 as b",
        "copy contract_rows to program 'true'",
        "select pg_read_file('/etc/passwd') as a",
        "select lo_import('/etc/passwd') as a",
        "select * from dblink('host=127.0.0.1', 'select 1') as t(a int)",
        "select set_config('transaction_read_only', 'off', false) as a",
        "set role postgres",
        "select nothing from contract_rows",
        "select 1 / 0 as a",
        "values (1) limit 0); select (1",
    ],
    "mysql": [
        "select 1; drop table contract_rows",
        "delete from contract_rows",
        "insert into contract_rows (number) values (1)",
        "select 1 as a) as x; drop table contract_rows; select * from (select 1 as a",
        "select 1 as a) as x into outfile '/tmp/stolen' -- ",
        "select 1 as a) as x into outfile '/tmp/stolen' /*",
        "select 1 as a) as x into outfile '/tmp/stolen' #",
        "select 1 as a) as x into @a -- ",
        "load data local infile '/etc/passwd' into table contract_rows",
        "set role admin",
        "select nothing from contract_rows",
        "create temporary table t as select 1",
        "call contract_rows()",
        "do sleep(0)",
        "show grants",
    ],
    "sqlite": [
        "select 1; drop table contract_rows",
        "delete from contract_rows",
        "select 1 as a) as x; drop table contract_rows; select * from (select 1 as a",
        "attach database '/tmp/x.db' as x",
        "select load_extension('/tmp/x.so') as a",
        "select readfile('/etc/passwd') as a",
        "select writefile('/tmp/x', 'a') as a",
        "select * from pragma_database_list",
        "pragma query_only = off",
        "vacuum into '/tmp/x.db'",
        "select nothing from contract_rows",
        "select fts3_tokenizer('simple') as a",
        "select randomblob(1000000000) as a",
    ],
}


@pytest.mark.parametrize(("kind", "query"), [(kind, query) for kind, queries in REFUSED.items() for query in queries])
def test_a_database_runs_one_select_and_nothing_else(place: Place, kind: str, query: str, tmp_path: Path):
    refused = refusal(place.context(tmp_path, kind, query=query))
    assert isinstance(refused, SourceRefused)
    assert PASSWORD not in str(refused)
    assert len(result(place.context(tmp_path / "after", kind)).table) == 4


HARMLESS = {
    "mysql": [("select load_file('/etc/passwd') as a, 1 as b", None)],
    "sqlite": [("select upper('a') as a, 1 as b", "A")],
}


@pytest.mark.parametrize(
    ("kind", "query", "value"), [(kind, *one) for kind, several in HARMLESS.items() for one in several]
)
def test_what_the_role_may_not_see_is_null(place: Place, kind: str, query: str, value: object, tmp_path: Path):
    assert result(place.context(tmp_path, kind, query=query)).table["a"].to_pylist() == [value]


ENDLESS = {
    "postgres": "select pg_sleep(60) as a",
    "mysql": "select sleep(60) as a",
    "sqlite": "with recursive n(a) as (select 1 union all select a + 1 from n) select count(*) as a from n",
}
WORKING = {
    "postgres": "select count(*) as a from generate_series(1, 100000000000) as n",
    "mysql": "select benchmark(100000000000, sha2('a', 512)) as a",
    "sqlite": "select count(*) as a from contract_rows a, contract_rows b, contract_rows c, contract_rows d, contract_rows e,"
    + ", ".join(f"contract_rows r{number}" for number in range(20)),
}


@pytest.mark.parametrize(("kind", "query"), [*ENDLESS.items(), *WORKING.items()])
def test_a_query_ends_with_the_stage(place: Place, kind: str, query: str, tmp_path: Path):
    endless = place.context(tmp_path, kind, query=query)  # may have to start the server first
    began = time.monotonic()
    ctx = replace(endless, deadline=began + 1.5)
    assert refusal(ctx).stable_code in {"query_timeout", "source_timeout"}
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("kind", KINDS)
def test_more_rows_than_allowed_are_refused(place: Place, kind: str, tmp_path: Path):
    assert refusal(place.context(tmp_path, kind, table="contract_rows", max_rows=3)).stable_code == "too_many_rows"


MANY = {
    "postgres": "select n as a, repeat('x', 100) as b from generate_series(1, 3000000) as n",
    "mysql": "select seq as a, repeat('x', 100) as b from seq_1_to_3000000",
    "sqlite": "with recursive n(a) as (select 1 union all select a + 1 from n where a < 3000000)"
    " select a, hex(zeroblob(50)) as b from n",
}


def test_a_query_that_escapes_its_limit_is_left_early(place: Place, tmp_path: Path):
    began, query = time.monotonic(), MANY["sqlite"] + ") as source /* which SQLite takes to the end of all"
    assert refusal(place.context(tmp_path, "sqlite", query=query, max_rows=10)).stable_code == "too_many_rows"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_refused(place: Place, kind: str, tmp_path: Path):
    query = "select * from contract_rows where number > 1000"
    assert refusal(place.context(tmp_path, kind, query=query)).stable_code == "no_rows"


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_job_leaves_its_query(place: Place, kind: str, tmp_path: Path):
    def progress(_done: float, _total: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        result(replace(place.context(tmp_path, kind, query=MANY[kind]), progress=progress))


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_wrong_password_is_the_callers_to_mend(place: Place, kind: str, tmp_path: Path):
    wrong = place.changed(kind, secret={"password": "a-wrong-password"})
    refused = refusal(place.context(tmp_path, kind, ref=wrong))
    assert isinstance(refused, SourceRefused)
    assert "a-wrong-password" not in str(refused)


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_database_that_does_not_answer_may_answer_later(place: Place, kind: str, tmp_path: Path):
    assert isinstance(refusal(place.context(tmp_path, kind, ref=place.changed(kind, port=1))), SourceUnavailable)


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
@pytest.mark.parametrize(
    "host", ["10.0.0.1", "169.254.169.254", "0x7f000001", "2130706433", "metadata.google.internal."]
)
def test_a_database_inside_is_out_of_reach(
    place: Place, kind: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answers(monkeypatch, ["169.254.169.254"])
    assert isinstance(refusal(place.context(tmp_path, kind, ref=place.changed(kind, host=host))), EgressDenied)


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
@pytest.mark.parametrize("host", ["", "/var/run/postgresql", "@abstract"])
def test_a_host_that_is_none_is_refused(place: Place, kind: str, host: str, tmp_path: Path):
    assert refusal(place.context(tmp_path, kind, ref=place.changed(kind, host=host))).stable_code == "bad_connection"


def granted(server: MariaDB, powers: str) -> ConnectionRef:
    """A connection whose role has `powers` over the whole server."""
    with server.admin() as session, session.cursor() as cursor:
        cursor.execute(f"create or replace user power@'127.0.0.1' identified by '{PASSWORD}'")
        cursor.execute("grant select on warehouse.* to power@'127.0.0.1'")
        cursor.execute(f"grant {powers} on *.* to power@'127.0.0.1'")
    config = {"host": "127.0.0.1", "port": server.port, "database": "warehouse", "user": "power"}
    return ConnectionRef("mysql", "mysql", config, {"password": PASSWORD})


@pytest.mark.parametrize("powers", ["file", "super", "select, file", "all privileges", "create user"])
def test_a_role_with_power_over_its_server_is_refused(place: Place, powers: str, tmp_path: Path):
    refused = refusal(place.context(tmp_path, "mysql", ref=granted(place.mariadb, powers)))
    assert refused.stable_code == "too_powerful"


def test_a_role_that_may_read_everything_is_not_too_powerful(place: Place, tmp_path: Path):
    ref = granted(place.mariadb, "select, show databases")
    assert result(place.context(tmp_path, "mysql", ref=ref)).table.num_rows == 4


def test_a_superuser_is_refused(place: Place, engines: Engines, tmp_path: Path):
    secret = {"password": engines.postgres.secrets["postgres_admin"]}
    ref = place.changed("postgres", secret=secret, user="postgres")
    assert refusal(place.context(tmp_path, "postgres", ref=ref)).stable_code == "too_powerful"


OWN = [{"host": "127.0.0.1"}, {"host": "localhost"}, {"host": "127.1.2.3"}, {"user": READER}]


@pytest.mark.parametrize("change", OWN)
def test_the_services_own_database_is_no_source(
    place: Place, settings: Settings, change: dict[str, Any], tmp_path: Path
):  # fmt: skip
    assert settings.database_url.get_secret_value().endswith("/trainhouse")
    ref = place.changed("postgres", **{"database": "trainhouse", "user": "nobody", **change})
    assert refusal(place.context(tmp_path, "postgres", ref=ref)).stable_code == "own_database"


def test_the_services_own_database_is_known_by_its_tables_behind_another_address(
    place: Place, settings: Settings, tmp_path: Path
):  # fmt: skip
    with forwarded(int(place.connection("postgres").config["port"])) as port:
        ref = place.changed("postgres", database="trainhouse", port=port)
        assert refusal(place.context(tmp_path, "postgres", ref=ref)).stable_code == "own_database"
        other = place.changed("postgres", port=port)
        assert result(place.context(tmp_path / "other", "postgres", ref=other)).table.num_rows == 4


@contextmanager
def forwarded(port: int) -> Iterator[int]:
    """Another port that leads to the same server."""
    with Relay("127.0.0.1", port, until=time.monotonic() + 30, max_bytes=2**30) as relay:
        yield relay.port()


def test_own_tables_are_tables_of_the_service():
    assert set(OWN_TABLES) - {"alembic_version"} <= set(Row.metadata.tables)


@pytest.mark.parametrize(
    ("declared", "values", "expected"),
    [
        ("bigint unsigned", ["18446744073709551615", "1"], [float(2**64), 1.0]),
        ("decimal(20, 4)", ["12.5000", "-3"], [12.5, -3]),
        ("float", ["0.1", "2"], [0.1, 2.0]),
        ("boolean", ["1", "0"], [True, False]),
        ("tinyint(1)", ["7", "0"], [7, 0]),
        ("tinyint", ["1", "0"], [1, 0]),
        ("bit(1)", ["b'1'", "b'0'"], [True, False]),
        ("bit(12)", ["b'100000001111'", "b'1'"], [0x80F, 1]),
        ("year", ["1999", "2024"], [1999, 2024]),
        ("date", ["'0000-00-00'", "'2024-02-29'"], [None, moment(2024, 2, 29)]),
        ("datetime(6)", ["'2024-02-29 12:00:00.000001'", "null"], [moment(2024, 2, 29, 12, 0, 0, 1), None]),
        ("time", ["'12:30:00'", "'-1:00:00'"], ["12:30:00", "-01:00:00"]),
        ("time(6)", ["'12:30:00.5'", "'12:30:10'"], ["12:30:00.5", "12:30:10"]),
        ("enum('low', 'high')", ["'high'", "null"], ["high", None]),
        ("json", ["'{\"a\": 1}'", "null"], ['{"a": 1}', None]),
        ("varchar(20) character set latin1", ["'café'", "'ünï'"], ["café", "ünï"]),
        ("longtext", ["repeat('ab', 40000)", "'€😀'"], ["ab" * 40_000, "€😀"]),
        ("varbinary(20)", ["'text'", "'€'"], ["text", "€"]),
    ],
)
def test_each_type_of_mariadb_means_what_it_says(
    place: Place, declared: str, values: list[str], expected: list[Any], tmp_path: Path
):  # fmt: skip
    with place.mariadb.admin("warehouse") as session, session.cursor() as cursor:
        cursor.execute("set sql_mode = ''")
        cursor.execute(f"create or replace table typed (n int, value {declared})")
        for number, value in enumerate(values):
            cursor.execute(f"insert into typed values ({number}, {value})")
    ctx = place.context(tmp_path, "mysql", query="select value, n as number from typed order by n")
    assert result(ctx).table["value"].to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], [1.0, 2.5, None]),
        ([1, "word", 2.5], ["1", "word", "2.5"]),
        ([1, "2", None], [1, 2, None]),
        (["2024-01-01", "2024-01-02 10:00:00", None],
         [moment(2024, 1, 1), moment(2024, 1, 2, 10), None]),
        ([b"raw", "word", None], ["raw", "word", None]),
        ([2**62, -(2**62), None], [2**62, -(2**62), None]),
        ([None, None, None], [None, None, None]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("spread", [0, 20_000])
def test_a_column_of_sqlite_may_hold_values_of_several_types(
    place: Place, values: list[Any], expected: list[Any], spread: int, tmp_path: Path
):  # fmt: skip
    name = f"mixed-{uuid4().hex}.db"
    with closing(sqlite3.connect(place.folder / name)) as session, session:
        session.execute("create table t (n integer, value)")
        session.executemany("insert into t values (?, ?)", enumerate(values))
        session.executemany("insert into t values (?, null)", ((7,) for _ in range(spread)))
        session.execute("insert into t values (8, ?)", (values[0],))
    ref = place.changed("sqlite", file=name)
    got = result(place.context(tmp_path, "sqlite", ref=ref, query="select value, n as number from t order by rowid"))
    assert got.table["value"].to_pylist() == [*expected, *([None] * spread), expected[0]]


def test_tls_is_asked_for_as_the_connection_says(place: Place, tmp_path: Path):
    with place.mariadb.admin() as session, session.cursor() as cursor:
        cursor.execute(f"create or replace user secured@'127.0.0.1' identified by '{PASSWORD}' require ssl")
        cursor.execute("grant select on warehouse.* to secured@'127.0.0.1'")
    authority = place.mariadb.authority
    for let_in in ({"sslmode": "prefer"}, {"sslmode": "require"}, {"sslmode": "verify-full", "ca": authority}):
        ref = place.changed("mysql", user="secured", **let_in)
        assert result(place.context(tmp_path, "mysql", ref=ref)).table.num_rows == 4
    for kept_out, code in (({"sslmode": "disable"}, "source_refused"), ({"sslmode": "verify-full"}, "bad_certificate"),
                           ({"sslmode": "verify-full", "ca": authority, "host": "localhost"}, "bad_certificate")):  # fmt: skip
        ref = place.changed("mysql", user="secured", **kept_out)
        assert refusal(place.context(tmp_path, "mysql", ref=ref)).stable_code == code

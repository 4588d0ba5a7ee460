"""`features.sql`: what it may reach, how far it may go, and the examples of its documentation."""

import datetime as dt
import os
import re
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.errors import DeadlineExceeded, InvalidData
from trainhouse_loader.derived.engine import opened
from workers.engineering import duck, features

ROOT = Path(__file__).parents[2]
TABLE = pa.table(
    {"k": pa.array(["a", "b", "a"]), "y": pa.array([1, 2, 3]), 'Odd "na,me" 🚀\n': pa.array([1.5, None, 2.5])}
)


def selected(sql: str, tmp_path: Path, tables: dict[str, pa.Table] | None = None, **more: Any) -> pa.Table:
    given = {"scratch": tmp_path, "memory_bytes": 200_000_000, "seconds": 30.0, **more}
    return features.select(sql, tables or {"main": TABLE}, **given)


def refusal(sql: str, tmp_path: Path, **more: Any) -> InvalidData:
    with pytest.raises(InvalidData) as caught:
        selected(sql, tmp_path, **more)
    return caught.value


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('{secret}')",
        "select * from read_blob('{secret}')",
        "select * from read_csv('{secret}')",
        "select * from read_csv_auto('{secret}')",
        "select * from read_json('{secret}')",
        "select * from read_parquet('{secret}')",
        "select * from parquet_metadata('{secret}')",
        "select * from parquet_scan(['{secret}'])",
        "select * from sniff_csv('{secret}')",
        "select * from '{secret}'",
        "select * from glob('{folder}/*')",
        "select * from read_text('https://example.org/x')",
        "select * from read_parquet('s3://bucket/x')",
        "select (select content from read_text('{secret}')) as y from main",
        "with stolen as (from read_text('{secret}')) select * from stolen",
        "select * from query('select * from read_text(''{secret}'')')",
        "select * from query_table('{secret}')",
        "select * from duckdb_secrets()",
        "select * from which_secret('s3://x', 's3')",
        "copy main to '{folder}/stolen.csv'",
        "copy (select * from main) to '{folder}/stolen.parquet' (format parquet)",
        "copy main from '{secret}'",
        "export database '{folder}/all'",
        "import database '{folder}/all'",
        "attach '{folder}/other.db' as other",
        "attach ':memory:' as other",
        "detach memory",
        "use memory",
        "install httpfs",
        "force install httpfs from 'https://example.org'",
        "load httpfs",
        "load '{folder}/evil.duckdb_extension'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "reset enable_external_access",
        "set memory_limit = '100GB'",
        "set global threads = 64",
        "set variable x = 1",
        "pragma database_list",
        "pragma enable_profiling = 'json'",
        "pragma profiling_output = '{folder}/p.json'",
        "create table x as select 1",
        "create view x as select 1",
        "create macro f() as 1",
        "create secret (type s3, key_id 'x')",
        "create function f() as table select * from read_text('{secret}')",
        "drop table main",
        "delete from main",
        "insert into main values ('c', 4, 0)",
        "update main set y = 0",
        "alter table main add column z int",
        "truncate main",
        "checkpoint",
        "vacuum",
        "call duckdb_functions()",
        "explain analyze select * from main",
        "prepare p as select 1",
        "execute p",
        "begin transaction",
        "select 1 as y; copy main to '{folder}/stolen.csv'",
        "select getenv('HOME') as y from main",
        "select getenv('TRAINHOUSE_SECRET_KEYS') as y",
    ],
)
def test_sql_reaches_nothing_but_its_tables(sql: str, tmp_path: Path):
    secret = tmp_path / "secret.csv"
    secret.write_text("hush,hush\n1,2\n")
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "another.csv").write_text("hush,hush\n1,2\n")
    before = sorted(tmp_path.rglob("*"))
    error = refusal(sql.replace("{secret}", str(secret)).replace("{folder}", str(tmp_path)), tmp_path / "scratch")
    assert error.stable_code in {"sql_denied", "sql_error", "no_rows"}
    assert "hush" not in error.detail
    assert sorted(tmp_path.rglob("*")) == before


def test_sql_cannot_read_what_lies_in_the_stages_own_folder(tmp_path: Path):
    (tmp_path / "source.csv").write_text("hush\n1\n")
    for sql in (f"select * from read_text('{tmp_path}/source.csv')", f"select * from glob('{tmp_path}/*')"):
        assert refusal(sql, tmp_path).stable_code in {"sql_denied", "no_rows"}


@pytest.mark.parametrize(
    "sql",
    [
        "select name, value from duckdb_settings()",
        "select current_setting('temp_directory') as y",
        "select * from duckdb_tables()",
        "select * from pragma_version()",
    ],
)
def test_what_the_engine_says_of_itself_names_no_secret(sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_SECRET", "hush-hush")
    try:
        found = str(selected(sql, tmp_path).to_pydict())
    except InvalidData as error:
        found = error.detail
    assert "hush-hush" not in found
    assert os.environ["PATH"] not in found


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) as y from generate_series(1, 1000000000000)",
        "with recursive r as (select 1 as n union all select n + 1 from r) select max(n) as y from r",
        "select count(*) as y from range(10000000) a, range(10000000) b, range(10000000) c",
        "select sum(sin(x)) as y from range(100000000000) t(x)",
    ],
)
def test_sql_that_never_ends_is_ended(sql: str, tmp_path: Path):
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        selected(sql, tmp_path, seconds=0.5)
    assert time.monotonic() - started < 15


def test_sql_that_begins_after_the_time_is_over_is_ended_too():
    interrupted = threading.Event()

    class Heard:
        def interrupt(self) -> None:
            engine.interrupt()
            interrupted.set()

    def late() -> None:
        with duck.watched(Heard(), 0.0, what="it", code="sql_timeout"):
            assert interrupted.wait(60)
            engine.execute("select sum(sin(x)) as y from range(100000000000) t(x)").fetchall()

    with closing(opened(threads=1)) as engine, pytest.raises(DeadlineExceeded):
        late()


@pytest.mark.parametrize(
    "sql",
    [
        "select repeat('x', 100000000000) as y",
        "select length(repeat(repeat('x', 1000000), 1000000)) as y",
        "select list(x) as y from range(1000000000) t(x)",
        "select range(10000000000) as y",
        "select string_agg(repeat('x', 1000), '') as y from range(100000000)",
        "with recursive r as (select repeat('x', 1000000) as s union all select s || s from r) select max(length(s)) as y from r",
    ],
)
def test_sql_that_fills_memory_is_ended_with_a_reason(sql: str, tmp_path: Path):
    with pytest.raises((InvalidData, DeadlineExceeded)) as caught:
        selected(sql, tmp_path, seconds=10.0)
    assert caught.value.stable_code in {"sql_memory", "sql_error", "sql_timeout"}


def test_a_mistake_is_told_with_the_engines_words_and_without_values(tmp_path: Path):
    assert "nothing_like_it" in refusal("select nothing_like_it from main", tmp_path).detail
    hidden = refusal("select cast(k || 'hush' as integer) as y from main", tmp_path)
    assert hidden.stable_code == "sql_error"
    assert "hush" not in hidden.detail


def test_columns_of_any_name_are_reached_in_double_quotes(tmp_path: Path):
    found = selected('select "Odd ""na,me"" 🚀\n" * 2 as "new "" 🚀", y from main', tmp_path)
    assert found.to_pydict() == {'new " 🚀': [3.0, None, 5.0], "y": [1, 2, 3]}


def test_names_that_sql_cannot_tell_apart_are_refused(tmp_path: Path):
    error = refusal("select * from main", tmp_path, tables={"main": pa.table({"A": [1], "a": [2]})})
    assert error.stable_code == "ambiguous_columns"
    assert "'A' and 'a'" in error.detail


def test_divisions_by_zero_are_null_for_whole_numbers(tmp_path: Path):
    assert selected("select y // 0 as a, y % 0 as b, y as c from main", tmp_path).column("a").null_count == 3


def examples() -> list[str]:
    """The SQL of the page on features."""
    page = (ROOT / "docs/features.md").read_text(encoding="utf-8")
    return re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)


def hours(*numbers: int) -> pa.Array:
    return pa.array([dt.datetime(2024, 1, 1, number, tzinfo=dt.UTC) for number in numbers]).cast(pa.timestamp("us"))


def test_the_documented_point_in_time_join_takes_what_was_known_then(tmp_path: Path):
    tables = {
        "orders": pa.table(
            {"order_id": [1, 2, 3], "customer": ["a", "a", "b"], "ordered_at": hours(5, 9, 9), "returned": [0, 1, 0]}
        ),
        "balances": pa.table({"customer": ["a", "a", "b"], "known_at": hours(1, 9, 10), "balance": [10.0, 20.0, 30.0]}),
    }
    (sql,) = [each for each in examples() if "ASOF" in each]
    found = selected(sql, tmp_path, tables=tables).to_pylist()
    assert {row["order_id"]: row["balance"] for row in found} == {1: 10.0, 2: 20.0, 3: None}


def test_every_documented_statement_runs(tmp_path: Path):
    assert len(examples()) == 2
    flights = pa.table(
        {
            "arr_delay": [20, None, 3],
            "tailnum": ["x", "y", "x"],
            "origin": ["JFK"] * 3,
            "time_hour": hours(1, 2, 3),
            "distance": [100, 200, 300],
        }
    )
    tables = {
        "flights": flights, "planes": pa.table({"tailnum": ["x"], "year": [2001], "seats": [100]}),
        "weather": pa.table({"origin": ["JFK"], "time_hour": hours(1), "temp": [50.0], "wind_speed": [7.0]}),
    }  # fmt: skip
    (sql,) = [each for each in examples() if "flights" in each]
    assert selected(sql, tmp_path, tables=tables).column("late").to_pylist() == [True, False]

"""Lineage: each column says which columns of which source it was made of, or that nobody can say."""

import json

import pyarrow as pa
import pytest

from tests.learning import chain, make_context
from workers.engineering import lineage
from workers.engineering.lineage import Origin
from workers.stages import ingest

TABLES = {
    "flights": ["arr_delay", "tailnum", "origin", "time_hour", 'Odd "q" 🚀'],
    "planes": ["tailnum", "year", "seats"],
    "weather": ["origin", "time_hour", "temp"],
}
JOINED = "from flights f left join planes p on f.tailnum = p.tailnum left join weather w on f.origin = w.origin"


@pytest.mark.parametrize(
    ("sql", "via", "sources"),
    [
        ("select arr_delay as x from flights", "copy", {"flights.arr_delay"}),
        ("from flights select ARR_DELAY as x", "copy", {"flights.arr_delay"}),
        ('select "Odd ""q"" 🚀" as x from flights', "copy", {'flights.Odd "q" 🚀'}),
        (f"select f.arr_delay > 15 as x {JOINED}", "sql", {"flights.arr_delay"}),
        (f"select w.temp * p.seats as x {JOINED}", "sql", {"weather.temp", "planes.seats"}),
        (f"select case when p.year is null then 0 else w.temp end as x {JOINED}", "sql", {"planes.year", "weather.temp"}),
        ("select w.temp as x from flights f asof join weather w on f.origin = w.origin and f.time_hour >= w.time_hour", "copy", {"weather.temp"}),
        ("with a as (select tailnum, avg(arr_delay) m from flights group by 1) select m as x from planes join a using (tailnum)", "sql", {"flights.arr_delay"}),
        ("with flights as (select seats as arr_delay from planes) select arr_delay as x from flights", "copy", {"planes.seats"}),
        ("select arr_delay as x from flights union all select year from planes", "sql", {"flights.arr_delay", "planes.year"}),
        ("select sum(arr_delay) over (partition by origin) as x from flights", "sql", {"flights.arr_delay", "flights.origin"}),
        ("select d + 1 as x from (select arr_delay * 2 as d from flights)", "sql", {"flights.arr_delay"}),
        ("select (select max(seats) from planes) as x from flights", "sql", {"planes.seats"}),
        ("select list_transform([arr_delay], lambda e: e + seats)[1] as x from flights join planes using (tailnum)", "sql", {"flights.arr_delay", "planes.seats"}),
        ("select count(*) as x from flights", "sql", set()),
        ("select 1 as x from flights", "sql", set()),
    ],
)  # fmt: skip
def test_a_column_of_sql_names_what_it_is_made_of(sql, via, sources):
    origin = lineage.of_sql(sql, TABLES, ["x"])["x"]
    assert (origin.via, {f"{source}.{column}" for source, column in origin.sources}) == (via, sources)


@pytest.mark.parametrize(
    "sql",
    [
        "select columns('.*delay') from flights",
        "pivot flights on origin using sum(arr_delay)",
        "summarize flights",
        "select flights as x from flights",
        "select exists(select 1 from planes p where p.seats > f.arr_delay) as x from flights f",
        "select l.seats as x from flights t, lateral (select seats from planes where planes.tailnum = t.tailnum) l",
        "select rowid as x from flights",
        "select i as x from range(10) t(i)",
        "selec nonsense",
        "select (" * 3_000,
    ],
)
def test_what_cannot_be_followed_is_unknown_and_says_why(sql):
    origin = lineage.of_sql(sql, TABLES, ["x"])["x"]
    assert origin.via == "unknown"
    assert origin.sources == ()
    assert origin.reason


def test_columns_that_the_engine_named_otherwise_are_unknown():
    assert lineage.of_sql("select arr_delay from flights", TABLES, ["something", "else"])["else"].via == "unknown"


def test_stars_are_spelled_out():
    origins = lineage.of_sql("select f.* exclude (origin), w.temp from flights f join weather w using (origin)", TABLES,
                             ["arr_delay", "tailnum", "time_hour", 'Odd "q" 🚀', "temp"])  # fmt: skip
    assert origins["temp"] == Origin("copy", (("weather", "temp"),))
    assert origins['Odd "q" 🚀'] == Origin("copy", (("flights", 'Odd "q" 🚀'),))


def test_derived_columns_come_from_what_their_expressions_use():
    known = {
        "a": Origin("copy", (("s", "a"),)),
        "b": Origin("sql", (("t", "b"), ("t", "c"))),
        "u": Origin("unknown", reason="-"),
    }
    made = [
        {"name": "x", "uses": ["a", "b"]},
        {"name": "y", "uses": ["x"]},
        {"name": "z", "uses": ["u", "a"]},
        {"name": "k", "uses": []},
    ]
    found = lineage.with_expressions(known, made)
    assert found["y"] == Origin("expression", (("s", "a"), ("t", "b"), ("t", "c")))
    assert found["z"].via == "unknown"
    assert "'u'" in found["z"].reason
    assert found["k"] == Origin("expression")


def test_ingest_stores_where_each_column_comes_from(tmp_path):
    spec = {"task": {"target": "y"}, "data": {"features": {
        "sql": "select y, a * 2 as doubled, a from main", "columns": {"more": "doubled + 1"}}}}  # fmt: skip
    ctx, _ = chain(make_context(tmp_path, spec, table=pa.table({"a": [1, 2], "y": [0, 1]})), ("ingest", ingest.run))
    found = json.loads(ctx.workspace.get("column_lineage").read_text())["columns"]
    one = [{"source": "main", "column": "a"}]
    assert found["more"] == {"via": "expression", "from": one}
    assert found["doubled"] == {"via": "sql", "from": one}
    assert found["a"] == {"via": "copy", "from": one}

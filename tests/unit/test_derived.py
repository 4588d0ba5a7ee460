"""Derived columns: what an expression may say, and that serving makes of a row what training made of it."""

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import DeadlineExceeded, InvalidData
from tests.learning import chain, make_context
from trainhouse_loader.archive import unpack
from trainhouse_loader.bundle import open_bundle
from trainhouse_loader.derived import columns as derived
from trainhouse_loader.derived import engine as engine_of
from trainhouse_loader.derived import expressions
from trainhouse_loader.reading.arrow import TYPE_NAMES
from workers.engineering import deriving
from workers.stages import evaluate, gate, ingest, register, split, train, transform, tune, validate
from workers.table import snapshot
from workers.table.canonical import canonical

ALL = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
    ("train", train.run), ("tune", tune.run), ("evaluate", evaluate.run), ("gate", gate.run),
)  # fmt: skip
TABLE = pa.table({
    "a": pa.array([1, 2, None, 4]), "b c": pa.array([1.5, 0.0, 2.5, None]), "T": pa.array(["x", "y", None, "01"], pa.large_string()),
    "moment": pa.array([0, 10**15, None, -1]).cast(pa.timestamp("us")), "yes": pa.array([True, False, None, True]),
})  # fmt: skip


def made(texts: dict[str, str], table: pa.Table = TABLE, **more: Any) -> pa.Table:
    given_ = {
        "scratch": Path(tempfile.gettempdir()),
        "threads": 1,
        "memory_bytes": 400_000_000,
        "seconds": 20.0,
        **more,
    }
    return deriving.extended(table, texts, **given_)[0]


def refusal(text: str, table: pa.Table = TABLE) -> InvalidData:
    with pytest.raises(InvalidData) as caught:
        made({"new": text}, table)
    assert [fault.pointer for fault in caught.value.violations] == ["/data/features/columns/new"]
    return caught.value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a + 1", [2, 3, None, 5]),
        ('a / "b c"', [2 / 3, math.inf, None, None]),
        ("a // 0", [None] * 4),
        ("0.0 / 0", [None] * 4),
        ("case when yes then 'in' else 'out' end", ["in", "out", "out", "in"]),
        ("T || '!'", ["x!", "y!", None, "01!"]),
        ("T", ["x", "y", None, "01"]),
        ("''", [None] * 4),
        ("year(moment)", [1970, 2001, None, 1969]),
        ("epoch(moment - timestamp '1970-01-01')", [0, 10**9, None, -1e-6]),
        ("list_sum(list_transform([a, 2], lambda each: each * a))", [3, 8, None, 24]),
        ("list_sum([each for each in [a, 2] if each > 1])", [2, 4, 2, 6]),
        ("try_cast(T as integer)", [None, None, None, 1]),
        ("nullif(a, 2)", [1, None, None, 4]),
        ("coalesce(a, -1) between 0 and 3", [True, True, False, False]),
        ("A + 0", [1, 2, None, 4]),
        ("a -- the end", [1, 2, None, 4]),
        ("if(a > 1, 'big', 'small')", ["small", "big", "small", "big"]),
    ],
)  # fmt: skip
def test_an_expression_makes_a_column_of_its_row(text: str, values: list[Any]):
    found = made({"new": text}).column("new").to_pylist()
    assert [None if value is None else value for value in found] == values


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("expression_denied", "sum(a)"),
        ("expression_denied", "count(*)"),
        ("expression_denied", "sum(a) filter (where a > 1)"),
        ("expression_denied", "list(distinct a)"),
        ("expression_denied", "grouping(a)"),
        ("expression_denied", "sum(a) over ()"),
        ("expression_denied", "row_number() over (order by a)"),
        ("expression_denied", "lag(a) over ()"),
        ("expression_denied", "(select 1)"),
        ("expression_denied", "exists (select 1)"),
        ("expression_denied", "a in (select a from rows)"),
        ("expression_denied", "array(select 1)"),
        ("expression_denied", "(from read_text('/etc/passwd') select content)"),
        ("expression_denied", "*"),
        ("expression_denied", "columns(*)"),
        ("expression_denied", "columns('a')"),
        ("expression_denied", "random()"),
        ("expression_denied", "now()"),
        ("expression_denied", "today()"),
        ("expression_denied", "current_date"),
        ("expression_denied", "CURRENT_TIMESTAMP"),
        ("expression_denied", "current_localtimestamp()"),
        ("expression_denied", "age(moment)"),
        ("expression_denied", "ago(interval 1 day)"),
        ("expression_denied", "uuid()"),
        ("expression_denied", "gen_random_uuid()"),
        ("expression_denied", "nextval('x')"),
        ("expression_denied", "setseed(0.1)"),
        ("expression_denied", "current_user"),
        ("expression_denied", "current_setting('threads')"),
        ("expression_denied", "getvariable('x')"),
        ("expression_denied", "getenv('HOME')"),
        ("expression_denied", "version()"),
        ("expression_denied", "read_text('/etc/passwd')"),
        ("expression_denied", "query('select 1')"),
        ("expression_denied", "unnest([1, 2])"),
        ("expression_denied", "pg_sleep(10)"),
        ("expression_denied", "sleep_ms(10)"),
        ("expression_denied", "write_log('x')"),
        ("expression_denied", "error('x')"),
        ("expression_denied", "main.abs(a)"),
        ("expression_denied", "$1"),
        ("expression_denied", "?"),
        ("expression_denied", "#1"),
        ("expression_denied", "T->'x'"),
        ("expression_denied", "1) from read_csv('/etc/passwd'"),
        ("expression_denied", "a) as one, (a"),
        ("expression_denied", "a) union (select 1"),
        ("expression_denied", "a) where (a > 1"),
        ("expression_denied", "a) order by (a"),
        ("expression_error", "distinct a) from (select 1 as a"),
        ("expression_error", "1; select 2"),
        ("expression_error", "a) ; drop table rows; select (a"),
        ("expression_error", "a as b"),
        ("expression_error", "a limit 1"),
        ("expression_error", " "),
        ("expression_error", "-- nothing"),
        ("expression_error", "a +"),
        ("expression_error", "T * 2.5 * moment"),
        ("expression_error", "substr(a)"),
        ("expression_error", "-" .join(["- "] * 1900) + "a"),
        ("expression_error", "+".join(["a"] * 1900)),
        ("unknown_column", "missing_one + 1"),
        ("unknown_column", "main.a"),
        ("unknown_column", "rows.a"),
        ("unknown_column", '"x"'),
        ("expression_cycle", "new + 1"),
        ("expression_type", "[a]"),
        ("expression_type", "{'x': a}"),
        ("expression_type", "moment - moment"),
        ("expression_type", "T::blob"),
        ("expression_failed", "T::integer"),
        ("expression_failed", "a * 9223372036854775807"),
        ("expression_failed", "repeat('x', 10000000000)"),
        ("expression_failed", "range(1000000000000)[1]"),
    ],
)  # fmt: skip
def test_an_expression_that_is_none_of_one_row_is_refused_with_its_place(code: str, text: str):
    assert refusal(text).stable_code == code


def test_a_failing_expression_is_named_with_rows_and_without_values():
    error = refusal("cast(T as integer)", TABLE.take(pa.array([3, 0, 2, 1])))
    assert "rows 1, 3" in error.detail
    assert "'x'" not in error.detail
    assert "try_cast" in error.hint


def test_expressions_may_use_each_other_in_any_order():
    found = made({"third": "second + first", "second": "first * 10", "first": "a + 1"})
    assert found.column_names[-3:] == ["third", "second", "first"]
    assert found.column("third").to_pylist() == [22, 33, None, 55]


def test_circles_and_long_chains_are_refused():
    with pytest.raises(InvalidData) as caught:
        made({"one": "two + 1", "two": "three", "three": "one", "four": "a"})
    assert caught.value.stable_code == "expression_cycle"
    assert "'one', 'two', 'three'" in caught.value.detail
    with pytest.raises(InvalidData, match="chain of more than 20"):
        made({"c0": "a", **{f"c{place}": f"c{place - 1} + 1" for place in range(1, 40)}})


def test_a_name_that_the_table_has_is_refused():
    with pytest.raises(InvalidData) as caught:
        made({"a": "b"})
    assert caught.value.stable_code == "column_exists"


def test_names_in_two_spellings_are_told_apart():
    table = pa.table({"A": pa.array([1]), "a": pa.array([2])})
    assert made({"x": '"A" * 10 + "a"', "X": "a"}, table).to_pydict() == {"A": [1], "a": [2], "x": [12], "X": [2]}
    with pytest.raises(InvalidData, match="could be 'Ab' or 'aB'"):
        made({"x": "ab"}, pa.table({"Ab": pa.array([1]), "aB": pa.array([2])}))


def test_an_expression_that_takes_too_long_is_ended():
    slow = "list_sum(list_transform(range(3000), lambda x: list_sum(list_transform(range(3000), lambda y: sin(x * y + a)))))"
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        made({"new": slow}, pa.table({"a": pa.array(range(5_000))}), seconds=0.5)
    assert time.monotonic() - started < 20


EXPRESSIONS = {
    "ratio": "i / f", "whole": "i // 3", "rest": "i % 7", "rooted": "sqrt(f)", "said": "upper(t) || coalesce(t, '?')",
    "part": "regexp_extract(t, '[a-z]+')", "long": "length(t)", "hour": "extract(hour from w)", "days": "epoch(w) / 86400",
    "both": "b and i > 0", "chosen": "case when b then f when i is null then -1 else i end", "next": "ratio * 2",
    "top": "greatest(i, f)", "mixed": "i::varchar || t", "power": "f ** 2", "day": "date_trunc('day', w)",
    "logged": "try(ln(f))", "listed": "list_max([i, f, 3])", "hashed": "hash(t) % 100",
}  # fmt: skip
LIMITS = {"min_value": -(2**62), "max_value": 2**62}
ROW = st.fixed_dictionaries({
    "i": st.none() | st.integers(**LIMITS) | st.integers(-5, 5),
    "f": st.none() | st.floats(allow_nan=False, width=64) | st.sampled_from([0.0, 1.0, -2.5, 1e300]),
    "t": st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8) | st.sampled_from(["1", "01", "true", "NaN", "abc"]),
    "w": st.none() | st.datetimes(min_value=pd.Timestamp("1700-01-01").to_pydatetime(), max_value=pd.Timestamp("2200-01-01").to_pydatetime()),
    "b": st.none() | st.booleans(),
})  # fmt: skip
SCHEMA = pa.schema(
    [("i", pa.int64()), ("f", pa.float64()), ("t", pa.large_string()), ("w", pa.timestamp("us")), ("b", pa.bool_())]
)


def typed(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as a snapshot would hold them."""
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in SCHEMA]
    text = ["" if value is None else value for value in columns[2].to_pylist()]
    columns[2] = pa.array([value or None for value in text], pa.large_string())
    columns[1] = pa.array([None if value is None else value + 0.0 for value in columns[1].to_pylist()], pa.float64())
    return pa.table(columns, schema=SCHEMA)


def loose(row: dict[str, Any], choice: int) -> dict[str, Any]:
    """The same row in other types: numbers as text, times as ISO text, truth as words."""
    if choice == 0:
        return row
    number = {name: None if row[name] is None else repr(row[name]) for name in ("i", "f")}
    when = None if row["w"] is None else row["w"].isoformat()
    truth = None if row["b"] is None else ("yes" if row["b"] else "no")
    return {**row, **number, "w": when, "b": truth}


@pytest.fixture(scope="module")
def serving() -> derived.Derivation:
    engine = engine_of.opened()
    types = {field.name: TYPE_NAMES[field.type] for field in SCHEMA}
    document = derived.plan(engine, EXPRESSIONS, types).document()
    return derived.Derivation(json.loads(json.dumps(document)))


@pytest.fixture(scope="module")
def training():
    """What ingest does with a table, on an engine that is kept because opening one for each example takes long."""
    engine = engine_of.opened()
    plan = derived.plan(engine, EXPRESSIONS, {field.name: TYPE_NAMES[field.type] for field in SCHEMA})
    asked = derived.query(engine, plan, forgiving=False)
    return lambda table: derived.run(engine, asked, table)


@settings(max_examples=40)
@given(rows=st.lists(ROW, min_size=1, max_size=3), choice=st.integers(0, 1))
def test_serving_gives_bit_for_bit_what_training_gave(
    serving: derived.Derivation, training: Callable[[pa.Table], pa.Table], rows: list[dict[str, Any]], choice: int
):
    trained = training(typed(rows))
    whole = serving.extend(pd.DataFrame([loose(row, choice) for row in rows], dtype=object))
    singles = [serving.extend(pd.DataFrame([loose(row, choice)], dtype=object)) for row in rows]
    for name in EXPRESSIONS:
        expected = trained.column(name).to_pylist()
        for one, many, want in zip(singles, whole[name].tolist(), expected, strict=True):
            assert same(one[name].iloc[0], want), (name, one[name].iloc[0], want)
            assert same(many, want), (name, many, want)


def same(found: Any, want: Any) -> bool:
    """Whether both are the same value, to the last bit of a float; whole floats and whole numbers are one."""
    if want is None:
        return found is None or found is pd.NaT or (isinstance(found, float) and math.isnan(found))
    if isinstance(want, int | float) and not isinstance(want, bool):
        return float(found).hex() == float(want).hex()
    return bool(found == want)


def test_a_row_for_which_an_expression_fails_is_missing_there():
    engine = engine_of.opened()
    serving = derived.Derivation(derived.plan(engine, {"n": "cast(t as integer) * 2"}, {"t": "text"}).document())
    assert serving.extend(pd.DataFrame({"t": ["1", "x", None, 4]}))["n"].tolist()[0::3] == [2.0, 8.0]
    assert serving.extend(pd.DataFrame({"t": ["1", "x", None, 4]}))["n"].isna().tolist() == [False, True, True, False]


def houses(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    sizes, rooms = rng.uniform(20, 200, rows), rng.integers(1, 8, rows)
    price = np.array([f"{value:,.0f} €" for value in rng.uniform(900, 9_000, rows)], dtype=object)
    when = pd.Series(pd.date_range("2023-01-01", periods=rows, freq="D")).dt.strftime("%d/%m/%Y")
    late = (sizes / rooms + rng.normal(0, 4, rows) > 25).astype(int)
    return pd.DataFrame(
        {
            "size": sizes,
            "rooms": rooms,
            "tax": price,
            "sold on": when,
            "late": np.where(late, "yes", "no"),
            "code": rng.integers(0, 9, rows),
        }
    )


SPEC = {
    "task": {"target": "late"},
    "data": {"features": {"columns": {"per room": "size / rooms", "roomy": '"per room" > 30', "odd": "code % 2", "unused": "1"},
                          "exclude": ["code"]}},
    "reproducibility": {"mode": "deterministic", "seed": 3}, "training": {"params": {"num_leaves": 7}},
}  # fmt: skip


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory):
    ctx, _ = chain(make_context(tmp_path_factory.mktemp("job"), SPEC, table=houses()), *ALL)
    return ctx, register.run(ctx)


def test_derived_columns_travel_with_the_model(registered):
    ctx, outcome = registered
    files = unpack(ctx.workspace.fetch(outcome.bundle))
    document = json.loads(files["columns.json"])
    assert [column["name"] for column in document["columns"]] == ["per room", "odd", "roomy"]
    assert document["inputs"] == [
        {"name": "size", "type": "float"},
        {"name": "rooms", "type": "int"},
        {"name": "code", "type": "int"},
    ]
    signature = json.loads(files["signature.json"])
    inputs = {each["name"]: each["type"] for each in signature["inputs"]}
    assert inputs == {"size": "numeric", "rooms": "numeric", "tax": "numeric", "sold on": "datetime", "code": "numeric"}
    assert set(json.loads(files["input_example.json"])["columns"]) == set(inputs)
    assert set(document["readings"]) == {"tax", "sold on"}


def test_an_excluded_column_is_no_feature_though_one_is_made_of_it(registered):
    ctx, _ = registered
    features = dict(ctx.outputs["validate"]["features"])
    assert "code" not in features
    assert {"odd", "per room", "roomy"} <= set(features)
    assert "unused" not in features


def test_loosely_typed_rows_are_predicted_as_the_evaluation_predicted_them(registered):
    ctx, outcome = registered
    bundle = open_bundle(ctx.workspace.fetch(outcome.bundle))
    evaluated = pd.read_parquet(ctx.workspace.get("predictions_test"))
    rows = houses().iloc[evaluated["row"]].drop(columns="late")
    assert set(bundle.inputs) == set(rows.columns)
    as_text = rows.astype(object).map(lambda value: repr(float(value)) if isinstance(value, float) else str(value))
    for frame in (rows, as_text):
        found = bundle.predict(frame)
        for name in ("probability:no", "probability:yes"):
            assert found[name].to_numpy().tolist() == evaluated[name].to_numpy().tolist()
    with pytest.raises(InvalidData, match="'code'"):
        bundle.predict(rows.drop(columns="code"))


def test_a_derived_column_may_be_the_target_but_no_feature_may_be_made_of_it(tmp_path):
    spec = {
        **SPEC,
        "task": {"target": "big"},
        "data": {"features": {"columns": {"big": "size > 100"}, "exclude": ["size"]}},
    }
    ctx, _ = chain(make_context(tmp_path, spec, table=houses()), *ALL[:2])
    assert ctx.outputs["validate"]["task_type"] == "binary"
    assert "size" not in snapshot.names(ctx.workspace.get("snapshot"))
    leaking = {
        **SPEC,
        "data": {"features": {"columns": {"half": "late || '!'", "more": "half || '?'"}, "exclude": ["half"]}},
    }
    with pytest.raises(InvalidData, match="'more': it is made of the target 'late'") as caught:
        ingest.run(make_context(tmp_path, leaking, table=houses()))
    assert caught.value.stable_code == "expression_denied"


def test_a_bundle_without_expressions_needs_no_engine(tmp_path, monkeypatch):
    spec = {key: value for key, value in SPEC.items() if key != "data"}
    ctx, _ = chain(make_context(tmp_path, spec, table=houses()), *ALL)
    outcome = register.run(ctx)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "trainhouse_loader.derived.columns")
    bundle = open_bundle(ctx.workspace.fetch(outcome.bundle))
    assert len(bundle.predict(houses())) == 300


def test_the_parsed_expression_is_written_back_with_other_names_only():
    engine = engine_of.opened()
    known = ["a b", "x"]
    parsed = expressions.parse(engine, "n", 'list_transform([x], lambda x: x + "a b")[1]', known)
    assert parsed.columns == ("x", "a b")
    written = expressions.statement(engine, parsed, {"a b": "·0", "x": "·1"})
    assert '"·0"' in written
    assert written.count('"·1"') == 1


def test_canonical_types_of_results_do_not_depend_on_the_other_rows():
    digits = canonical(pa.table({"t": ["a1", "b2"]}))
    found = made({"d": "substr(t, 2)"}, digits)
    assert found.column("d").to_pylist() == ["1", "2"]

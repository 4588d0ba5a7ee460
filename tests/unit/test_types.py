"""Types: what a column's values say, why, and that words are read at serving as they were in training."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidData
from tests.learning import parsed
from trainhouse_loader.reading import coerce, readings
from trainhouse_loader.reading.readings import Reading
from workers.table import columns
from workers.table.canonical import canonical
from workers.table.columns import Decision

ROWS = 120


def spec(**features: Any):
    source = {"main": {"kind": "dataset", "dataset_id": "ds_00000000"}}
    return parsed({"model": "some-model", "task": {"target": "y"}, "data": {"sources": source, "features": features}})


def decided(values: list[Any], name: str = "x", **features: Any) -> Decision:
    """The decision about one column, repeated to `ROWS` values."""
    many = (values * (ROWS // len(values) + 1))[:ROWS] if len(values) < ROWS else values
    table = canonical(pa.table({name: pa.array(many), "y": list(range(len(many)))}))
    (found,) = columns.decide(table, spec(**features))
    return found


def days(form: str, *, first: str = "2024-01-05", step: int = 3) -> list[str]:
    return [when.strftime(form) for when in pd.date_range(first, periods=ROWS, freq=f"{step}D")]


CASES = [
    ("numeric", [1.5, 2.5, 3.0]),
    ("numeric", [0, 1, 1]),
    ("numeric", ["12", "7", " "]),
    ("numeric", ["12", "7", "?"]),
    ("numeric", ["1.5", "unknown", "3"]),
    ("numeric", ["1.5", "-", "-3", "n/a"]),
    ("numeric", ["1,234", "56", "7,890,123.5"]),
    ("numeric", ["1.234,50", "56,1", "7.890.123"]),
    ("numeric", ["1'234.50", "56.1"]),
    ("numeric", ["1 234,5", "12"]),
    ("numeric", ["$5", "$1,200.50", "-$3"]),
    ("numeric", ["5 €", "7 €", "1.200,5 €"]),
    ("numeric", ["12%", "7.5 %", "100%"]),
    ("numeric", ["(5)", "7", "(1,000)"]),
    ("boolean", [True, False]),
    ("boolean", ["yes", "no", "Yes"]),
    ("boolean", ["Y", "N", "n"]),
    ("boolean", ["t", "f", "?"]),
    ("boolean", ["true", "false", "unknown"]),
    ("categorical", ["red", "green", "unknown"]),
    ("categorical", ["yes", "no", "maybe"]),
    ("categorical", ["0123", "0456", "7"]),
    ("categorical", ["12%", "7", "9"]),
    ("categorical", ["$5", "€6", "7"]),
    ("categorical", ["12 kg", "7 lb"]),
    ("datetime", days("%Y-%m-%d")),
    ("datetime", days("%d/%m/%Y")),
    ("datetime", days("%m/%d/%Y")),
    ("datetime", days("%d.%m.%y")),
    ("datetime", days("%b %d %Y")),
    ("datetime", days("%d %B %Y %H:%M")),
    ("datetime", days("%A"[:0] + "%a, %d %b %Y")),
    ("datetime", days("%m/%d/%Y %I:%M %p")),
    ("datetime", days("%Y-%m", step=40)),
    ("datetime", [int(day) for day in days("%Y%m%d")]),
    ("datetime", [*days("%d/%m/%Y")[:60], *days("%Y-%m-%d")[:60]]),
    ("datetime", [*days("%b %d %Y")[:118], "?", "n/a"]),
    ("text", [f"a sentence of words about thing {number}" for number in range(ROWS)]),
    ("text", [f"这是关于第{number}件事情的一句话" for number in range(ROWS)]),
    ("categorical", [f"label{number % 70}" for number in range(ROWS)]),
    (None, list(range(7, 7 + ROWS))),
    (None, [f"{number:08x}-0000-4000-8000-000000000000" for number in range(ROWS)]),
    (None, [f"AB-{number:05d}" for number in range(ROWS)]),
    (None, ["same"] * ROWS),
    (None, ["?"] * ROWS),
    (None, [None] * ROWS),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values"), CASES, ids=[f"{kind}-{str(values[:2])[:30]}" for kind, values in CASES])
def test_a_column_has_the_type_that_its_values_say(kind: str | None, values: list[Any]):
    found = decided(values)
    assert found.type == kind
    assert found.reason.endswith(".")
    assert any(sign.isdigit() for sign in found.reason) or kind is None


@pytest.mark.parametrize(
    ("concern", "values", "name"),
    [
        ("constant", [5] * ROWS, "x"),
        ("empty", [None] * ROWS, "x"),
        ("empty", ["?", "n/a"] * 60, "x"),
        ("mostly_empty", [1.5, *[None] * 150], "x"),
        ("id_like", list(range(ROWS)), "x"),
        ("id_like", [number * 7919 % 99_991 for number in range(ROWS)], "customerId"),
        (None, [number * 7919 % 99_991 for number in range(ROWS)], "price"),
        ("missing_words", ["1", "2", "?"], "x"),
        ("missing_words", ["red", "unknown"], "x"),
        ("mixed_values", [*[str(number * 0.5) for number in range(117)], "broken", "out of range", "broken"], "x"),
        ("ambiguous_dates", [f"0{1 + number % 9}/0{1 + number % 7}/2024" for number in range(ROWS)], "x"),
        ("mixed_dates", [*days("%d/%m/%Y")[:60], *days("%b %d %Y")[:60]], "x"),
        ("many_categories", [f"label{number % 1200}" for number in range(2_400)], "x"),
    ],
)  # fmt: skip
def test_what_is_odd_is_said(concern: str | None, values: list[Any], name: str):
    assert decided(values, name).concern == concern


def test_a_copy_of_a_column_is_left_out():
    table = canonical(
        pa.table({"a": [1, 2, 2], "b": [1.5, 2.5, None], "c": [1, 2, 2], "d": [1.5, 2.5, None], "y": [1, 2, 3]})
    )
    found = {each.name: each for each in columns.decide(table, spec())}
    assert [name for name, each in found.items() if each.concern == "duplicate_column"] == ["c", "d"]
    assert "'a'" in found["c"].reason
    assert columns.as_types(columns.decide(table, spec(types={"c": "categorical"})))["c"] == "categorical"


def test_day_and_month_are_told_apart_over_the_whole_column():
    first = [f"0{number}/01/2024" for number in range(1, 10)] * 13
    assert decided([*first, "25/12/2024"]).date_format == "%d/%m/%Y"
    assert decided([*first, "12/25/2024"]).date_format == "%m/%d/%Y"
    ambiguous = decided(first)
    assert ambiguous.concern == "ambiguous_dates"
    assert "%d/%m/%Y" in ambiguous.reason
    assert ambiguous.date_format == "%m/%d/%Y"


def test_the_order_of_rows_settles_day_and_month():
    ascending = sorted({(month, day) for month in range(1, 13) for day in range(1, 13)})
    found = decided([f"{day:02d}/{month:02d}/2024" for month, day in ascending])
    assert found.date_format == "%d/%m/%Y"
    assert "order of time" in found.reason


@pytest.mark.parametrize(
    ("given", "values", "share"),
    [("numeric", ["red", "1", "blue"], "33"), ("datetime", ["red", "blue"], "0"), ("boolean", ["red", "yes", "blue"], "33"),
     ("boolean", [1.5, 2.5], "0"), ("numeric", [f"a text of words {n}" for n in range(ROWS)], "0")],
)  # fmt: skip
def test_a_given_type_that_the_values_cannot_have_is_refused(given: str, values: list[Any], share: str):
    many = (values * ROWS)[:ROWS]
    table = canonical(pa.table({"x": pa.array(many), "y": list(range(ROWS))}))
    with pytest.raises(InvalidData) as caught:
        columns.decide(table, spec(types={"x": given}))
    assert caught.value.stable_code == "type_mismatch"
    (fault,) = caught.value.violations
    assert fault.pointer == "/data/features/types/x"
    assert f"{share}" in fault.message
    assert fault.facts["rows"]


@pytest.mark.parametrize(
    ("given", "values"),
    [("numeric", ["1", "x", "2", "3"]), ("categorical", [1.5, 2.5]), ("text", [1, 2]), ("datetime", [1_700_000_000, 1_700_086_400]),
     ("datetime", [20240131, 20240229]), ("datetime", ["2024-01-02", "Jan 5 2024"]), ("boolean", [0, 1]), ("numeric", list(range(ROWS))),
     ("numeric", [True, False]), ("boolean", ["Yes", "no", "?"])],
)  # fmt: skip
def test_a_given_type_is_kept(given: str, values: list[Any]):
    found = decided(values, types={"x": given})
    assert (found.type, found.given, found.fault) == (given, True, None)


def test_counts_of_seconds_are_times():
    found = decided([1_700_000_000, 1_700_086_400], types={"x": "datetime"})
    read = coerce.read(pd.DataFrame({"x": [1_700_000_000]}), columns.readings_of([found]))
    assert read["x"].iloc[0] == pd.Timestamp("2023-11-14 22:13:20")


def test_reasons_hold_no_values_of_the_data():
    secret = [f"hush{number % 40}" for number in range(ROWS)]
    for found in (
        decided(secret),
        decided([*["1"] * 117, "hush1", "hush2", "hush3"]),
        decided([*secret[:40], *["1"] * 80], types={"x": "numeric"}),
    ):
        assert "hush" not in found.reason


WORDS = st.one_of(
    st.sampled_from(
        [
            "1,234.5",
            "$7",
            "12%",
            "?",
            "n/a",
            " 5 ",
            "-3",
            "x",
            "",
            "1e5",
            "(7)",
            "03/04/2024",
            "2024-01-02",
            "yes",
            "NO",
            "1",
        ]
    ),
    st.text(max_size=6),
)
READINGS = [
    Reading("numeric", ("?", "n/a"), "1,234.5", "$"), Reading("numeric", (), "1.234,5"), Reading("numeric", ("x",), "1234.5", "%"),
    Reading("boolean", ("?",)), Reading("datetime", ("?",), None, "", ("%d/%m/%Y", "%b %d %Y")), Reading("datetime"),
]  # fmt: skip


@settings(max_examples=150)
@given(words=st.lists(st.none() | WORDS, min_size=1, max_size=6), reading=st.sampled_from(READINGS))
def test_a_value_is_read_alone_as_it_is_read_among_others(words: list[str | None], reading: Reading):
    document = {"x": reading.document()}
    assert readings.from_document(document["x"]) == reading
    table = pa.table({"x": pa.array([word or None for word in words], pa.large_string())})
    stored = coerce.read_table(table, document).column("x").to_pandas()
    whole = coerce.read(pd.DataFrame({"x": words}, dtype=object), document)["x"]
    for place, word in enumerate(words):
        alone = coerce.read(pd.DataFrame({"x": [word]}, dtype=object), document)["x"].iloc[0]
        for other in (whole.iloc[place], stored.iloc[place]):
            assert alone == other or (pd.isna(alone) and pd.isna(other))


def test_values_of_other_types_mean_the_same():
    when = dt.datetime(2024, 3, 4, tzinfo=dt.UTC)
    frame = pd.DataFrame(
        {"n": ["1,000", 1000, 1000.0, None], "d": ["04/03/2024", when, "2024-03-04", None], "b": ["Y", True, 1, None]},
        dtype=object,
    )
    found = coerce.read(frame, {
        "n": Reading("numeric", (), "1,234.5").document(), "d": Reading("datetime", (), None, "", ("%d/%m/%Y",)).document(),
        "b": Reading("boolean").document(),
    })  # fmt: skip
    assert found["n"].tolist()[:3] == [1000.0] * 3
    assert found["d"].tolist()[:3] == [pd.Timestamp("2024-03-04")] * 3
    assert found["b"].tolist()[:3] == [1.0] * 3
    assert found.iloc[3].isna().all()


@pytest.mark.parametrize(
    ("kind", "given", "stored"),
    [
        ("int", [1, "2", 3.0, "4.0", 5.5, None, "x", True, " 7 ", "9007199254740993", 2**62 + 1, 1e300, "1_0"],
         [1, 2, 3, 4, None, None, None, 1, 7, 9007199254740993, 2**62 + 1, None, None]),
        ("float", ["1.5", 2, None, "x", "inf", -0.0], [1.5, 2.0, None, None, float("inf"), 0.0]),
        ("bool", [True, "no", 1, 0.0, "maybe", 7, None], [True, False, True, False, None, None, None]),
        ("text", ["a", "", None, 5, 2.0, 1.5, True], ["a", None, None, "5", "2", "1.5", "true"]),
        ("timestamp", ["2024-01-02", dt.date(2024, 1, 2), "nonsense", None], [pd.Timestamp("2024-01-02")] * 2 + [None, None]),
    ],
)  # fmt: skip
def test_loosely_typed_values_are_stored_as_training_stored_them(kind: str, given: list[Any], stored: list[Any]):
    assert coerce.as_stored(pd.Series(given, dtype=object), kind).to_pylist() == stored


def test_whole_numbers_keep_every_digit():
    assert coerce.as_stored(pd.Series(np.array([2**62 + 1])), "int").to_pylist() == [2**62 + 1]


def test_lists_and_records_are_the_labels_that_training_saw():
    training = canonical(
        pa.table(
            {"tags": pa.array([["b", "a"], [], None]), "who": pa.array([{"n": 1, "m": None}, {"n": 2, "m": "x"}, None])}
        )
    )
    given = pd.DataFrame(
        {"tags": [["b", "a"], np.array([]), None], "who": [{"n": 1, "m": None}, {"n": 2, "m": "x"}, None]}
    )
    for name in ("tags", "who"):
        found = coerce.labels(given[name], "text")
        assert [None if pd.isna(label) else label for label in found] == training[name].to_pylist()
    assert coerce.labels(pd.Series([("b", "a")]), "text").tolist() == ['["b","a"]']

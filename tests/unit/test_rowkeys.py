"""Row keys are the same however a value is written, differ under another secret, and are found in their file."""

import datetime as dt

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rowkeys import Keys, canonical, key_of
from tests.learning import chain, make_context
from workers.division import rowkeys
from workers.stages import ingest, split, validate

SECRET = b"a secret of the project"


@pytest.mark.parametrize("alike", [
    (7, 7.0, "7", "007", " 7 ", "7.0", "+7"), (-3, "-3", -3.0), (1.5, "1.5", "1.50", "15e-1"), (True, "true"),
    (dt.datetime(2026, 1, 2, tzinfo=dt.UTC).replace(tzinfo=None), "2026-01-02", "2026-01-02T00:00:00", "2026-01-02 00:00", "2026-01-02T01:00:00+01:00"),
    ("anna", " anna"), (None, float("nan")),
])  # fmt: skip
def test_ways_to_write_one_value_are_one_value(alike):
    assert len({canonical(value) for value in alike}) == 1


def test_other_values_columns_and_secrets_have_other_keys():
    row = {"customer": 7, "shop": "a"}
    assert key_of(SECRET, row) == key_of(SECRET, {"shop": "a", "customer": "7"})
    others = [key_of(SECRET, {"customer": 8, "shop": "a"}), key_of(SECRET, {"shop": 7, "customer": "a"}),
              key_of(SECRET, {"customer": 7}), key_of(b"another", row)]  # fmt: skip
    assert len({key_of(SECRET, row), *others}) == 5
    assert key_of(SECRET, {"customer": None}) is None


@given(st.lists(st.integers(0, 10_000), unique=True), st.lists(st.integers(0, 10_000)))
def test_keys_are_found_where_they_are_and_nowhere_else(held, asked):
    keys = Keys(b"".join(sorted(key_of(SECRET, {"id": each}) for each in held)))
    assert len(keys) == len(held)
    assert all((key_of(SECRET, {"id": each}) in keys) == (each in held) for each in asked)


def test_a_file_holds_the_keys_of_a_table_once_each_and_sorted(tmp_path):
    table = pa.table(
        {"id": pa.array([3, None, 1, 3], pa.int64()), "name": pa.array(["c", None, "a", "c"], pa.large_string())}
    )
    assert rowkeys.write(table, SECRET, tmp_path / "keys") == 2
    content = (tmp_path / "keys").read_bytes()
    assert content == b"".join(sorted(content[place : place + 8] for place in range(0, len(content), 8)))
    assert len(Keys(content)) == 2 + 1, "and their secret's mark"
    assert key_of(SECRET, {"id": "1", "name": "a"}) in Keys(content)


def test_split_writes_down_who_teaches_and_who_judges(tmp_path):
    frame = pd.DataFrame({"customer": range(1_000), "x": [each % 7 for each in range(1_000)], "y": ["a", "b"] * 500})
    spec = {"task": {"target": "y", "id_columns": ["customer"]}}
    ctx = make_context(tmp_path, spec, table=frame, row_secret=SECRET)
    ctx, _ = chain(ctx, ("ingest", ingest.run), ("validate", validate.run), ("split", split.run))
    parts = pq.read_table(ctx.workspace.get("split")).to_pylist()
    trained, tested = (Keys(ctx.workspace.get(f"row_keys_{name}").read_bytes()) for name in ("trained", "tested"))
    assert len(trained) + len(tested) == 1_000 + 2, "the rows, and in each file its secret's mark"
    assert [keys.made_by([b"another", SECRET]) for keys in (trained, tested)] == [SECRET, SECRET]
    assert trained.made_by([b"another"]) is None
    for each in parts:
        assert (key_of(SECRET, {"customer": each["row"]}) in tested) == (each["part"] == "test")
        assert (key_of(SECRET, {"customer": each["row"]}) in trained) == (each["part"] != "test")
    whole = ctx.workspace.get("row_keys_trained").read_bytes()
    assert b"customer" not in whole


def test_without_ids_nothing_is_written_down(tmp_path):
    frame = pd.DataFrame({"x": [each % 7 for each in range(1_000)], "y": ["a", "b"] * 500})
    ctx = make_context(tmp_path, {"task": {"target": "y"}}, table=frame, row_secret=SECRET)
    ctx, _ = chain(ctx, ("ingest", ingest.run), ("validate", validate.run), ("split", split.run))
    with pytest.raises(KeyError):
        ctx.workspace.get("row_keys_trained")


def test_ids_of_nineteen_digits_are_told_apart_as_text_and_as_numbers():
    one, other = 1830000000000000001, 1830000000000000002
    assert canonical(one) == canonical(str(one)) != canonical(str(other))
    assert canonical("12345678901234567890") == canonical(12345678901234567890) == canonical(1.2345678901234567e19)
    assert canonical("9" * 400) == "9" * 400, "no float is so large"


def test_an_id_that_is_excluded_from_the_features_still_tells_rows_apart(tmp_path):
    frame = pd.DataFrame({"customer": range(400), "x": [each % 7 for each in range(400)], "y": ["a", "b"] * 200})
    spec = {
        "task": {"target": "y", "id_columns": ["customer"], "group_column": "shop"},
        "data": {"features": {"exclude": ["customer", "shop"]}},
    }  # fmt: skip
    ctx = make_context(tmp_path, spec, table=frame.assign(shop=frame["customer"] // 5), row_secret=SECRET)
    ctx, _ = chain(ctx, ("ingest", ingest.run), ("validate", validate.run), ("split", split.run))
    held = [Keys(ctx.workspace.get(f"row_keys_{what}").read_bytes()) for what in ("trained", "tested")]
    assert sum(key_of(SECRET, {"customer": 7}) in keys for keys in held) == 1
    assert [name for name, _ in ctx.outputs["validate"]["features"]] == ["x"]

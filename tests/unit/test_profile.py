"""A profile describes every column in little room, without a raw row."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.learning import chain, make_context
from workers.quality import profile
from workers.stages import ingest, validate
from workers.table.canonical import canonical


def described(frame: pd.DataFrame, **kinds: str) -> dict[str, dict[str, object]]:
    table = canonical(pa.Table.from_pandas(frame, preserve_index=False))
    found = json.loads(json.dumps(profile.profile(table, kinds), allow_nan=False))
    columns: dict[str, dict[str, object]] = found["columns"]
    return columns


def test_numbers_are_told_by_moments_quantiles_and_bins():
    found = described(pd.DataFrame({"x": [*np.arange(1_000) / 10, None, -1.0]}))["x"]
    assert (found["nulls"], found["distinct"], found["zeros"], found["negative"]) == (1, 1_001, 1, 1)
    assert found["quantiles"] == pytest.approx([-1.0, 4.9, 24.9, 49.9, 74.9, 94.9, 99.9], abs=0.2)
    assert sum(found["counts"]) == 1_001  # type: ignore[call-overload]
    assert len(found["counts"]) == len(found["edges"]) + 1  # type: ignore[arg-type]


def test_a_number_of_two_values_has_a_bin_for_each():
    found = described(pd.DataFrame({"x": [0] * 30 + [1] * 70}))["x"]
    assert (found["edges"], found["counts"]) == ([0.0, 1.0], [0, 30, 70])


def test_categories_are_counted_and_the_rest_falls_into_buckets_by_label_alone():
    few = described(pd.DataFrame({"c": ["a"] * 3 + ["b"] * 2 + [None]}), c="categorical")["c"]
    assert (few["categories"], few["other"], few["nulls"], few.get("buckets")) == ({"a": 3, "b": 2}, 0, 1, None)
    many = described(pd.DataFrame({"c": [f"v{row % 5_000}" for row in range(20_000)]}), c="categorical")["c"]
    assert (many["distinct"], len(many["categories"])) == (5_000, profile.TOP_CATEGORIES)  # type: ignore[arg-type]
    assert sum(many["buckets"]) == 20_000  # type: ignore[call-overload]
    assert profile.in_buckets({"a": 3, "b": 2}) == profile.in_buckets({"b": 2, "a": 3})


def test_times_have_a_range_and_texts_have_lengths():
    found = described(pd.DataFrame({
        "at": pd.to_datetime(["2024-01-01 00:00", "2024-03-01 10:00"]), "note": ["the secret is 1", "the secret is 22"],
    }))  # fmt: skip
    assert (found["at"]["earliest"], found["at"]["latest"]) == (
        "2024-01-01T00:00:00.000000Z",
        "2024-03-01T10:00:00.000000Z",
    )
    assert found["note"]["words_mean"] == 4.0
    assert found["note"]["quantiles"][0] == 15  # type: ignore[index]
    assert "secret" not in json.dumps(found)


def test_nothing_and_infinity_are_no_numbers():
    found = described(
        pd.DataFrame({"none": [None, None], "inf": [np.inf, -np.inf], "some": [1.5, np.inf], "huge": [1e308, -1e308]})
    )
    assert (found["none"]["nulls"], found["none"]["null_share"], found["none"]["holds"]) == (2, 1.0, None)
    assert (found["inf"]["infinite"], found["some"]["infinite"], found["some"]["distinct"]) == (2, 1, 1)
    assert found["huge"]["std"] is None


def test_thousands_of_columns_stay_small():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {f"c{place}": [f"label number {value}" for value in rng.integers(0, 300, 400)] for place in range(400)}
    )
    found = described(frame, **dict.fromkeys(frame.columns, "categorical"))
    assert len(json.dumps(found)) < 4_000 * len(frame.columns)
    assert profile.room_for(10_000) == 10


def test_the_stage_says_why_each_column_is_what_it_is(tmp_path: Path):
    rows = 200
    frame = pd.DataFrame(
        {"n": np.arange(rows) ** 0.5, "same": 1, "word": ["yes", "no", "n/a", "yes"] * 50, "y": [0, 1] * 100}
    )
    ctx = make_context(
        tmp_path, {"task": {"target": "y"}, "data": {"features": {"types": {"n": "numeric"}}}}, table=frame
    )
    ctx, _ = chain(ctx, ("ingest", ingest.run), ("validate", validate.run))
    columns = json.loads(ctx.workspace.get("profile").read_text())["columns"]
    assert (columns["n"]["feature"], columns["n"]["given"]) == (True, True)
    assert (columns["same"]["feature"], columns["same"]["concern"]) == (False, "constant")
    assert columns["word"]["missing_words"] == ["n/a"]
    assert columns["word"]["reason"].startswith("All 150 values are")
    assert columns["y"]["feature"] is False

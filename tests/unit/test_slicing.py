"""Rows are grouped by values, by quarters where there are many numbers, and matched by what a rule names."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from workers.measures.slicing import MOST_VALUES, groups, matching

TABLE = pa.table({
    "origin": pa.array(["JFK", "LGA", "JFK", None, "EWR", "JFK"], pa.large_string()),
    "hour": pa.array([6, 7, 6, 6, None, 7], pa.int64()),
    "late": pa.array([True, False, True, None, False, False]),
    "speed": pa.array([1.5, 2.0, float("inf"), 2.0, None, 1.5], pa.float64()),
})  # fmt: skip


def told(table: pa.Table, columns: list[str]) -> dict[tuple[object, ...], list[int]]:
    return {tuple(each.where.values()): each.rows.tolist() for each in groups(table, columns)}


def test_groups_share_a_value_and_missing_ones_are_a_group_too():
    assert told(TABLE, ["origin"]) == {("JFK",): [0, 2, 5], ("LGA",): [1], (None,): [3], ("EWR",): [4]}
    assert told(TABLE, ["late"]) == {(True,): [0, 2], (False,): [1, 4, 5], (None,): [3]}
    assert told(TABLE, ["hour"]) == {(6,): [0, 2, 3], (7,): [1, 5], (None,): [4]}


def test_groups_of_two_columns_share_both_values_the_largest_first():
    found = told(TABLE, ["origin", "hour"])
    assert next(iter(found)) == ("JFK", 6)
    assert found[("JFK", 6)] == [0, 2]
    assert found[("JFK", 7)] == [5]
    assert sum(map(len, found.values())) == 6


def test_many_numbers_and_times_are_grouped_by_quarters():
    random = np.random.default_rng(0)
    values = random.normal(size=1_000)
    values[:10] = np.nan
    table = pa.table({
        "x": pa.array(values, from_pandas=True),
        "at": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None) + dt.timedelta(hours=hour) for hour in range(1_000)], pa.timestamp("us")),
    })  # fmt: skip
    by_x = groups(table, ["x"])
    assert [len(each.rows) for each in by_x][-1] == 10
    assert by_x[-1].where == {"x": None}
    assert all(235 <= len(each.rows) <= 260 for each in by_x[:4])
    assert [len(each.rows) for each in groups(table, ["at"])] == [250] * 4
    for each in by_x[:4]:
        low, high = values[each.rows].min(), values[each.rows].max()
        inside = (values > low) & (values < high)
        assert set(np.flatnonzero(inside)) <= set(each.rows.tolist()), "a quarter is a range"


def test_a_column_of_very_many_values_is_grouped_by_the_most_frequent():
    names = ["common"] * 500 + [f"rare {place}" for place in range(200)]
    found = groups(pa.table({"name": pa.array(names, pa.large_string())}), ["name"])
    assert len(found) == MOST_VALUES
    assert found[0].where == {"name": "common"}


@pytest.mark.parametrize(("where", "rows"), [
    ({"origin": "JFK"}, [0, 2, 5]), ({"origin": "JFK", "hour": 6}, [0, 2]), ({"hour": 6.0}, [0, 2, 3]),
    ({"hour": "6"}, [0, 2, 3]), ({"hour": "six"}, []), ({"late": True}, [0, 2]), ({"late": "true"}, [0, 2]),
    ({"speed": 2}, [1, 3]), ({"origin": "nowhere"}, []), ({}, [0, 1, 2, 3, 4, 5]),
])  # fmt: skip
def test_rows_match_the_values_that_a_rule_names(where, rows):
    assert matching(TABLE, where).tolist() == rows


def test_no_rows_make_no_groups():
    empty = TABLE.slice(0, 0)
    assert groups(empty, ["origin", "speed"]) == []
    assert matching(empty, {"origin": "JFK"}).tolist() == []


def test_a_gap_looks_at_every_group_and_at_every_whole_number():
    stores = pa.array([place % 80 for place in range(800)], pa.int64())
    names = pa.array([f"s{place % 80}" for place in range(800)], pa.large_string())
    table = pa.table({"store": stores, "name": names})
    assert len(groups(table, ["store"], every=True)) == len(groups(table, ["name"], every=True)) == 80
    assert len(groups(table, ["store", "name"], every=True)) == 80
    assert len(groups(table, ["store"])) == 4
    many = pa.table({"one": pa.array(range(300), pa.int64()), "x": pa.array([float(row) / 7 for row in range(300)])})
    assert len(groups(many, ["one"], every=True)) == 300
    assert len(groups(many, ["x"], every=True)) == 4


def test_a_slice_matches_beside_numbers_that_no_float_holds():
    table = pa.table({"shop": pa.array([12, 2**53 + 1, 12, None], pa.int64())})
    assert matching(table, {"shop": 12}).tolist() == [0, 2]

"""A contract is kept or broken rule by rule; every breach says where and how often."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app.spec.data import ColumnContract
from workers.quality.contract import check
from workers.quality.findings import Finding
from workers.table.canonical import canonical

ROWS = 200


def a_table(**columns: object) -> pa.Table:
    return canonical(pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False))


def breaches(table: pa.Table, **rules: dict[str, object]) -> dict[tuple[str | None, str | None], Finding]:
    found = check(table, {name: ColumnContract(**rule) for name, rule in rules.items()})
    return {(one.column, one.check): one for one in found}


def test_every_breach_of_every_column_is_found_at_once_and_located():
    x = np.arange(ROWS) / 10
    table = a_table(
        x=np.where(np.isin(np.arange(ROWS), [4, 8]), np.nan, x), color=["red"] * 7 + ["mauve"] + ["red"] * 192
    )
    found = breaches(
        table, x={"nullable": False, "min": 0.1, "max": 18.9}, color={"allowed": ["red"], "pattern": "^[rgb]"}
    )
    assert set(found) == {("x", "nullable"), ("x", "min"), ("x", "max"), ("color", "allowed"), ("color", "pattern")}
    assert found["x", "nullable"].rows == (4, 8)
    assert (found["x", "max"].count, found["x", "max"].share, found["x", "max"].rows) == (
        10,
        0.05,
        (190, 191, 192, 193, 194),
    )
    assert found["color", "allowed"].pointer == "/validation/columns/color"
    assert "mauve" not in found["color", "allowed"].message
    assert {one.code for one in found.values()} == {"contract_broken"}


def test_two_missing_values_repeat_nothing():
    table = a_table(key=[1.5, None, None, 2.5, 1.5], text=["a", None, "b", None, "a"])
    found = breaches(table, key={"unique": True}, text={"unique": True})
    assert (found["key", "unique"].count, found["key", "unique"].rows) == (1, (4,))
    assert found["text", "unique"].rows == (4,)
    assert not breaches(a_table(key=[1.5, None, None]), key={"unique": True})


@pytest.mark.parametrize("bound", [0, 0.0])
def test_a_bound_of_zero_is_a_bound(bound: float):
    assert breaches(a_table(x=[-1, 0, 1]), x={"min": bound})["x", "min"].rows == (0,)


@pytest.mark.parametrize(("values", "wanted", "kept"), [
    ([1, 2], "float", True), ([1.5, 2.5], "int", False), ([1, 2], "string", True), (["a", "b"], "string", True),
    (["a", "b"], "float", False), ([True, False], "boolean", True), ([None, None], "datetime", True),
    ([pd.Timestamp("2024-01-01")] * 2, "datetime", True),
])  # fmt: skip
def test_types_are_those_of_the_values(values: list[object], wanted: str, *, kept: bool):
    found = breaches(a_table(x=values), x={"type": wanted})
    assert set(found) == (set() if kept else {("x", "type")})


def test_allowed_values_are_compared_as_they_are_written():
    table = a_table(n=[1, 2, 3], f=[0.5, 1.0, None], b=[True, False, True], t=["x", "y", None])
    rules = {"n": {"allowed": [1, 2.0]}, "f": {"allowed": [0.5, 1]}, "b": {"allowed": [True]}, "t": {"allowed": ["x"]}}
    found = breaches(table, **rules)
    assert {key: one.rows for key, one in found.items()} == {
        ("n", "allowed"): (2,),
        ("b", "allowed"): (1,),
        ("t", "allowed"): (1,),
    }


def test_rules_that_cannot_be_judged_are_findings_themselves():
    table = a_table(text=["a", "b"], n=[1, 2])
    found = breaches(table, text={"min": 1, "pattern": "(?=x)"}, gone={"unique": True})
    assert set(found) == {("text", "min_max_of_no_number"), ("text", "pattern"), ("gone", "exists")}
    assert (found["text", "pattern"].code, found["gone", "exists"].code) == ("bad_pattern", "unknown_column")


def test_a_contract_that_is_kept_says_nothing():
    table = a_table(x=[0.5, 1.5, None], t=["aa", "ab", None])
    assert not breaches(
        table, x={"type": "float", "min": 0, "max": 2, "unique": True}, t={"pattern": "^a", "allowed": ["aa", "ab"]}
    )


def test_breaches_in_a_large_column_cost_no_row_by_row_work():
    table = a_table(x=np.arange(300_000, dtype=float))
    found = breaches(table, x={"max": 10, "unique": True})
    assert (found["x", "max"].count, found["x", "max"].rows) == (299_989, (11, 12, 13, 14, 15))

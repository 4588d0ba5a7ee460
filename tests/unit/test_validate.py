"""Validate settles the task, the rows and the features, and stops data that would corrupt a run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.errors import InvalidData
from tests.learning import FolderWorkspace, chain, codes, make_context
from workers.context import Champion, Context, Done
from workers.stages import ingest, validate

ROWS = 300


def a_frame(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return pd.DataFrame({
        "x": x, "color": rng.choice(["red", "green", "blue"], rows), "flag": rng.random(rows) > 0.5,
        "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, rows), unit="s"),
        "y": np.where(x + rng.normal(size=rows) > 0, "yes", "no"),
    })  # fmt: skip


def validated(
    tmp_path: Path, frame: pd.DataFrame, champion: Champion | None = None, **spec: Any
) -> tuple[Context, Done]:
    spec = {"task": {"target": "y"}, **spec}
    ctx = make_context(tmp_path, spec, table=frame, champion=champion)
    ctx, outcomes = chain(ctx, ("ingest", ingest.run), ("validate", validate.run))
    outcome = outcomes["validate"]
    assert isinstance(outcome, Done)
    return ctx, outcome


def refusal(tmp_path: Path, frame: pd.DataFrame, champion: Champion | None = None, **spec: Any) -> InvalidData:
    with pytest.raises(InvalidData) as caught:
        validated(tmp_path, frame, champion, **spec)
    return caught.value


def test_types_are_inferred_in_the_order_of_the_columns(tmp_path: Path):
    _, done = validated(tmp_path, a_frame())
    assert done.output["features"] == [
        ["x", "numeric"],
        ["color", "categorical"],
        ["flag", "boolean"],
        ["at", "datetime"],
    ]
    assert (done.output["task_type"], done.output["classes"], done.output["rows"]) == ("binary", ["no", "yes"], ROWS)


def test_columns_with_another_part_are_no_features(tmp_path: Path):
    task = {"target": "y", "id_columns": ["x"], "time_column": "at", "group_column": "color"}
    _, done = validated(tmp_path, a_frame(), task=task)
    assert done.output["features"] == [["flag", "boolean"]]


@pytest.mark.parametrize(
    ("values", "task", "kind", "classes"),
    [
        ([0, 1], {}, "binary", ["0", "1"]),
        ([1.0, 2.0], {}, "binary", ["1", "2"]),
        ([True, False], {}, "binary", ["false", "true"]),
        (["b", "a", "c"], {}, "multiclass", ["a", "b", "c"]),
        ([3, 1, 2, 10], {}, "multiclass", ["1", "10", "2", "3"]),
        (list(range(100)), {}, "regression", []),
        ([0.5, 1.5], {}, "regression", []),
        ([0, 1], {"type": "regression"}, "regression", []),
        ([True, False], {"type": "regression"}, "regression", []),
        (["a", "b"], {"type": "multiclass"}, "binary", ["a", "b"]),
        ([0, 1], {"positive_class": 0}, "binary", ["1", "0"]),
        ([True, False], {"positive_class": False}, "binary", ["true", "false"]),
        (["yes", "no"], {"positive_class": "no"}, "binary", ["yes", "no"]),
    ],
)
def test_the_target_says_what_the_task_is(
    values: list[Any], task: dict[str, Any], kind: str, classes: list[str], tmp_path: Path
):
    frame = a_frame().assign(y=np.resize(np.array(values, dtype=object), ROWS).tolist())
    _, done = validated(tmp_path, frame, task={"target": "y", **task})
    assert (done.output["task_type"], done.output["classes"]) == (kind, classes)


@pytest.mark.parametrize(
    ("code", "values", "spec"),
    [
        ("single_class", ["a"], {}),
        ("target_missing", [None], {}),
        ("not_binary", ["a", "b", "c"], {"task": {"target": "y", "type": "binary"}}),
        ("target_not_numeric", ["a", "b"], {"task": {"target": "y", "type": "regression"}}),
        ("constant_target", [1.5], {"task": {"target": "y", "type": "regression"}}),
        ("unknown_positive_class", ["a", "b"], {"task": {"target": "y", "positive_class": "c"}}),
        ("target_type", [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")], {}),
        ("too_few_rows", ["a", "b"] + [None] * 8, {"validation": {"min_rows": 100}}),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(code: str, values: list[Any], spec: dict[str, Any], tmp_path: Path):
    frame = a_frame().assign(y=(values * ROWS)[:ROWS])
    assert refusal(tmp_path, frame, **spec).stable_code == code


def test_rows_without_a_target_are_left_out_and_said(tmp_path: Path):
    frame = a_frame()
    frame.loc[:9, "y"] = None
    ctx, done = validated(tmp_path, frame)
    assert "target_missing" in codes(done)
    assert pd.read_parquet(ctx.workspace.get("kept"))["row"].tolist() == list(range(10, ROWS))


def test_every_breach_of_the_contract_is_listed_with_rows(tmp_path: Path):
    frame = a_frame()
    frame["x"] = np.arange(ROWS) / 10
    frame.loc[[4, 8], "x"] = None
    frame.loc[7, "color"] = "mauve"
    rules = {"x": {"nullable": False, "min": 0.1, "max": 29.0, "type": "float"}, "color": {"allowed": ["red", "green", "blue"],
             "pattern": "^[rgb]"}, "flag": {"type": "int"}, "y": {"unique": True}}  # fmt: skip
    error = refusal(tmp_path, frame, validation={"columns": rules})
    found = {(fault.facts["column"], fault.facts["check"]): fault.message for fault in error.violations}
    assert error.stable_code == "contract_broken"
    assert set(found) == {("x", "nullable"), ("x", "min"), ("x", "max"), ("color", "allowed"), ("color", "pattern"),
                          ("flag", "type"), ("y", "unique")}  # fmt: skip
    assert "2 rows (row 4, 8)" in found["x", "nullable"]
    assert "1 row (row 7)" in found["color", "pattern"]


def test_a_contract_that_is_kept_says_nothing(tmp_path: Path):
    rules = {"x": {"type": "float", "min": -10, "max": 10, "nullable": False}, "color": {"allowed": ["red", "green", "blue"]},
             "flag": {"type": "boolean", "allowed": [True, False]}, "at": {"type": "datetime"}, "y": {"pattern": "yes|no"}}  # fmt: skip
    validated(tmp_path, a_frame(), validation={"columns": rules})


def test_a_pattern_that_would_never_end_is_judged_in_linear_time(tmp_path: Path):
    frame = a_frame().assign(color="a" * 5_000 + "!")
    frame.loc[0, "color"] = "a"
    error = refusal(tmp_path, frame, validation={"columns": {"color": {"pattern": "^(a+)+$"}}})
    assert error.violations[0].facts["check"] == "pattern"
    bad = refusal(tmp_path, a_frame(), validation={"columns": {"color": {"pattern": "(?=x)"}}})
    assert bad.stable_code == "bad_pattern"


def test_nulls_beyond_the_limit_are_refused(tmp_path: Path):
    frame = a_frame()
    frame.loc[10:, "x"] = None
    error = refusal(tmp_path, frame, validation={"max_null_fraction": 0.5})
    assert error.stable_code == "too_many_nulls"
    assert "'x'" in error.violations[0].message


@pytest.mark.parametrize(("action", "rows"), [("ignore", ROWS + 5), ("warn", ROWS + 5), ("drop", ROWS)])
def test_repeated_rows_are_treated_as_asked(action: str, rows: int, tmp_path: Path):
    frame = pd.concat([a_frame(), a_frame().head(5)])
    _, done = validated(tmp_path, frame, validation={"duplicates": {"action": action}})
    assert done.output["rows"] == rows
    assert ("duplicate_rows" in codes(done)) == (action != "ignore")


def test_repeated_rows_can_stop_the_job(tmp_path: Path):
    frame = pd.concat([a_frame(), a_frame().head(5)])
    assert refusal(tmp_path, frame, validation={"duplicates": {"action": "fail"}}).stable_code == "duplicate_rows"


@pytest.mark.parametrize("target", ["yes_or_no", "three", "number"])
def test_a_feature_that_gives_the_target_away_is_named(target: str, tmp_path: Path):
    frame = a_frame()
    rng = np.random.default_rng(1)
    frame["y"] = {
        "yes_or_no": frame["y"],
        "three": rng.choice(["a", "b", "c"], ROWS),
        "number": rng.lognormal(size=ROWS),
    }[target]
    leak = frame["y"] * 2 + 1 if target == "number" else frame["y"].map({"yes": 9, "no": 4, "a": 7, "b": 2, "c": 5})
    _, done = validated(tmp_path, frame.assign(leak=leak))
    assert [warned.column for warned in done.warnings if warned.code == "leakage"] == ["leak"]
    error = refusal(tmp_path, frame.assign(leak=leak), validation={"leakage": {"action": "fail"}})
    assert error.stable_code == "leakage"


def test_columns_that_say_nothing_are_left_out_unless_they_are_named(tmp_path: Path):
    frame = a_frame().assign(same=1, key=[f"k{row}" for row in range(ROWS)])
    _, done = validated(tmp_path, frame)
    assert {"constant_column", "id_like_column"} <= codes(done)
    assert {"same", "key"}.isdisjoint(name for name, _ in done.output["features"])
    _, kept = validated(tmp_path, frame, data={"features": {"types": {"key": "categorical", "same": "numeric"}}})
    assert {("key", "categorical"), ("same", "numeric")} <= {(name, kind) for name, kind in kept.output["features"]}


def test_a_table_without_features_is_refused(tmp_path: Path):
    assert refusal(tmp_path, a_frame()[["y"]]).stable_code == "no_features"


def champion_of(ctx: Context) -> Champion:
    assert isinstance(ctx.workspace, FolderWorkspace)
    return Champion("m", 1, "job_old", {"profile": ctx.workspace.artifacts["profile"]}, {})


@pytest.mark.parametrize("method", ["auto", "psi", "js", "ks", "wasserstein", "chi2"])
def test_drift_is_seen_where_it_is_and_nowhere_else(method: str, tmp_path: Path):
    ctx, _ = validated(tmp_path, a_frame(3_000))
    now = a_frame(3_000, seed=7)
    now["x"] += 1.5
    now["color"] = np.random.default_rng(3).choice(["red", "green", "pink"], 3_000, p=[0.8, 0.1, 0.1])
    now["flag"] = now["flag"].astype(object).where(now.index > 1_500)
    _, done = validated(tmp_path, now, champion_of(ctx), validation={"drift": {"method": method}, "columns": {}})
    assert {warned.column for warned in done.warnings if warned.code == "drift"} >= {"x", "color", "flag"}
    assert not {warned.column for warned in done.warnings if warned.code == "drift"} & {"at"}
    error = refusal(tmp_path, now, champion_of(ctx), validation={"drift": {"method": method, "action": "fail"}})
    assert error.stable_code == "drift"


@pytest.mark.parametrize("rows", [60, 3_000])
def test_like_data_raises_no_alarm(rows: int, tmp_path: Path):
    ctx, _ = validated(tmp_path, a_frame(rows))
    _, done = validated(tmp_path, a_frame(rows, seed=8), champion_of(ctx))
    assert "drift" not in codes(done)


def test_empty_and_new_columns_do_not_break_the_comparison(tmp_path: Path):
    before = a_frame().assign(gone=1.5, empty=np.nan)
    loose = {"validation": {"max_null_fraction": 1.0}}
    ctx, _ = validated(tmp_path, before, **loose)
    after = a_frame().assign(new=2.5, x=np.nan, at=pd.NaT, empty=np.linspace(0, 1, ROWS))
    _, done = validated(tmp_path, after, champion_of(ctx), **loose)
    assert "drift" in codes(done) or done.summary["drifted"] == 0


def test_a_reference_that_is_not_there_is_a_warning(tmp_path: Path):
    ctx, _ = validated(tmp_path, a_frame())
    other = replace(champion_of(ctx), version=2)
    _, done = validated(tmp_path, a_frame(), other, validation={"drift": {"reference": "version:1"}})
    assert "no_drift_reference" in codes(done)


def test_the_profile_holds_no_free_text(tmp_path: Path):
    frame = a_frame().assign(note=[f"the secret number is {row}" for row in range(ROWS)])
    ctx, done = validated(tmp_path, frame)
    assert ["note", "text"] in done.output["features"]
    profile = ctx.workspace.get("profile").read_text()
    assert "secret" not in profile
    assert json.loads(profile)["rows"] == ROWS

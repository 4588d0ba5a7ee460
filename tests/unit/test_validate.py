"""Validate settles the task, the rows and the features, and stops data that would corrupt a run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.errors import InvalidData
from tests.learning import chain, codes, make_context
from workers.context import Context, Done
from workers.quality.survey import survey
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


def validated(tmp_path: Path, frame: pd.DataFrame, **spec: Any) -> tuple[Context, Done]:
    spec = {"task": {"target": "y"}, **spec}
    ctx = make_context(tmp_path, spec, table=frame)
    ctx, outcomes = chain(ctx, ("ingest", ingest.run), ("validate", validate.run))
    outcome = outcomes["validate"]
    assert isinstance(outcome, Done)
    return ctx, outcome


def refusal(tmp_path: Path, frame: pd.DataFrame, **spec: Any) -> InvalidData:
    with pytest.raises(InvalidData) as caught:
        validated(tmp_path, frame, **spec)
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
        ("no_positive_class", ["a", "b", "c"], {"task": {"target": "y", "positive_class": "c"}}),
        ("no_positive_class", [0.5, 1.5, 2.5], {"task": {"target": "y", "positive_class": 1}}),
        ("target_not_numeric", ["a", "b"], {"training": {"objective": "huber"}}),
        ("target_type", [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")], {}),
        ("too_few_rows", ["a", "b"] + [None] * 8, {"validation": {"min_rows": 100}}),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(code: str, values: list[Any], spec: dict[str, Any], tmp_path: Path):
    frame = a_frame().assign(y=(values * ROWS)[:ROWS])
    assert refusal(tmp_path, frame, **spec).stable_code == code


@pytest.mark.parametrize("objective", ["poisson", "quantile", "huber"])
def test_an_objective_of_numbers_makes_few_whole_numbers_a_regression(objective: str, tmp_path: Path):
    frame = a_frame().assign(y=np.resize([3, 1, 2, 10], ROWS))
    assert validated(tmp_path / "classes", frame)[1].output["task_type"] == "multiclass"
    assert validated(tmp_path, frame, training={"objective": objective})[1].output["task_type"] == "regression"


def test_a_positive_class_that_there_is_none_of_is_pointed_at(tmp_path: Path):
    frame = a_frame().assign(y=np.resize(["a", "b", "c"], ROWS))
    error = refusal(tmp_path, frame, task={"target": "y", "positive_class": "c"})
    assert [fault.pointer for fault in error.violations] == ["/task/positive_class"]


def test_rows_without_a_target_are_left_out_and_said(tmp_path: Path):
    frame = a_frame()
    frame.loc[:9, "y"] = None
    ctx, done = validated(tmp_path, frame)
    assert "target_missing" in codes(done)
    assert pd.read_parquet(ctx.workspace.get("kept"))["row"].tolist() == list(range(10, ROWS))


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


def test_all_failures_are_told_at_once_and_the_report_is_kept(tmp_path: Path):
    frame = a_frame().assign(gone=[1.0] + [None] * (ROWS - 1), leak=lambda table: table["y"].map({"yes": 1, "no": 2}))
    rules = {"columns": {"x": {"min": 0}}, "max_null_fraction": 0.9, "max_rows": 200, "leakage": {"action": "fail"},
             "class_share": {"yes": {"min": 0.9}, "perhaps": {}}}  # fmt: skip
    ctx, _ = chain(
        make_context(tmp_path, {"task": {"target": "y"}, "validation": rules}, table=frame), ("ingest", ingest.run)
    )
    with pytest.raises(InvalidData) as caught:
        validate.run(ctx)
    expected = {"contract_broken", "too_many_nulls", "too_many_rows", "leakage", "class_share", "unknown_class"}
    assert caught.value.stable_code == "validation_failed"
    assert {fault.code for fault in caught.value.violations} == expected
    assert all(code in caught.value.detail for code in expected)
    report = json.loads(ctx.workspace.get("validation").read_text())
    assert {one["code"] for one in report["findings"] if one["severity"] == "fail"} == expected
    broken = next(fault for fault in caught.value.violations if fault.code == "contract_broken")
    assert broken.facts["column"] == "x"
    assert broken.facts["check"] == "min"
    assert len(broken.facts["rows"]) == 5


def test_failures_of_one_kind_keep_their_code(tmp_path: Path):
    error = refusal(tmp_path, a_frame(), validation={"columns": {"x": {"min": 0}, "color": {"allowed": ["red"]}}})
    assert (error.stable_code, len(error.violations)) == ("contract_broken", 2)


def test_rows_that_differ_in_their_identifier_only_are_repetitions(tmp_path: Path):
    frame = pd.concat([a_frame(), a_frame().head(5)]).assign(key=np.arange(ROWS + 5))
    _, done = validated(
        tmp_path, frame, task={"target": "y", "id_columns": ["key"]}, validation={"duplicates": {"action": "drop"}}
    )
    assert done.output["rows"] == ROWS
    _, done = validated(tmp_path, frame, validation={"duplicates": {"action": "drop"}})
    assert done.output["rows"] == ROWS + 5


@pytest.mark.parametrize(("code", "values"), [
    ("rare_class", ["a"] * 30 + ["b"] * 29 + ["c"]), ("imbalanced", ["a"] * 59 + ["b"]),
    ("nearly_constant_target", [1.5] * 299 + [2.5]), ("absurd_target", [*np.linspace(0, 1, 299), 1e9]),
    ("target_infinite", [*np.linspace(0, 1, 299), np.inf]),
])  # fmt: skip
def test_targets_that_are_hard_to_learn_are_said(code: str, values: list[Any], tmp_path: Path):
    _, done = validated(tmp_path, a_frame().assign(y=(values * ROWS)[:ROWS]))
    assert code in codes(done)


def test_odd_values_of_the_target_are_located_in_the_ingested_table(tmp_path: Path):
    frame = a_frame().assign(y=[None, None, *np.linspace(0, 1, ROWS - 3), 1e9])
    ctx, _ = chain(make_context(tmp_path, {"task": {"target": "y"}}, table=frame), ("ingest", ingest.run))
    assert next(one for one in survey(ctx).findings if one.code == "absurd_target").rows == (ROWS - 1,)


def test_a_survey_refuses_nothing(tmp_path: Path):
    loose = {
        "task": {"target": "x", "type": "binary"},
        "validation": {"min_rows": 10_000, "columns": {"x": {"max": 0}}},
    }
    ctx, _ = chain(make_context(tmp_path, loose, table=a_frame()), ("ingest", ingest.run))
    seen = survey(ctx)
    assert (seen.target, len(seen.kept)) == (None, ROWS)
    assert {one.code for one in seen.findings if one.severity == "fail"} >= {
        "not_binary",
        "too_few_rows",
        "contract_broken",
    }
    assert set(seen.types) == {"color", "flag", "at", "y"}
    assert set(seen.profile["columns"]) == {"x", "color", "flag", "at", "y"}
    assert [one.severity for one in seen.findings] == sorted(
        (one.severity for one in seen.findings), key=["fail", "warn", "info"].index
    )


def test_a_survey_says_which_columns_are_not_there(tmp_path: Path):
    ctx, _ = chain(make_context(tmp_path, {"task": {"target": "y"}}, table=a_frame()), ("ingest", ingest.run))
    spec = {"task": {"target": "nothing"}, "validation": {"columns": {"nowhere": {"unique": True}}}}
    other = replace(ctx, spec=make_context(tmp_path, spec).spec)
    seen = survey(other)
    assert {one.column for one in seen.findings if one.code == "unknown_column"} == {"nothing", "nowhere"}
    assert seen.target is None
    assert list(seen.types) == ["x", "color", "flag", "at", "y"]


def test_a_type_that_most_values_refuse_is_one_failure_among_all(tmp_path: Path):
    error = refusal(
        tmp_path, a_frame(), data={"features": {"types": {"color": "numeric"}}}, validation={"min_rows": 1_000}
    )
    assert {fault.code for fault in error.violations} == {"type_mismatch", "too_few_rows"}

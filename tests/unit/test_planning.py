"""A plan names what each stage of a job would refuse, with the place in the spec that decides about it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.errors import InvalidData, InvalidSpec
from tests.learning import chain, make_context
from workers import planning
from workers.stages import ingest, split, train, transform, validate

ROWS = 300
STAGES = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
    ("train", train.run),
)  # fmt: skip


def a_frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({
        "age": random.normal(size=ROWS), "income": random.normal(size=ROWS), "town": random.choice(list("abcd"), ROWS),
        "w": 1.0, "late": [f"2024-01-{day:02d}" for day in np.arange(ROWS) % 28 + 1], "part_of": "train",
        "y": random.choice(["no", "yes"], ROWS), "count": random.integers(0, 90, ROWS), "kind": random.choice(list("pqr"), ROWS),
        "n": np.arange(ROWS), "early": ["a", "b"] * 50 + ["b"] * (ROWS - 100),
    })  # fmt: skip


FAULTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("transform", "bad_weight", "/task/weight_column", {"task": {"target": "y", "weight_column": "town"}}),
    ("train", "not_monotone", "/training/monotone/agee", {"training": {"monotone": {"agee": "increasing"}}}),
    ("train", "not_monotone", "/training/monotone/town", {"training": {"monotone": {"town": "increasing"}}}),
    ("train", "not_monotone", "/training/monotone",
     {"task": {"target": "kind"}, "training": {"monotone": {"age": "increasing"}}}),
    ("train", "invalid_params", "/training/params/loss", {"training": {"params": {"loss": "gamma"}}}),
    ("train", "invalid_params", "/tuning/space/loss",
     {"tuning": {"max_trials": 2, "space": {"loss": {"type": "categorical", "choices": ["auto", "gamma"]}}}}),
    ("train", "training_does_not_fit", "/training/class_weight",
     {"task": {"target": "age"}, "training": {"class_weight": "balanced"}}),
    ("train", "negative_target", "/training/objective",
     {"task": {"target": "age", "type": "regression"}, "training": {"objective": "poisson"}}),
    ("split", "empty_part", "/split/column", {"split": {"method": "predefined", "column": "part_of"}}),
    ("split", "bad_split_value", "/split/column", {"split": {"method": "predefined", "column": "town"}}),
    ("split", "not_a_time", "/task/time_column", {"task": {"target": "y", "time_column": "town"}}),
    ("split", "split_column_missing", "/split/column", {"split": {"method": "time"}}),
    ("split", "gap_needs_times", "/split/gap", {"split": {"gap": "1d"}}),
    ("split", "class_missing", "/split/method", {"split": {"method": "time", "column": "n"}, "task": {"target": "early"}}),
    ("split", "too_few_groups", "/task/group_column", {"task": {"target": "age", "group_column": "y"}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "code", "pointer", "spec"), FAULTS, ids=[f"{fault[1]} {fault[2]}" for fault in FAULTS]
)
def test_a_plan_names_what_a_stage_would_refuse_and_where(
    stage: str, code: str, pointer: str, spec: dict[str, Any], tmp_path: Path
):
    spec = {"task": {"target": "y"}, **spec}
    done = planning.run(make_context(tmp_path / "plan", spec, table=a_frame()))
    failing = [one for one in done.facts["plan"]["findings"] if one["severity"] == "fail"]
    assert [(one["stage"], one["code"], one["pointer"]) for one in failing] == [(stage, code, pointer)]
    with pytest.raises((InvalidData, InvalidSpec)) as refused:
        chain(make_context(tmp_path / "job", spec, table=a_frame()), *STAGES)
    assert refused.value.stable_code == code


def test_faults_of_several_stages_are_named_at_once(tmp_path: Path):
    spec = {
        "task": {"target": "y", "weight_column": "town"}, "training": {"monotone": {"agee": "increasing"}},
        "split": {"method": "predefined", "column": "part_of"},
    }  # fmt: skip
    plan = planning.run(make_context(tmp_path, spec, table=a_frame())).facts["plan"]
    found = {one["code"] for one in plan["findings"] if one["severity"] == "fail"}
    assert found == {"bad_weight", "not_monotone", "empty_part"}


@pytest.mark.parametrize(("column", "spec"), [
    ("w", {"task": {"target": "y", "weight_column": "w"}}), ("part_of", {"split": {"method": "predefined", "column": "part_of"}}),
])  # fmt: skip
def test_a_row_that_is_shown_is_counted_in_the_source(column: str, spec: dict[str, Any], tmp_path: Path):
    frame = a_frame().assign(part_of=np.resize(["train", "validation", "test"], ROWS))
    frame.loc[:9, "y"] = None
    frame.loc[40, column] = -1.0 if column == "w" else "nowhere"
    ctx = make_context(tmp_path, {"task": {"target": "y"}, **spec}, table=frame)
    with pytest.raises(InvalidData) as refused:
        chain(ctx, *STAGES)
    assert "(row 40)" in refused.value.detail

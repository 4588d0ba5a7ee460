"""Split decides once which rows train, steer and judge, and decides the same again for the same seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.errors import InvalidData
from tests.learning import chain, codes, make_context
from workers.context import Outcome
from workers.stages import ingest, split, validate

PARTS = ["train", "validation", "test"]


def a_frame(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame({"x": rng.normal(size=rows), "g": rng.integers(0, 40, rows), "n": np.arange(rows) * 3.7,
                         "t": pd.date_range("2024-01-01", periods=rows, freq="h")[rng.permutation(rows)],
                         "y": rng.choice(["a", "b"], rows)})  # fmt: skip


def divided(tmp_path: Path, frame: pd.DataFrame, **spec: Any) -> tuple[pd.DataFrame, Outcome]:
    """(row, part and the columns of the frame; the stage's outcome)."""
    spec = {"task": {"target": "y"}, "validation": {"leakage": {"action": "ignore"}, "min_rows": 5}, **spec}
    ctx = make_context(tmp_path, spec, table=frame)
    ctx, outcomes = chain(ctx, ("ingest", ingest.run), ("validate", validate.run), ("split", split.run))
    found = pd.read_parquet(ctx.workspace.get("split"))
    return found.join(frame.reset_index(drop=True), on="row"), outcomes["split"]


def refusal(tmp_path: Path, frame: pd.DataFrame, **spec: Any) -> str:
    with pytest.raises(InvalidData) as caught:
        divided(tmp_path, frame, **spec)
    return caught.value.stable_code


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"split": {"method": "random"}},
        {"split": {"method": "group", "column": "g"}},
        {"split": {"method": "time", "column": "t"}},
        {"split": {"method": "hash", "column": "n"}},
        {"task": {"target": "n"}},
    ],
)
def test_every_row_has_one_part_and_parts_are_as_large_as_asked(spec: dict[str, Any], tmp_path: Path):
    found, _ = divided(tmp_path, a_frame(), **spec)
    assert found["row"].tolist() == list(range(400))
    sizes = found["part"].value_counts(normalize=True)
    assert sizes[PARTS].to_numpy() == pytest.approx([0.7, 0.15, 0.15], abs=0.06)
    again, _ = divided(tmp_path, a_frame(), **spec)
    assert again["part"].tolist() == found["part"].tolist()


@pytest.mark.parametrize("method", ["stratified", "random", "hash"])
def test_another_seed_divides_otherwise(method: str, tmp_path: Path):
    by = {"column": "n"} if method == "hash" else {}
    one, two = (divided(tmp_path, a_frame(), split={"method": method, "seed": seed, **by})[0] for seed in (1, 2))
    assert one["part"].tolist() != two["part"].tolist()


def test_every_class_of_three_rows_stands_in_every_part(tmp_path: Path):
    frame = a_frame()
    frame["y"] = ["once"] + ["twice"] * 2 + ["thrice"] * 3 + ["rest"] * 200 + ["other"] * 194
    found, outcome = divided(tmp_path, frame)
    counts = pd.crosstab(found["y"], found["part"])
    assert (counts.loc[["thrice", "rest", "other"]] > 0).all().all()
    assert counts.loc["once", "train"] == 1
    assert "class_missing" in codes(outcome)
    shares = counts.loc[["rest", "other"], "test"] / 200
    assert shares.to_numpy() == pytest.approx(0.15, abs=0.02)


def test_a_hundred_small_classes_do_not_crash(tmp_path: Path):
    frame = a_frame()
    frame["y"] = [f"c{row % 100}" for row in range(400)]
    found, _ = divided(tmp_path, frame)
    assert set(found["part"]) == set(PARTS)


def test_groups_are_not_torn(tmp_path: Path):
    found, outcome = divided(tmp_path, a_frame(), task={"target": "y", "group_column": "g"})
    assert found.groupby("g")["part"].nunique().max() == 1
    assert outcome.output["method"] == "group"


def test_the_future_judges_the_past(tmp_path: Path):
    found, outcome = divided(tmp_path, a_frame(), task={"target": "y", "time_column": "t"})
    ends = found.groupby("part")["t"].agg(["min", "max"])
    assert ends.loc["train", "max"] < ends.loc["validation", "min"]
    assert ends.loc["validation", "max"] < ends.loc["test", "min"]
    assert outcome.output["method"] == "time"


def test_equal_times_stay_together(tmp_path: Path):
    frame = a_frame().assign(t=lambda table: table["t"].dt.floor("D"))
    found, _ = divided(tmp_path, frame, task={"target": "y", "time_column": "t"})
    assert found.groupby("t")["part"].nunique().max() == 1


def test_rows_within_the_gap_are_in_no_part(tmp_path: Path):
    found, outcome = divided(tmp_path, a_frame(), task={"target": "y", "time_column": "t"}, split={"gap": "5h"})
    ends = found.groupby("part")["t"].agg(["min", "max"])
    assert ends.loc["validation", "min"] - ends.loc["train", "max"] > pd.Timedelta("5h")
    assert ends.loc["test", "min"] - ends.loc["validation", "max"] > pd.Timedelta("5h")
    assert len(found) == 390
    assert "gap" in codes(outcome)


def test_the_callers_own_parts_are_kept(tmp_path: Path):
    frame = a_frame().assign(
        part_of=lambda table: np.where(table["x"] < -1, "Test", np.where(table["x"] > 1, "valid", "train"))
    )
    found, _ = divided(tmp_path, frame, split={"method": "predefined", "column": "part_of"})
    assert found["part"].tolist() == [
        {"Test": "test", "valid": "validation", "train": "train"}[word] for word in frame["part_of"]
    ]


def test_without_validation_rows_some_of_train_are_drawn(tmp_path: Path):
    frame = a_frame().assign(part_of=["train"] * 340 + ["test"] * 60)
    found, _ = divided(tmp_path, frame, split={"method": "predefined", "column": "part_of"})
    assert found["part"].value_counts().to_dict() == {"train": 280, "validation": 60, "test": 60}
    assert set(found["part"][340:]) == {"test"}


def test_validation_rows_that_are_drawn_are_whole_groups_and_no_repeated_rows(tmp_path: Path):
    frame = a_frame(300).assign(part_of=["train"] * 240 + ["test"] * 60)
    found, _ = divided(tmp_path, frame, split={"method": "predefined", "column": "part_of"},
                       task={"target": "y", "group_column": "g"})  # fmt: skip
    drawn = found[found["part"] != "test"]
    assert drawn[["g", "part"]].drop_duplicates()["g"].is_unique
    assert set(drawn["part"]) == {"train", "validation"}


def test_a_hash_does_not_move_a_row_when_others_come(tmp_path: Path):
    spec = {"split": {"method": "hash", "column": "n"}}
    small, _ = divided(tmp_path, a_frame(400).assign(y=["a", "b"] * 200), **spec)
    large, _ = divided(tmp_path, a_frame(800).assign(y=["a", "b"] * 400), **spec)
    assert large["part"].tolist()[:400] == small["part"].tolist()


@pytest.mark.parametrize(
    "spec",
    [
        {"split": {"method": "random"}},
        {"split": {"method": "predefined", "column": "part_of"}},
        {"task": {"target": "y", "group_column": "g"}},
        {"split": {"method": "predefined", "column": "part_of"}, "task": {"target": "y", "group_column": "g"}},
    ],
)
def test_rows_that_belong_together_are_told_for_later_divisions(spec: dict[str, Any], tmp_path: Path):
    frame = a_frame(200).assign(part_of=["train"] * 120 + ["validation"] * 40 + ["test"] * 40)
    frame = pd.concat([frame, frame[:50]], ignore_index=True)
    found, _ = divided(tmp_path, frame, **{"task": {"target": "y"}, **spec}, validation={
        "leakage": {"action": "ignore"}, "duplicates": {"action": "ignore"}, "min_rows": 5,
    })  # fmt: skip
    alike = "g" if "group_column" in spec.get("task", {}) else "x"
    assert found[[alike, "block"]].drop_duplicates()[alike].is_unique
    assert found["block"].duplicated().any()


@pytest.mark.parametrize("spec", [{}, {"split": {"method": "time", "column": "t"}}])
def test_where_every_row_is_alone_or_in_order_of_time_nothing_belongs_together(spec: dict[str, Any], tmp_path: Path):
    found, _ = divided(tmp_path, a_frame(), **spec)
    assert "block" not in found


@pytest.mark.parametrize(
    ("code", "spec"),
    [
        ("empty_part", {"split": {"method": "predefined", "column": "all_train"}}),
        ("bad_split_value", {"split": {"method": "predefined", "column": "y"}, "task": {"target": "g"}}),
        ("too_few_groups", {"split": {"method": "group", "column": "y"}, "task": {"target": "g"}}),
        ("split_column_missing", {"split": {"method": "time"}}),
        ("not_a_time", {"split": {"method": "time", "column": "y"}, "task": {"target": "g"}}),
        ("gap_needs_times", {"split": {"method": "time", "column": "n", "gap": "1d"}}),
        ("class_missing", {"split": {"method": "time", "column": "n"}, "task": {"target": "early"}}),
    ],
)
def test_a_division_that_could_not_judge_is_refused(code: str, spec: dict[str, Any], tmp_path: Path):
    frame = a_frame().assign(all_train="train", early=["a", "b"] * 50 + ["b"] * 300)
    assert refusal(tmp_path, frame, **spec) == code

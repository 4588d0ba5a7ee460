"""Drift is seen where it is, missing values included, and nowhere else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.spec.data import Drift
from tests.learning import DATASET_ID, FolderWorkspace, as_file, chain, make_context
from workers.context import Champion, Context, DatasetRef
from workers.quality import chance, profile
from workers.quality.findings import Finding
from workers.quality.reference import Reference, some
from workers.quality.stability import Judge
from workers.quality.survey import Survey, survey
from workers.stages import ingest, validate
from workers.table.canonical import canonical

METHODS = ["auto", "psi", "js", "ks", "wasserstein", "chi2"]


def a_frame(rows: int, seed: int) -> pd.DataFrame:
    """Heavy tails, ties, rare categories, missing values."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "tail": rng.standard_cauchy(rows), "zeros": np.where(rng.random(rows) < 0.9, 0, rng.normal(size=rows)),
        "coin": rng.integers(0, 2, rows), "gaps": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)),
        "color": rng.choice(["red", "green", "blue", "mauve"], rows, p=[0.6, 0.3, 0.099, 0.001]),
        "many": [f"m{value}" for value in rng.integers(0, 1_000, rows)],
        "flag": rng.random(rows) > 0.3,
        "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, rows), unit="s"),
    })  # fmt: skip


def table_of(frame: pd.DataFrame) -> pa.Table:
    return canonical(pa.Table.from_pandas(frame, preserve_index=False))


def kinds_of(table: pa.Table) -> dict[str, str]:
    found = {name: profile.look(table.column(name)).kind for name in table.column_names}
    return {name: "categorical" if kind == "text" else kind for name, kind in found.items()}


def compared(
    now: pd.DataFrame, then: pd.DataFrame, *, rows: bool = True, **spec: Any
) -> tuple[dict[str, Any], list[Finding]]:
    """What a judge says of `now`, whose reference is `then`; without `rows`, only its profile is kept."""
    today, before = table_of(now), table_of(then)
    kinds = kinds_of(today)
    described = profile.profile(before, kinds_of(before))
    described = json.loads(json.dumps(described, allow_nan=False))
    past = Reference("champion", described, (lambda names, most, rng: before.select(list(names)).take(
        pa.array(some(before.num_rows, most, rng)))) if rows else None)  # fmt: skip
    judge = Judge(past, dict(kinds), Drift(**spec), seed=3)
    for name in today.column_names:
        judge.look(name, profile.look(today.column(name), kinds[name]))
    return judge.verdict(today, {})


def named(found: list[Finding], code: str = "drift") -> set[str | None]:
    return {one.column for one in found if one.code == code}


@pytest.mark.parametrize("rows", [60, 200, 3_000])
def test_two_samples_of_one_table_hardly_ever_raise_an_alarm(rows: int):
    alarms = 0
    for seed in range(12):
        frame = a_frame(2 * rows, seed)
        said, found = compared(frame[:rows], frame[rows:], joint=seed % 4 == 0)
        alarms += bool(found)
        assert len(said["columns"]) == frame.shape[1]
    assert alarms <= 1


def test_a_small_sample_beside_a_large_one_raises_no_alarm_either():
    for seed in range(6):
        frame = a_frame(20_100, seed)
        assert not compared(frame[:100], frame[100:])[1]
        assert not compared(frame[100:], frame[:100])[1]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_sees_shifts_new_categories_and_missing_values(method: str):
    then, now = a_frame(3_000, 1), a_frame(3_000, 5)
    now["tail"] += 2.0
    now["color"] = np.random.default_rng(3).choice(["red", "green", "pink"], 3_000, p=[0.3, 0.3, 0.4])
    now["flag"] = now["flag"].astype(object).where(now.index > 1_500)
    now["coin"] = (np.random.default_rng(4).random(3_000) < 0.9).astype(int)
    said, found = compared(now, then, method=method, joint=False)
    assert named(found) == {"tail", "color", "flag", "coin"}
    assert {one["column"]: one["drifted"] for one in said["columns"]}["at"] is False
    assert all(0 <= one["p_value"] <= 1 and one["value"] >= 0 for one in said["columns"])


def test_new_and_vanished_categories_are_named_with_their_shares():
    then, now = a_frame(2_000, 1), a_frame(2_000, 2)
    now["color"] = now["color"].replace({"blue": "pink"})
    said, found = compared(now, then, joint=False)
    moved = next(one for one in said["columns"] if one["column"] == "color")
    assert moved["new"]["pink"] == pytest.approx(0.1, abs=0.02)
    assert moved["vanished"]["blue"] == pytest.approx(0.1, abs=0.02)
    assert "new: 'pink'" in next(one.message for one in found if one.column == "color")


@pytest.mark.parametrize("column", ["tail", "color", "flag", "at", "many"])
def test_a_column_that_went_empty_has_drifted_and_so_has_one_that_was(column: str):
    full, empty = a_frame(500, 1), a_frame(500, 2).assign(**{column: None})
    assert named(compared(empty, full)[1]) == {column}
    assert named(compared(full, empty)[1]) == {column}
    assert not named(compared(empty, a_frame(500, 3).assign(**{column: None}))[1])


def test_columns_that_come_go_or_change_their_kind_are_findings():
    then = a_frame(500, 1).drop(columns="coin")
    now = a_frame(500, 2).drop(columns="flag").assign(tail=[f"w{row % 5}" for row in range(500)])
    _, found = compared(now, then)
    assert named(found, "drift_column_missing") == {"flag"}
    assert named(found, "drift_column_new") == {"coin"}
    assert named(found, "drift_column_type") == {"tail"}
    assert {one.severity for one in found if one.code == "drift_column_new"} == {"info"}


def test_relations_that_break_are_seen_by_the_classifier_only():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6_000, 2))
    then = pd.DataFrame({"a": x[:3_000, 0], "b": x[:3_000, 0] + 0.3 * x[:3_000, 1]})
    now = pd.DataFrame({"a": x[3_000:, 0], "b": -x[3_000:, 0] + 0.3 * x[3_000:, 1]})
    said, found = compared(now, then)
    assert (named(found), named(found, "joint_drift")) == (set(), {None})
    assert said["joint"]["auc"] > 0.8
    assert set(said["joint"]["columns"]) == {"a", "b"}
    assert not compared(now, then, joint=False)[1]


def test_without_the_rows_of_the_reference_that_is_said():
    said, found = compared(a_frame(500, 1), a_frame(500, 2), rows=False)
    assert said["joint"] is None
    assert [(one.code, one.severity) for one in found] == [("joint_drift_not_judged", "info")]


def test_a_trifle_in_a_large_table_is_measured_but_no_alarm():
    rng = np.random.default_rng(6)
    then, now = pd.DataFrame({"x": rng.normal(size=200_000)}), pd.DataFrame({"x": rng.normal(0.03, 1, 200_000)})
    said, found = compared(now, then, joint=False)
    assert not found
    assert said["columns"][0]["p_adjusted"] < 1e-6
    assert named(compared(now, then, joint=False, threshold=0.005)[1]) == {"x"}


def test_both_histograms_count_every_row_over_the_same_cells():
    then, now = a_frame(700, 1), a_frame(300, 2)
    for one in compared(now, then)[0]["columns"]:
        shown = one["histogram"]
        assert (sum(shown["now"]), sum(shown["then"])) == (300, 700)
        assert len(shown["now"]) == len(shown["then"])


def test_p_values_are_spread_evenly_where_nothing_drifted():
    rng = np.random.default_rng(7)
    shares = np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.02])
    p = np.array([chance.of_counts(rng.multinomial(150, shares) * 1.0, rng.multinomial(2_000, shares) * 1.0, ordered=False,
                                   rng=rng) for _ in range(400)])  # fmt: skip
    assert (p < 0.01).mean() < 0.03
    assert 0.02 < (p < 0.1).mean() < 0.17


def test_correction_for_many_columns_follows_benjamini_and_hochberg():
    assert chance.adjusted(np.array([0.01, 0.5, 0.02, 0.04])).tolist() == pytest.approx([0.04, 0.5, 0.04, 0.16 / 3])
    assert chance.adjusted(np.array([])).tolist() == []


def surveyed(folder: Path, frame: pd.DataFrame, drift: dict[str, Any], **given: Any) -> tuple[Context, Survey]:
    spec = {"task": {"target": "y"}, "validation": {"drift": drift, "leakage": {"action": "ignore"}}}
    ctx, _ = chain(make_context(folder, spec, table=frame, **given), ("ingest", ingest.run))
    return ctx, survey(ctx)


def with_target(rows: int, seed: int) -> pd.DataFrame:
    return a_frame(rows, seed).assign(y=np.random.default_rng(seed).choice(["no", "yes"], rows))


@pytest.fixture
def version(tmp_path: Path) -> Champion:
    ctx, _ = chain(make_context(tmp_path, {"task": {"target": "y"}}, table=with_target(1_000, 1)), ("ingest", ingest.run),
                   ("validate", validate.run))  # fmt: skip
    assert isinstance(ctx.workspace, FolderWorkspace)
    return Champion("test-model", 3, "job_old", dict(ctx.workspace.artifacts), {})


@pytest.mark.parametrize("reference", ["champion", "version:3"])
def test_a_version_is_compared_with_by_its_profile_and_its_rows(reference: str, version: Champion, tmp_path: Path):
    moved = with_target(1_000, 2).assign(tail=lambda frame: frame["tail"] + 3)
    _, seen = surveyed(tmp_path, moved, {"reference": reference}, reference=version)
    assert seen.drift is not None
    assert seen.drift["joint"]["rows"] == (1_000, 1_000)
    assert named(seen.findings) == {"tail"}
    _, same = surveyed(tmp_path, with_target(1_000, 4), {"reference": reference}, reference=version)
    assert not [one for one in same.findings if "drift" in one.code]


def test_the_target_is_compared_too(version: Champion, tmp_path: Path):
    now = with_target(1_000, 2).assign(y=["yes"] * 900 + ["no"] * 100)
    assert named(surveyed(tmp_path, now, {}, reference=version)[1].findings) == {"y"}


def test_a_data_set_can_be_the_reference(tmp_path: Path):
    (tmp_path / "other").mkdir()
    workspace = FolderWorkspace(tmp_path)
    path = as_file(with_target(800, 1), tmp_path / "other", "before.parquet")
    before = DatasetRef("ds_11111111", workspace.keep(path), "parquet", "before.parquet")
    moved = with_target(800, 2).assign(coin=1)
    ctx = make_context(tmp_path, {"task": {"target": "y"}, "validation": {"drift": {"reference": "dataset:ds_11111111"}}},
                       table=moved, datasets={"ds_11111111": before})  # fmt: skip
    ctx, _ = chain(ctx, ("ingest", ingest.run))
    assert DATASET_ID in ctx.datasets
    seen = survey(ctx)
    assert "coin" in named(seen.findings) | named(seen.findings, "drift_column_missing")


@pytest.mark.parametrize("reference", ["version:9", "dataset:ds_99999999"])
def test_a_reference_that_is_not_there_is_a_warning(reference: str, version: Champion, tmp_path: Path):
    _, seen = surveyed(tmp_path, with_target(300, 1), {"reference": reference}, reference=version)
    assert {one.severity for one in seen.findings if one.code == "no_drift_reference"} == {"warn"}
    assert seen.drift is None


@pytest.mark.parametrize(("most", "severity"), [(0.5, "warn"), (0.1, "fail"), (0.0, "fail")])
def test_drift_fails_only_beyond_the_share_that_is_allowed(
    most: float, severity: str, version: Champion, tmp_path: Path
):
    now = with_target(1_000, 2).assign(tail=lambda frame: frame["tail"] + 3, zeros=1.0)
    _, seen = surveyed(tmp_path, now, {"action": "fail", "max_drifted_share": most}, reference=version)
    assert {one.severity for one in seen.findings if one.code == "drift"} == {severity}


def test_a_reference_of_kept_rows_only_is_sampled_from_those(version: Champion, tmp_path: Path):
    workspace = FolderWorkspace(tmp_path)
    path = tmp_path / "kept.parquet"
    pq.write_table(pa.table({"row": np.arange(100)}), path)
    fewer = Champion("test-model", 3, "job_old", {**version.artifacts, "kept": workspace.keep(path)}, {})
    _, seen = surveyed(tmp_path, with_target(1_000, 2), {}, reference=fewer)
    assert seen.drift is not None
    assert seen.drift["joint"]["rows"] == (1_000, 100)


def test_the_end_of_a_table_that_changes_over_time_is_told_from_its_beginning():
    rng, rows = np.random.default_rng(9), 5_000
    time = np.linspace(0, 1, rows)
    frame = pd.DataFrame({
        "price": 0.05 + 0.05 * time + rng.normal(0, 0.02, rows), "transfer": np.where(time < 0.6, 0.4, rng.uniform(0.2, 0.7, rows)),
        "demand": rng.normal(0, 1, rows), "hour": rng.integers(0, 24, rows),
        "carrier": np.where(rng.random(rows) < 0.3 * time, "new", rng.choice(["a", "b"], rows)),
    })  # fmt: skip
    said, found = compared(frame[4_000:], frame[:4_000])
    assert named(found) == {"price", "transfer", "carrier"}
    assert {"price", "transfer"} <= set(said["joint"]["columns"])

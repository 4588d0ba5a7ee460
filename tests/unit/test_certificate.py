"""What a split promises is measured on its parts; rows that judged a version never train a later one."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from app.errors import InvalidData, MachineError
from tests.learning import codes, make_context
from workers.context import Blob, Context, Done
from workers.division import certificate, tested
from workers.division.certificate import Divided
from workers.stages import split
from workers.table import snapshot
from workers.table.canonical import canonical

TASKS = {"binary": ["a", "b"], "regression": []}


def divided(
    folder: Path,
    frame: pd.DataFrame,
    *,
    past: Sequence[Blob] = (),
    target: str = "y",
    kind: str = "binary",
    **spec: Any,
) -> tuple[pd.DataFrame, Done, Context]:
    """(the frame's rows with their part, the stage's outcome, its context), without the stages before."""
    task = {"target": target, **spec.pop("task", {})}
    ctx = make_context(folder, {"task": task, **spec}, table=b"a\n1\n")
    snapshot.write(canonical(pa.Table.from_pandas(frame, preserve_index=False)), folder / "snapshot.parquet")
    pq.write_table(pa.table({"row": np.arange(len(frame))}), folder / "kept.parquet")
    for name in ("snapshot", "kept"):
        ctx.workspace.put(name, folder / f"{name}.parquet")
    ctx = replace(ctx, outputs={"validate": {"task_type": kind, "classes": TASKS[kind]}}, tested=tuple(past))
    outcome = split.run(ctx)
    found = pq.read_table(ctx.workspace.get("split")).to_pandas()
    return found.join(frame.reset_index(drop=True), on="row"), outcome, ctx


def a_table(rows: int, *, seed: int = 3, start: int = 0) -> pd.DataFrame:
    """Rows with ids, groups, times, few values (so that rows repeat) and two classes."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "id": np.arange(start, start + rows), "x": rng.integers(0, 30, rows), "z": rng.choice(["u", "v", None], rows),
        "group": rng.integers(0, max(4, rows // 8), rows), "y": rng.choice(["a", "b"], rows, p=[0.8, 0.2]),
        "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, rows), unit="s"),
    })  # fmt: skip


WAYS: dict[str, dict[str, Any]] = {
    "random": {"split": {"method": "random"}},
    "stratified": {"split": {"method": "stratified"}},
    "group": {"task": {"group_column": "group"}, "split": {"method": "group"}},
    "hash of an id": {"split": {"method": "hash"}},
    "hash of a column": {"split": {"method": "hash", "column": "group"}},
    "hash of everything": {"split": {"method": "hash"}, "task": {"id_columns": []}},
    "time": {"split": {"method": "time", "column": "at"}},
    "time with a gap": {"split": {"method": "time", "column": "at", "gap": "3h"}},
    "time and group": {"task": {"time_column": "at", "group_column": "group"}},
    "time, group and gap": {"task": {"time_column": "at", "group_column": "group"}, "split": {"gap": "2h"}},
    "numbers by quantile": {"target": "x", "kind": "regression"},
}


def with_ids(way: dict[str, Any]) -> dict[str, Any]:
    return {**way, "task": {"id_columns": ["id"], **way.get("task", {})}}


@pytest.mark.parametrize("way", WAYS)
@given(rows=st.integers(20, 300), seed=st.integers(0, 10_000), copies=st.floats(0, 0.9))
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_the_certificate_holds_for_any_table(way: str, rows: int, seed: int, copies: float):
    frame = a_table(rows, seed=seed)
    rng = np.random.default_rng(seed)
    again = rng.random(rows) < copies
    sources = rng.integers(0, max(1, rows // 4), rows)
    frame = frame.drop(columns="id") if way == "hash of everything" else frame
    for name in frame.columns.drop("id", errors="ignore"):
        frame[name] = frame[name].where(~again, frame[name].iloc[sources].to_numpy())
    with TemporaryDirectory() as folder:
        try:
            found, outcome, _ = divided(Path(folder), frame, **with_ids(WAYS[way]))
        except InvalidData:
            reject()
        said = outcome.output["certificate"]
    assert said["rows"] == found["part"].value_counts().reindex(["train", "validation", "test"]).to_dict()
    content = found.drop(columns=["id", "row", "part"], errors="ignore").map(repr).agg("|".join, axis=1)
    crossing = found.groupby(content)["part"].transform("nunique").gt(1).sum()
    assert said["duplicates_crossing"] == crossing
    if way in {"random", "stratified", "group", "hash of everything", "numbers by quantile"}:
        assert crossing == 0
    if "group" in way:
        assert found.groupby("group")["part"].nunique().max() == 1
    if "time" in way:
        ends = found.groupby("part")["at"].agg(["min", "max"]).loc[["train", "validation", "test"]]
        gap = pd.Timedelta({"time with a gap": "3h", "time, group and gap": "2h"}.get(way, "0h"))
        assert (ends["min"].to_numpy()[1:] - ends["max"].to_numpy()[:-1] > gap).all()
        assert said["gaps"]["train_to_validation"] > gap.total_seconds()


def parts_of(table: pd.DataFrame, folder: Path, part: Sequence[int]) -> Divided:
    snapshot.write(canonical(pa.Table.from_pandas(table, preserve_index=False)), folder / "table.parquet")
    return Divided(folder / "table.parquet", np.arange(len(table)), np.asarray(part, dtype=np.int8))


def test_a_broken_promise_is_seen_and_raised(tmp_path: Path):
    table = pd.DataFrame({"x": [1.0, -0.0, 0.0, None, None, 2.0], "t": ["a", "b", "b", None, None, "a"],
                          "at": pd.date_range("2024-01-01", periods=6, freq="D")})  # fmt: skip
    wrong = parts_of(table, tmp_path, [0, 1, 2, 0, 2, 1])
    assert certificate.duplicates_crossing(wrong, ["x", "t"]) == 4
    assert certificate.duplicates_crossing(wrong, ["x", "t", "at"]) == 0
    assert certificate.groups_crossing(wrong, "t") == 3
    assert certificate.order(wrong, "at")["future_crossing"] == 4
    right = parts_of(table, tmp_path, [0, 0, 0, 1, 1, 2])
    assert certificate.duplicates_crossing(right, ["x", "t"]) == 0
    assert certificate.order(right, "at") == {
        "future_crossing": 0, "gaps": {"train_to_validation": 86_400.0, "validation_to_test": 86_400.0},
        "times": {"train": ["2024-01-01T00:00:00.000000", "2024-01-03T00:00:00.000000"],
                  "validation": ["2024-01-04T00:00:00.000000", "2024-01-05T00:00:00.000000"],
                  "test": ["2024-01-06T00:00:00.000000", "2024-01-06T00:00:00.000000"]},
    }  # fmt: skip
    with pytest.raises(MachineError) as raised:
        certificate.require({"groups_crossing": 3}, ["groups_crossing"])
    assert raised.value.stable_code == "split_promise_broken"


def test_equal_rows_stay_together_and_classes_keep_their_balance(tmp_path: Path):
    frame = pd.concat([a_table(300).drop(columns=["at", "group"])] * 4, ignore_index=True).assign(id=range(1200))
    found, outcome, _ = divided(tmp_path, frame, task={"id_columns": ["id"]})
    said = outcome.output["certificate"]
    assert said["duplicates_crossing"] == 0
    assert "duplicates_crossing" in said["promised"]
    shares = found.groupby("part")["y"].apply(lambda y: (y == "b").mean())
    assert shares.to_numpy() == pytest.approx((frame["y"] == "b").mean(), abs=0.02)
    assert [said["shares"][part]["got"] for part in ("train", "validation", "test")] == pytest.approx(
        [0.7, 0.15, 0.15], abs=0.01
    )


def test_where_most_rows_repeat_a_person_is_told(tmp_path: Path):
    for place, (frame, told) in enumerate([(a_table(400)[["x", "z", "y"]], True), (a_table(400), False)]):
        (tmp_path / str(place)).mkdir()
        _, outcome, _ = divided(tmp_path / str(place), frame)
        assert ("rows_repeat" in codes(outcome)) == told


def test_a_row_equal_to_everything_does_not_empty_a_part(tmp_path: Path):
    frame = a_table(40).assign(x=1, z="u", group=1, at=pd.Timestamp("2024-01-01"))
    frame.loc[30:, "x"] = range(10)
    frame["y"] = ["a"] * 30 + ["b"] * 4 + ["a"] * 6
    found, outcome, _ = divided(tmp_path, frame, task={"id_columns": ["id"]}, split={"method": "stratified"})
    assert set(found["part"]) == {"train", "validation", "test"}
    assert outcome.output["certificate"]["duplicates_crossing"] == 0


@pytest.mark.parametrize("way", ["hash of an id", "hash of a column", "hash of everything"])
def test_the_order_of_the_rows_does_not_matter_to_a_hash(way: str, tmp_path: Path):
    frame = a_table(300)
    shuffled = frame.sample(frac=1.0, random_state=1)
    found = []
    for place, table in enumerate((frame, shuffled, shuffled.assign(id=shuffled["id"].astype(str) + ".0"))):
        (tmp_path / str(place)).mkdir()
        rows, _, _ = divided(tmp_path / str(place), table, **with_ids(WAYS[way]))
        found.append(rows.assign(id=rows["id"].astype(float)).set_index("id")["part"].sort_index())
    pd.testing.assert_series_equal(found[0], found[1])
    if way != "hash of everything":
        pd.testing.assert_series_equal(found[0], found[2])


def test_groups_in_time_keep_most_rows_and_come_near_to_their_shares(tmp_path: Path):
    frame = a_table(2_000)
    day = (frame["at"] - frame["at"].min()).dt.total_seconds() // 20_000
    frame["group"] = day * 10 + frame["x"] % 10
    found, outcome, _ = divided(tmp_path, frame, task={"time_column": "at", "group_column": "group"})
    said = outcome.output["certificate"]
    assert said["method"] == "time_and_group"
    assert (said["groups_crossing"], said["future_crossing"]) == (0, 0)
    assert len(found) > 0.95 * len(frame)
    assert said["dropped"] == ({"group_or_gap": 2_000 - len(found)} if len(found) < 2_000 else {})
    assert said["shares"]["train"]["got"] == pytest.approx(0.7, abs=0.03)
    assert said["shares"]["test"]["got"] == pytest.approx(0.15, abs=0.03)


def test_groups_that_live_through_everything_still_fill_three_parts(tmp_path: Path):
    found, outcome, _ = divided(
        tmp_path, a_table(2_000).assign(group=lambda table: table["x"] % 12),
        task={"time_column": "at", "group_column": "group"},
    )  # fmt: skip
    assert codes(outcome) == {"group_time_dropped"}
    assert found.groupby("group")["part"].nunique().max() == 1
    shares = found["part"].value_counts(normalize=True)
    assert shares[["train", "validation", "test"]].to_numpy() == pytest.approx([0.7, 0.15, 0.15], abs=0.07)


def versions(folder: Path, tables: Sequence[pd.DataFrame], ways: Sequence[dict[str, Any]]) -> list[tuple[Any, Done]]:
    """The splits of one version after the other, each told what the earlier ones were tested on."""
    past: list[Blob] = []
    found = []
    for place, (table, way) in enumerate(zip(tables, ways, strict=True)):
        (folder / str(place)).mkdir()
        blobs = []
        for number, (earlier, blob) in enumerate(past):
            (folder / str(place) / f"{number}").write_bytes(earlier)
            blobs.append((folder / str(place) / f"{number}", blob))
            (folder / str(place) / blob.digest.removeprefix("sha256:")).write_bytes(earlier)
        rows, outcome, ctx = divided(folder / str(place), table, past=[blob for _, blob in blobs], **with_ids(way))
        path = ctx.workspace.get("tested")
        past.append((path.read_bytes(), Blob("sha256:" + path.name, path.stat().st_size)))
        found.append((rows, outcome))
    return found


@pytest.mark.parametrize("way", ["random", "stratified", "group", "hash of an id", "hash of a column"])
def test_a_row_once_tested_on_is_never_trained_on(way: str, tmp_path: Path):
    table = a_table(1_800)
    tables = [table[:600], table[:1_200], table.assign(id=table["id"].astype(float)).sample(frac=1.0, random_state=2),
              table.assign(id=table["id"].map("{:05d}".format))]  # fmt: skip
    ways = [{**WAYS[way], "split": {**WAYS[way]["split"], "seed": seed}} for seed in range(4)]
    judged: set[int] = set()
    for rows, outcome in versions(tmp_path, tables, ways):
        ids = rows["id"].astype(float).astype(int)
        assert not judged & set(ids[rows["part"] != "test"])
        said = outcome.output["certificate"]["tested"]
        assert said["held"]
        assert said["frozen"] == len(judged)
        judged |= set(ids[rows["part"] == "test"])
        assert (rows["part"] == "test").mean() == pytest.approx(0.15, abs=0.06)


@pytest.mark.parametrize("way", ["time", "time and group"])
def test_in_time_rows_once_tested_on_are_left_out(way: str, tmp_path: Path):
    table = a_table(1_200).sort_values("at", ignore_index=True)
    found = versions(tmp_path, [table[:600], table], [WAYS[way]] * 2)
    judged = set(found[0][0].query("part == 'test'")["id"])
    rows, outcome = found[1]
    assert not judged & set(rows.query("part != 'test'")["id"])
    assert "tested_rows_left_out" in codes(outcome)
    assert outcome.output["certificate"]["dropped"]["tested"] <= len(judged)


def test_the_callers_own_parts_lose_rows_once_tested_on(tmp_path: Path):
    table = a_table(400).assign(part_of=["train"] * 280 + ["validation"] * 60 + ["test"] * 60)
    other = table.assign(part_of=["test"] * 60 + ["validation"] * 60 + ["train"] * 280)
    way = {"split": {"method": "predefined", "column": "part_of"}}
    rows, outcome = versions(tmp_path, [table, other], [way] * 2)[1]
    assert outcome.output["certificate"]["dropped"] == {"tested": 60}
    assert codes(outcome) == {"tested_rows_left_out"}
    assert len(rows) == 340


def test_equal_rows_in_the_callers_own_parts_are_counted(tmp_path: Path):
    table = a_table(400)
    table = pd.concat([table, table[:30].assign(id=range(900, 930))], ignore_index=True)
    table["part_of"] = ["train"] * 280 + ["validation"] * 60 + ["test"] * 90
    _, outcome, _ = divided(
        tmp_path, table, task={"id_columns": ["id", "part_of"]}, split={"method": "predefined", "column": "part_of"}
    )
    assert outcome.output["certificate"]["duplicates_crossing"] == 60
    assert "duplicates_cross" in codes(outcome)


def test_a_caller_may_allow_it_and_without_ids_it_cannot_be_held(tmp_path: Path):
    for place, (task, way, note) in enumerate([
        ({"id_columns": ["id"]}, {"tested_rows": "allow"}, "allow"), ({}, {}, "id_columns"),
        ({"id_columns": ["z"]}, {}, "identify"),
    ]):  # fmt: skip
        (tmp_path / str(place)).mkdir()
        _, outcome, ctx = divided(tmp_path / str(place), a_table(300), task=task, split=way)
        said = outcome.output["certificate"]["tested"]
        assert not said["held"]
        assert note in said["note"]
        assert ("ids_repeat" in codes(outcome)) == (task.get("id_columns") == ["z"])
        with pytest.raises(KeyError):
            ctx.workspace.get("tested")


def test_keys_do_not_depend_on_the_type_of_an_id():
    spellings = [
        pa.array([7, -12, 0, None, 2**53 + 1], pa.int64()),
        pa.array(["7", " -12", "000", None, str(2**53 + 1)], pa.large_string()),
        pa.array(["7.0", "-012", "+0", None, str(2**53 + 1)], pa.large_string()),
    ]
    found = [tested.keys(pa.table({"id": column}))[0].tolist() for column in spellings]
    assert found[0] == found[1] == found[2]
    real = tested.keys(pa.table({"id": pa.array([7.0, -12.0, -0.0, None, 1.5])}))[0].tolist()
    assert real[:4] == found[0][:4]
    assert tested.keys(pa.table({"id": pa.array(["1.50"], pa.large_string())}))[0].tolist() == real[4:]
    words = tested.keys(pa.table({"id": pa.array(["a", "b", "a7", "7a"], pa.large_string())}))[0]
    assert len(set(words.tolist()) | set(found[0])) == 9
    both = pa.table({"one": [1, 2], "two": [2, 1]})
    assert tested.keys(both)[0].tolist() == tested.keys(both.select(["two", "one"]))[0].tolist()
    assert len(set(tested.keys(both)[0].tolist())) == 2


def test_the_certificate_is_an_artifact_and_says_what_was_asked_and_got(tmp_path: Path):
    _, outcome, ctx = divided(tmp_path, a_table(400), split={"seed": 9})
    said = json.loads(ctx.workspace.get("certificate").read_text())
    assert said == outcome.output["certificate"]
    assert (said["method"], said["seed"]) == ("stratified", 9)
    assert said["shares"]["test"] == {"asked": 0.15, "got": 0.15}
    assert said["labels"]["test"]["a"] == pytest.approx(said["labels"]["train"]["a"], abs=0.01)
    _, outcome, _ = divided(tmp_path, a_table(400), target="x", kind="regression")
    labels = outcome.output["certificate"]["labels"]
    assert set(labels["train"]) == {"mean", "q0", "q25", "q50", "q75", "q100"}
    assert labels["test"]["q50"] == pytest.approx(labels["train"]["q50"], abs=3)


def test_a_gap_without_a_column_of_times_is_refused(tmp_path: Path):
    with pytest.raises(InvalidData) as refused:
        divided(tmp_path, a_table(100), split={"gap": "1d"})
    assert refused.value.stable_code == "gap_needs_times"

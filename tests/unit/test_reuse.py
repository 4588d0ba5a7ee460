"""A stage reads nothing that its key does not hold, so that equal keys always mean equal work."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from tests.learning import FolderWorkspace, chain, make_context
from workers import reuse
from workers.context import Blob, Champion, Context
from workers.pipeline import STAGES
from workers.reuse import READS, key_of

WITHOUT_EFFECT = {"resources"}
"""What limits the work and never changes its outcome."""


class Watched:
    """A part of a spec that notes which paths are read; a path of the stage's list is handed out as it is."""

    def __init__(self, part: BaseModel, path: str, known: tuple[str, ...], strange: set[str]) -> None:
        self.__dict__.update(part=part, path=path, known=known, strange=strange)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.part, name)
        path = f"{self.path}.{name}".lstrip(".")
        if name.startswith("_") or path in self.known or path.split(".")[0] in WITHOUT_EFFECT:
            return value
        if isinstance(value, BaseModel):
            return Watched(value, path, self.known, self.strange)
        self.strange.add(path)
        return value


class WatchedWorkspace(FolderWorkspace):
    """A workspace that notes which artifacts are read."""

    def __init__(self, inner: FolderWorkspace) -> None:
        super().__init__(inner.folder)
        self.artifacts, self.read, self.own = dict(inner.artifacts), set[str](), set[str]()

    def get(self, name: str) -> Path:
        self.read |= {name} - self.own
        return super().get(name)

    def put(self, name: str, path: Path, media_type: str = "application/octet-stream") -> Blob:
        self.own.add(name)
        return super().put(name, path, media_type)


class WatchedOutputs(dict[str, Any]):
    """Outputs that note whose are read."""

    def __init__(self, given: Any) -> None:
        super().__init__(given)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def a_table(rows: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({
        "id": [f"k{row}" for row in range(rows)], "a": random.normal(size=rows), "kind": random.choice(list("xyz"), rows),
        "at": pd.date_range("2024-01-01", periods=rows, freq="h"), "group": random.integers(0, 60, rows),
        "weight": random.uniform(0.5, 1, rows), "note": [f"some words of row {row} here" for row in range(rows)],
        "y": random.integers(0, 2, rows),
    })  # fmt: skip


ROADS = {
    "plain": {},
    "grouped in time": {"task": {"target": "y", "group_column": "group", "time_column": "at"}, "split": {"gap": "1h"}},
    "with keys and weights": {"task": {"target": "y", "id_columns": ["id"], "weight_column": "weight"}},
    "told everything": {
        "data": {"features": {"types": {"kind": "categorical"}, "exclude": ["note"], "columns": {"b": "a * 2"}}},
        "validation": {"columns": {"a": {"type": "float"}}, "class_share": {"1": {"min": 0.1}}},
        "transform": {"columns": {"kind": {"encode": "target"}}}, "training": {"algorithm": "linear"},
    },
    "by hash": {"split": {"method": "hash", "column": "id"}},
}  # fmt: skip


def prepared(tmp_path: Path, road: dict[str, Any]) -> Iterator[tuple[str, Context]]:
    """(stage, what it gets) for each stage that can be taken over."""
    ctx = make_context(tmp_path, {"task": {"target": "y"}, **road}, table=a_table())
    for name in READS:
        yield name, ctx
        ctx, _ = chain(ctx, (name, STAGES[name].run))


@pytest.mark.parametrize("road", ROADS.values(), ids=list(ROADS))
def test_a_stage_reads_only_what_its_key_holds(tmp_path, road):
    for name, ctx in prepared(tmp_path, road):
        strange: set[str] = set()
        reads = READS[name]
        workspace, outputs = WatchedWorkspace(ctx.workspace), WatchedOutputs(ctx.outputs)
        spec = Watched(ctx.spec, "", reads.spec, strange)
        STAGES[name].run(replace(ctx, spec=spec, workspace=workspace, outputs=outputs))
        assert strange == set(), name
        assert workspace.read <= set(reads.artifacts), name
        assert outputs.read <= set(reads.outputs), name


def keys(tmp_path: Path, **parts: Any) -> dict[str, str | None]:
    return {name: key_of(name, ctx).value for name, ctx in prepared(tmp_path, parts)}


def test_what_comes_after_the_preparation_changes_no_key(tmp_path):
    before = keys(tmp_path / "a")
    later = keys(tmp_path / "b", tuning={"strategy": "random", "max_trials": 3}, labels={"team": "ops"},
                 gate={"rules": [{"metric": "roc_auc", "min": 0.1}]}, resources={"priority": 9})  # fmt: skip
    assert None not in before.values()
    assert later == before


@pytest.mark.parametrize(
    ("parts", "differing"),
    [
        ({"split": {"seed": 7}}, {"split", "transform"}),
        ({"transform": {"numeric": {"scale": "robust"}}}, {"transform"}),
        ({"training": {"algorithm": "linear"}}, set()),
        ({"training": {"objective": "huber"}}, {"validate", "split", "transform"}),
        ({"data": {"features": {"exclude": ["note"]}}}, {"ingest", "validate", "split", "transform"}),
    ],
)
def test_a_change_of_the_spec_changes_the_keys_of_the_stages_that_read_it(tmp_path, parts, differing):
    before, after = keys(tmp_path / "a"), keys(tmp_path / "b", **parts)
    assert {name for name in before if before[name] != after[name]} == differing


def test_other_rows_change_the_key_of_ingest(tmp_path):
    one = make_context(tmp_path / "a", {"task": {"target": "y"}}, table=a_table())
    other = make_context(tmp_path / "b", {"task": {"target": "y"}}, table=a_table(301))
    assert key_of("ingest", one).value != key_of("ingest", other).value


def test_another_reference_or_other_tested_rows_change_the_keys_of_those_who_read_them(tmp_path):
    contexts = dict(prepared(tmp_path, {"task": {"target": "y", "id_columns": ["id"]}}))
    blob = Blob("sha256:" + "0" * 64, 1)
    version = Champion("m", 1, "job_1", {"profile": blob}, {})
    validate, split = contexts["validate"], contexts["split"]
    assert key_of("validate", validate).value != key_of("validate", replace(validate, reference=version)).value
    assert key_of("split", split).value != key_of("split", replace(split, tested=(blob,))).value


def test_other_code_changes_every_key(tmp_path, monkeypatch):
    before = keys(tmp_path / "a")
    monkeypatch.setattr(reuse, "code_digest", lambda: "sha256:other")
    after = keys(tmp_path / "b")
    assert not set(before.values()) & set(after.values())


def test_a_database_may_always_give_other_rows(tmp_path):
    source = {"kind": "database", "connection": "warehouse", "table": "t"}
    ctx = make_context(tmp_path, {"task": {"target": "y"}, "data": {"sources": {"t": source}}})
    key = key_of("ingest", ctx)
    assert key.value is None
    assert "may give other rows" in key.reason

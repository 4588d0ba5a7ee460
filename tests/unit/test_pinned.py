"""From the pinned rows alone metrics, intervals and verdict come out as the receipt has them."""

import copy
import hashlib
import json
from dataclasses import replace

import pytest

from app.errors import InvalidData
from app.receipts import FORMAT, signed
from standalone.verifying import check
from tests.unit.test_evidence import champion_of, flights, judged, told
from tests.unit.test_receipts import KEY
from workers import pinned
from workers.reuse import code_digest
from workers.stages import evaluate, gate

RULES = [
    {"metric": "roc_auc", "against": "champion", "min_gain": 0.0}, {"metric": "f1", "slice": {"origin": "JFK"}, "min": 0.1},
    {"metric": "recall", "across": ["origin"], "max_gap": 0.9, "min_rows": 20}, {"metric": "model_bytes", "max": 1e9},
    {"metric": "log_loss", "max": 0.01},
]  # fmt: skip
SPEC = {
    "training": {"max_iterations": 40, "calibrate": True, "tune_threshold": "f1"}, "gate": {"judge_by": "low", "rules": RULES}, "evaluation": {"slices": [{"columns": ["hour"], "min_rows": 5}]},
    "task": {"target": "late", "weight_column": "weight"},
}  # fmt: skip


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """(the receipt of a job that had a champion, weights and slices; the path of its pinned rows)."""
    tmp_path = tmp_path_factory.mktemp("pinned")
    _, _, before = judged(tmp_path / "before", {"training": {"max_iterations": 3}})
    _, _, ctx = judged(tmp_path / "now", SPEC, table=flights(seed=1))
    ctx = replace(ctx, champion=champion_of(before, ctx))
    said = json.loads(json.dumps(evaluate.run(ctx).output, allow_nan=False))
    outcome = gate.run(replace(ctx, outputs={**ctx.outputs, "evaluate": said}))
    rows = ctx.workspace.get("judged")
    document = {
        "format": FORMAT, "model": "m", "version": 1, "previous": None, "approval": None, "metrics": said["metrics"],
        "confidence": said["confidence"], "gate": {"asked": ctx.spec.resolved()["gate"], "found": told(outcome)},
        "task": {"type": "binary", "classes": ["no", "yes"], "quantile": 0.5, "threshold": said["threshold"], "metric": "roc_auc"},
        "predictions": {"judged": "sha256:" + hashlib.sha256(rows.read_bytes()).hexdigest()},
        "evidence": {
            "champion": {"version": 3, "job_id": "job_before", "threshold": 0.5}, "costs": said["costs"],
            "slices": ctx.spec.resolved()["evaluation"]["slices"],
        },
    }  # fmt: skip
    return document, rows


def test_metrics_intervals_and_verdict_are_the_same_again(decided):
    document, rows = decided
    found = pinned.recomputed(rows, document)
    assert found["metrics"] == document["metrics"]
    assert found["gate"]["verdict"] == document["gate"]["found"]["verdict"] == "fail"
    assert found["gate"]["rules"] == document["gate"]["found"]["rules"]


def test_the_command_computes_the_verdict_again_and_finds_what_was_changed_before_signing(decided, tmp_path):
    document, rows = decided
    said = []

    def verdict_on(document):
        path = tmp_path / "receipt.json"
        path.write_text(json.dumps(signed(document, KEY)))
        return check([path], key=None, rows=rows, say=said.append)

    assert verdict_on(document) == 0
    assert "come out the same again" in said[-1]
    changed = copy.deepcopy(document)
    changed["metrics"]["roc_auc"]["value"] += 0.01
    assert verdict_on(changed) == 1
    assert verdict_on({**changed, "made_by": {"code": code_digest()}}) == 1
    assert verdict_on({**changed, "made_by": {"code": "sha256:" + "0" * 64}}) == 2
    assert "use that release" in said[-1]
    better = copy.deepcopy(document)
    better["metrics"]["roc_auc"]["high"] += 0.001
    assert verdict_on(better) == 1
    assert said[-1].startswith("BROKEN  roc_auc: the receipt says high")
    passed = copy.deepcopy(document)
    passed["gate"]["found"]["verdict"] = "pass"
    assert verdict_on(passed) == 1
    other = copy.deepcopy(document)
    other["predictions"]["judged"] = "sha256:" + "0" * 64
    assert verdict_on(other) == 1
    assert "and the receipt names" in said[-1]


def test_other_rows_are_no_rows_of_the_receipt(decided, tmp_path):
    document, rows = decided
    with pytest.raises(InvalidData):
        pinned.recomputed(rows, {**document, "task": {**document["task"], "classes": ["a", "b"]}})
    path = tmp_path / "no.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(InvalidData):
        pinned.recomputed(path, document)

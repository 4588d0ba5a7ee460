"""The card of a version names the algorithms that answer, whatever the search began with."""

import datetime as dt
from typing import Any

import pytest

from app.cards import markdown, page
from app.registry.card import card_of
from app.tables import Job, ModelVersion

TRAIN = {"algorithm": "lightgbm"}


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"train": TRAIN, "tune": {"members": []}}, "lightgbm"),
        ({"train": TRAIN, "tune": {"members": [{"algorithm": "linear"}]}}, "linear"),
        ({"train": TRAIN, "tune": {"members": [{"algorithm": name} for name in ("xgboost", "linear", "linear")]}},
         "linear, xgboost"),
        ({}, "auto"),
    ],
)  # fmt: skip
def test_the_algorithms_are_those_that_answer(said: dict[str, Any], named: str):
    assert f"- Algorithm: {named}\n" in markdown(card_of(*a_version(), said))


def a_version(**given: Any) -> tuple[ModelVersion, Job]:
    version = ModelVersion(**{
        "model": "m-1", "version": 1, "description": "", "tags": {}, "metrics": {}, "gate": {}, "facts": {}, "spec_digest": "s",
        "data_digest": "d", "bundle_digest": "b", "bundle_bytes": 1, "created_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), **given,
    })  # fmt: skip
    return version, Job(id="job_1", spec={"task": {"target": "y", "type": "binary"}, "training": {"algorithm": "auto"}})


EVIL = "<script>alert(1)</script> [x](javascript:y) | `"
JUDGED = {
    "evaluate": {
        "rows": {"train": 700, "test": 150}, "baseline": {"roc_auc": {"value": 0.5}}, "linear": {"roc_auc": {"value": 0.7}},
        "slices": [{"where": {EVIL: EVIL}, "rows": 40, "metrics": {"roc_auc": {"value": 0.6, "low": 0.5, "high": 0.7}}}],
    },
    "train": {**TRAIN, "metric": "roc_auc"},
}  # fmt: skip
GATE = {"verdict": "inconclusive", "rules": [
    {"metric": "roc_auc", "against": "champion", "min_gain": 0.0, "value": 0.01, "verdict": "inconclusive", "reason": EVIL},
]}  # fmt: skip


def test_the_card_sets_the_model_beside_baselines_slices_and_the_gate():
    version, job = a_version(
        metrics={"test": {"roc_auc": {"value": 0.8, "low": 0.78, "high": 0.82}}}, gate=GATE, tags={"team": EVIL}
    )
    text = markdown(card_of(version, job, JUDGED))
    assert "| metric | value | low | high | best constant | linear model |" in text
    assert "| roc\\_auc | 0.8 | 0.78 | 0.82 | 0.5 | 0.7 |" in text
    assert "the gain in roc\\_auc over the champion, at least 0: 0.01, inconclusive" in text
    assert "| 40 | 0.6 | 0.5 | 0.7 |" in text
    shown = page(card_of(version, job, JUDGED))
    assert "<td>0.78</td>" in shown
    for written in (text, shown):
        assert "<script>" not in written
    assert "](javascript" not in text

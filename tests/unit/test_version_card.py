"""The card of a version names the algorithms that answer, whatever the search began with."""

import datetime as dt
from typing import Any

import pytest

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
    version = ModelVersion(
        model="m-1", version=1, description="", tags={}, metrics={}, gate={}, facts={}, spec_digest="s", data_digest="d",
        bundle_digest="b", bundle_bytes=1, created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    )  # fmt: skip
    job = Job(id="job_1", spec={"task": {"target": "y", "type": "binary"}, "training": {"algorithm": "auto"}})
    assert f"- Algorithm: {named}\n" in card_of(version, job, said)

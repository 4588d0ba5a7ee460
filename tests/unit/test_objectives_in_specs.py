"""Objectives and monotone features are refused at submit where the task or the algorithm has none."""

from typing import Any

import pytest

from app.errors import InvalidSpec
from tests.learning import parsed

SOURCES = {"sources": {"t": {"kind": "dataset", "dataset_id": "ds_00000000"}}}
MONOTONE = {"objective": "quantile", "monotone": {"age": "increasing"}}


def spec(task: str, **training: Any) -> dict[str, Any]:
    return {"model": "a-model", "task": {"target": "y", "type": task}, "data": SOURCES, "training": training}


@pytest.mark.parametrize(
    ("task", "training", "said"),
    [
        ("binary", {"objective": "poisson"}, "is for regression"),
        ("multiclass", {"monotone": {"age": "increasing"}}, "no order"),
        ("binary", {"params": {"loss": "gamma"}}, "is for regression"),
        ("regression", {"objective": "huber", "params": {"loss": "gamma"}}, "is for regression"),
        ("regression", MONOTONE, "lightgbm can hold for a quantile"),
        ("regression", {"algorithm": "xgboost", **MONOTONE}, "xgboost can hold for a quantile"),
    ],
)
def test_what_does_not_go_together_is_refused(task: str, training: dict[str, Any], said: str):
    with pytest.raises(InvalidSpec) as refused:
        parsed(spec(task, **training))
    assert said in refused.value.violations[0].message


def test_a_searched_loss_is_refused_where_a_fixed_one_is():
    space = {"loss": {"type": "categorical", "choices": ["auto", "tweedie"]}}
    with pytest.raises(InvalidSpec) as refused:
        parsed({**spec("binary"), "tuning": {"max_trials": 3, "space": space}})
    assert "is for regression" in refused.value.violations[0].message
    assert parsed({**spec("regression"), "tuning": {"max_trials": 3, "space": space}}).tuning.space["loss"].choices


def test_the_first_fit_must_hold_too_what_the_searched_ones_can():
    space = {"algorithm": {"type": "categorical", "choices": ["linear", "extra_trees"]}}
    document = {**spec("regression", **MONOTONE), "tuning": {"max_trials": 3, "space": space}}
    with pytest.raises(InvalidSpec) as refused:
        parsed(document)
    assert "the first fit is of training.algorithm, lightgbm here" in refused.value.violations[0].message
    document["training"]["algorithm"] = "linear"
    assert parsed(document).fitted_algorithms() == ["linear", "extra_trees"]


@pytest.mark.parametrize("algorithm", ["catboost", "linear", "random_forest", "extra_trees"])
def test_a_monotone_quantile_is_for_those_that_can_hold_it(algorithm: str):
    assert parsed(spec("regression", algorithm=algorithm, **MONOTONE)).training.algorithm == algorithm

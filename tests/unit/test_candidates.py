"""What a fit is given: the algorithm and parameters of a trial, the spec's wishes, and where it is saved."""

import json
from dataclasses import replace

import numpy as np
import pytest

from app.errors import InvalidSpec, MachineError
from tests.modelling import context, matrix, trained
from workers.fitting.candidates import Candidate, candidate_of, monotone_of, recipe_of
from workers.fitting.rows import matrix_of
from workers.fitting.trials import run_trial
from workers.stages import train, tune
from workers.trainers import lightgbm


def with_lineage(ctx, types, *pairs):
    """`ctx` whose transform made these (feature, column) pairs of columns of these types."""
    path = ctx.workspace.scratch / "lineage.json"
    path.write_text(json.dumps([{"feature": feature, "column": column} for feature, column in pairs]))
    ctx.workspace.put("lineage", path)
    return replace(ctx, outputs={**ctx.outputs, "validate": {**ctx.outputs["validate"], "features": types}})


def test_a_trials_algorithm_is_its_own_or_the_specs(tmp_path):
    ctx = context(tmp_path, matrix("binary"), {"training": {"algorithm": "linear"}})
    assert candidate_of(ctx.spec, {"C": 2.0}) == Candidate("linear", {"C": 2.0})
    assert candidate_of(ctx.spec, {"algorithm": "lightgbm", "num_leaves": 5}) == Candidate(
        "lightgbm", {"num_leaves": 5}
    )
    auto = context(tmp_path, matrix("binary"))
    assert candidate_of(auto.spec, {}).algorithm == "lightgbm"


def test_the_specs_wishes_reach_the_trainer(tmp_path):
    training = {"objective": "quantile", "quantile": 0.9, "huber_delta": 2.0, "early_stopping_rounds": 7}
    ctx = context(tmp_path, matrix("regression"), {"training": training})
    recipe = recipe_of(ctx, matrix_of(ctx), Candidate("lightgbm", {}), rounds=9)
    assert (recipe.objective, recipe.quantile, recipe.huber_delta) == ("quantile", 0.9, 2.0)
    assert (recipe.metric, recipe.early_stopping_rounds, recipe.max_iterations) == ("mean_pinball_loss", 7, 9)


def test_monotone_columns_become_the_features_made_of_them(tmp_path):
    training = {"monotone": {"age": "increasing", "price": "decreasing"}}
    ctx = context(tmp_path, matrix("binary"), {"training": training})
    ctx = with_lineage(ctx, {"age": "numeric", "price": "numeric"}, ("f0", "age"), ("plain", "price"))
    assert monotone_of(ctx) == {"f0": 1, "plain": -1}
    assert train.run(ctx).output["value"] is not None


@pytest.mark.parametrize(
    ("types", "pairs", "encode"),
    [
        ({"age": "categorical"}, [("age", "age")], None),
        ({"age": "datetime"}, [("age_year", "age"), ("age_month", "age")], None),
        ({"age": "numeric"}, [("age", "age")], "one_hot"),
        ({}, [], None),
    ],
    ids=["categories", "times", "encoded numbers", "no feature"],
)
def test_what_has_no_order_cannot_be_monotone(tmp_path, types, pairs, encode):
    spec = {"training": {"monotone": {"age": "increasing"}}}
    if encode:
        spec["transform"] = {"columns": {"age": {"encode": encode}}}
    ctx = with_lineage(context(tmp_path, matrix("binary"), spec), types, *pairs)
    with pytest.raises(InvalidSpec) as caught:
        monotone_of(ctx)
    assert caught.value.stable_code == "not_monotone"


@pytest.mark.parametrize("folds", [0, 3])
def test_predictions_that_are_no_numbers_fail_the_trial_and_say_why(tmp_path, monkeypatch, folds):
    spec = {"tuning": {"max_trials": 2, "folds": folds}, "training": {"max_iterations": 5}}
    ctx = trained(context(tmp_path, matrix("regression", rows=200), spec))
    monkeypatch.setattr(lightgbm.LightgbmFitted, "predict", lambda _self, x: np.full(len(x), np.nan))
    with pytest.raises(MachineError) as caught:
        run_trial(ctx, params={}, history=())
    assert caught.value.stable_code == "no_value"
    assert "not a finite number" in caught.value.detail


class Noted:
    """Checkpoints that note what is asked of them."""

    def __init__(self):
        self.resumed, self.offered = [], set()

    def resume(self, key):
        self.resumed.append(key)

    def offer(self, key, iteration, save):
        self.offered.add(key)


@pytest.mark.parametrize(("folds", "keys"), [(0, ["fit", "refit-0-0"]), (2, ["fit-0", "fit-1", "refit-0-0"])])
def test_every_fit_is_saved_under_a_key_of_its_own(tmp_path, folds, keys):
    noted = Noted()
    spec = {"tuning": {"max_trials": 2, "folds": folds, "ensemble": 1}, "training": {"max_iterations": 5}}
    ctx = trained(context(tmp_path, matrix("binary", rows=200), spec, checkpoints=noted))
    tune.run(replace(ctx, search={"ended": True}))
    assert noted.resumed == keys
    assert noted.offered == set(keys)

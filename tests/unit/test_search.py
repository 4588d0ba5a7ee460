"""The search: how much it will do, and that a suggestion depends on its arguments alone."""

import random

import pytest

from app.spec.algorithms import PARAMS
from tests.learning import parsed
from workers.context import TrialResult
from workers.search.plan import planned
from workers.search.suggest import space_of, suggest


def spec_of(tuning=None, task="binary", **training):
    return parsed({
        "model": "a-model", "task": {"target": "y", "type": task}, "tuning": tuning or {}, "training": training,
        "data": {"sources": {"main": {"kind": "dataset", "dataset_id": "ds_00000000"}}},
    })  # fmt: skip


def ended(number, params, value, **more):
    return TrialResult(number, more.pop("status", "complete"), params, value, 10, {}, **more)


def search(spec, count, objective, *, seed=1):
    history = []
    for number in range(count):
        params = suggest(spec, number=number, history=history, running=[], seed=seed, task="binary")
        history.append(ended(number, params, objective(params)))
    return history


def test_without_a_budget_nothing_is_searched():
    plan = planned(spec_of())
    assert (plan.strategy, plan.trials) == ("none", 0)


@pytest.mark.parametrize("budget", [{"max_trials": 7}, {"max_seconds": 60}])
def test_a_budget_means_a_bayesian_search(budget):
    plan = planned(spec_of(budget))
    assert (plan.strategy, plan.trials) == ("bayesian", budget.get("max_trials", 40))


def test_the_direction_follows_the_metric():
    assert not planned(spec_of({"max_trials": 2}), "binary").minimize
    assert planned(spec_of({"max_trials": 2}, task="regression")).minimize
    assert planned(spec_of({"max_trials": 2, "metric": "log_loss"}), "binary").minimize


def test_no_more_trials_run_at_once_than_there_are():
    assert planned(spec_of({"max_trials": 2, "max_parallel": 8})).parallel == 2


def test_a_grid_is_walked_in_the_order_of_the_spec():
    space = {
        "num_leaves": {"type": "int", "low": 10, "high": 20, "step": 10},
        "extra_trees": {"type": "categorical", "choices": [True, False]},
        "colsample_bytree": {"type": "float", "low": 0.4, "high": 0.8, "step": 0.2},
    }
    spec = spec_of({"strategy": "grid", "space": space}, params={"max_bin": 63})
    assert planned(spec).trials == 12
    points = [suggest(spec, number=number, history=[], running=[], seed=0, task="binary") for number in range(12)]
    assert points[0] == {"max_bin": 63, "num_leaves": 10, "extra_trees": True, "colsample_bytree": 0.4}
    assert [point["num_leaves"] for point in points] == [10] * 6 + [20] * 6
    assert [point["extra_trees"] for point in points[:6]] == [True] * 3 + [False] * 3
    assert len({tuple(point.items()) for point in points}) == 12
    with pytest.raises(IndexError):
        suggest(spec, number=12, history=[], running=[], seed=0, task="binary")


def test_a_grid_may_be_cut_short():
    space = {"num_leaves": {"type": "int", "low": 2, "high": 101}}
    assert planned(spec_of({"strategy": "grid", "space": space, "max_trials": 9})).trials == 9


@pytest.mark.parametrize("strategy", ["random", "bayesian"])
def test_the_same_arguments_give_the_same_suggestion(strategy):
    spec = spec_of({"strategy": strategy, "max_trials": 50})
    history = search(spec, 20, lambda params: -abs(params["learning_rate"] - 0.1))
    shuffled = random.Random(3).sample(history, len(history))
    running = [history[2].params, history[5].params]
    given = {"number": 20, "seed": 4, "task": "binary"}
    first = suggest(spec, history=history, running=running, **given)
    assert suggest(spec, history=shuffled, running=running[::-1], **given) == first
    assert suggest(spec, history=history, running=running, **{**given, "seed": 5}) != first
    assert suggest(spec, history=history, running=running, **{**given, "number": 21}) != first


@pytest.mark.parametrize(
    ("algorithm", "task"), [("lightgbm", "binary"), ("linear", "binary"), ("linear", "regression")]
)
@pytest.mark.parametrize("strategy", ["random", "bayesian"])
def test_every_suggestion_is_allowed(strategy, algorithm, task):
    spec = spec_of({"strategy": strategy, "max_trials": 50}, task=task, algorithm=algorithm)
    history = []
    for number in range(25):
        params = suggest(spec, number=number, history=history, running=[], seed=2, task=task)
        PARAMS[algorithm].model_validate(params)
        assert set(params) == set(space_of(spec, task))
        history.append(ended(number, params, float(number % 7)))


def test_learning_from_history_beats_chance():
    space = {
        "learning_rate": {"type": "float", "low": 0.001, "high": 1.0, "log": True},
        "num_leaves": {"type": "int", "low": 2, "high": 500, "log": True},
    }

    def objective(params):
        return -abs(params["learning_rate"] - 0.05) - abs(params["num_leaves"] - 60) / 500

    best = {}
    for strategy in ("random", "bayesian"):
        spec = spec_of({"strategy": strategy, "max_trials": 50, "space": space})
        values = [max(t.value for t in search(spec, 40, objective, seed=seed)) for seed in range(5)]
        best[strategy] = sum(values)
    assert best["bayesian"] > best["random"]


def test_parallel_suggestions_keep_apart():
    spec = spec_of({"strategy": "bayesian", "max_trials": 50})
    history = search(spec, 15, lambda params: -params["num_leaves"])
    running = []
    for number in range(15, 19):
        running.append(suggest(spec, number=number, history=history, running=running, seed=1, task="binary"))
    assert len({tuple(sorted(params.items())) for params in running}) == 4


def test_fixed_parameters_stay_and_leave_the_default_space():
    spec = spec_of({"max_trials": 5}, params={"num_leaves": 40, "max_bin": 63})
    for number in range(8):
        params = suggest(spec, number=number, history=[], running=[], seed=1, task="binary")
        assert params["num_leaves"] == 40
        assert params["max_bin"] == 63
        assert "learning_rate" in params


def test_the_first_trials_of_the_default_space_come_from_the_portfolio():
    spec = spec_of({"max_trials": 5})
    assert suggest(spec, number=0, history=[], running=[], seed=1, task="binary")["learning_rate"] == 0.05


def test_failed_and_foreign_trials_are_passed_over():
    spec = spec_of(
        {"strategy": "bayesian", "max_trials": 50, "space": {"num_leaves": {"type": "int", "low": 8, "high": 64}}}
    )
    history = [
        ended(0, {"num_leaves": 10}, None, status="failed"), ended(1, {"num_leaves": 4_000}, 0.5), ended(2, {}, 0.5),
        ended(3, {"num_leaves": 12}, float("nan")), ended(4, {"num_leaves": "many"}, 0.1),
    ]  # fmt: skip
    params = suggest(spec, number=5, history=history, running=[{"num_leaves": -1}, {}], seed=1, task="binary")
    assert 8 <= params["num_leaves"] <= 64


def test_a_float_step_that_does_not_divide_the_range_is_no_fault():
    space = {"colsample_bytree": {"type": "float", "low": 0.1, "high": 0.95, "step": 0.2}}
    spec = spec_of({"strategy": "random", "max_trials": 5, "space": space})
    for number in range(10):
        assert suggest(spec, number=number, history=[], running=[], seed=1, task="binary")["colsample_bytree"] <= 0.9

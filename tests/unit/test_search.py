"""The search: how much it will do, and that a suggestion depends on its arguments alone."""

import random
from dataclasses import replace

import pytest

from app.errors import InvalidSpec, MachineError
from app.spec.algorithms import PARAMS
from tests.learning import parsed
from workers.context import TrialResult
from workers.search import study
from workers.search.facts import Facts
from workers.search.plan import planned
from workers.search.suggest import suggest

BINARY = Facts("binary", rows=10_000, features=10, classes=2)
FEW = Facts("binary", rows=500, features=10, classes=2, validation=100)


def spec_of(tuning=None, task="binary", seed=1, **training):
    return parsed({
        "model": "a-model", "task": {"target": "y", "type": task}, "tuning": tuning or {}, "training": training,
        "data": {"sources": {"main": {"kind": "dataset", "dataset_id": "ds_00000000"}}},
        "reproducibility": {"seed": seed},
    })  # fmt: skip


def ended(number, params, value, **more):
    return TrialResult(number, more.pop("status", "complete"), params, value, 10, {}, **more)


def asked(spec, number, history=(), running=(), facts=BINARY, **more):
    return suggest(spec, facts, number=number, history=history, running=running, **more)


def search(spec, count, objective, facts=BINARY):
    history = []
    for number in range(count):
        params = asked(spec, number, history, facts=facts)
        history.append(ended(number, params, objective(params)))
    return history


SPACE = {
    "learning_rate": {"type": "float", "low": 0.001, "high": 1.0, "log": True},
    "num_leaves": {"type": "int", "low": 2, "high": 500, "log": True},
}


def near_a_point(params):
    return -abs(params["learning_rate"] - 0.05) - abs(params["num_leaves"] - 60) / 500


def test_without_a_budget_nothing_is_searched():
    plan = planned(spec_of(), FEW)
    assert (plan.strategy, plan.trials, plan.folds, plan.ensemble, plan.refit) == ("none", 0, 0, 1, False)


@pytest.mark.parametrize(
    ("tuning", "strategy", "trials"),
    [
        ({"max_trials": 7}, "auto", 7),
        ({"max_seconds": 60}, "auto", 1_000),
        ({"max_trials": 7, "space": SPACE}, "bayesian", 7),
        ({"max_trials": 7, "space": {"algorithm": {"type": "categorical", "choices": ["linear"]}}}, "auto", 7),
        ({"strategy": "random"}, "random", 40),
    ],
)
def test_a_budget_means_a_search(tuning, strategy, trials):
    plan = planned(spec_of(tuning))
    assert (plan.strategy, plan.trials) == (strategy, trials)


def test_the_direction_follows_the_metric():
    assert not planned(spec_of({"max_trials": 2}), BINARY).minimize
    assert planned(spec_of({"max_trials": 2}, task="regression")).minimize
    assert planned(spec_of({"max_trials": 2, "metric": "log_loss"}), BINARY).minimize


def test_no_more_trials_run_at_once_than_there_are():
    assert planned(spec_of({"max_trials": 2, "max_parallel": 8})).parallel == 2


@pytest.mark.parametrize(
    ("facts", "folds"),
    [(FEW, 5), (replace(FEW, timed=True), 0), (replace(FEW, rows=3_000), 0), (None, 0), (Facts("binary"), 0)],
)
def test_few_rows_are_folded_unless_time_orders_them(facts, folds):
    assert planned(spec_of({"max_trials": 2}), facts).folds == folds


def test_folds_ensemble_and_refit_are_as_asked():
    plan = planned(spec_of({"strategy": "random", "max_trials": 2, "folds": 3, "ensemble": 4}), BINARY)
    assert (plan.folds, plan.ensemble, plan.refit) == (3, 4, True)
    plan = planned(spec_of({"strategy": "random", "max_trials": 2, "folds": 0}), FEW)
    assert (plan.folds, plan.ensemble, plan.refit) == (0, 1, False)
    plan = planned(spec_of({"max_trials": 2}), BINARY)
    assert (plan.folds, plan.ensemble, plan.refit) == (0, 8, True)


def test_a_grid_is_walked_in_the_order_of_the_spec():
    space = {
        "num_leaves": {"type": "int", "low": 10, "high": 20, "step": 10},
        "extra_trees": {"type": "categorical", "choices": [True, False]},
        "colsample_bytree": {"type": "float", "low": 0.4, "high": 0.8, "step": 0.2},
    }
    spec = spec_of({"strategy": "grid", "space": space}, params={"max_bin": 63})
    assert planned(spec).trials == 12
    points = [asked(spec, number) for number in range(12)]
    assert points[0] == {"max_bin": 63, "num_leaves": 10, "extra_trees": True, "colsample_bytree": 0.4}
    assert [point["num_leaves"] for point in points] == [10] * 6 + [20] * 6
    assert [point["extra_trees"] for point in points[:6]] == [True] * 3 + [False] * 3
    assert len({tuple(point.items()) for point in points}) == 12
    for beyond in (12, -1):
        with pytest.raises(IndexError):
            asked(spec, beyond)


def test_a_grid_may_be_cut_short():
    space = {"num_leaves": {"type": "int", "low": 2, "high": 101}}
    assert planned(spec_of({"strategy": "grid", "space": space, "max_trials": 9})).trials == 9


def test_dimensions_that_do_not_apply_do_not_multiply_a_grid():
    space = {
        "algorithm": {"type": "categorical", "choices": ["lightgbm", "linear"]},
        "cat_smooth": {"type": "float", "low": 1, "high": 3, "step": 1, "when": {"extra_trees": [True]}},
        "extra_trees": {"type": "categorical", "choices": [True, False]},
        "C": {"type": "categorical", "choices": [0.1, 1.0]},
    }
    spec = spec_of({"strategy": "grid", "space": space}, params={"max_bin": 63})
    assert planned(spec).trials == 3 + 1 + 2
    tree = {"algorithm": "lightgbm", "max_bin": 63}
    assert [asked(spec, number) for number in range(6)] == [
        *({**tree, "extra_trees": True, "cat_smooth": value} for value in (1.0, 2.0, 3.0)),
        {**tree, "extra_trees": False}, {"algorithm": "linear", "C": 0.1}, {"algorithm": "linear", "C": 1.0},
    ]  # fmt: skip


def test_a_grid_of_a_million_points_is_refused_with_the_count():
    wide = {"type": "int", "low": 2, "high": 101}
    space = dict.fromkeys(("num_leaves", "max_bin", "min_child_samples"), wide)
    with pytest.raises(InvalidSpec) as refused:
        spec_of({"strategy": "grid", "space": space})
    assert "the grid has 1,000,000 points; at most 1,000 are allowed" in refused.value.violations[0].message


def test_the_count_of_a_grid_with_countless_conditions_is_quick():
    many = {"type": "categorical", "choices": [number / 1_000 for number in range(1, 1_000)]}
    space = dict.fromkeys(("learning_rate", "subsample", "colsample_bytree"), many)
    space["num_leaves"] = {"type": "int", "low": 2, "high": 4, "when": {name: [0.5] for name in space}}
    with pytest.raises(InvalidSpec) as refused:
        spec_of({"strategy": "grid", "space": space})
    assert "997,002,999 points or more" in refused.value.violations[0].message


@pytest.mark.parametrize("tuning", [
    {"strategy": "random"}, {"strategy": "random", "sampler": "sobol"}, {"strategy": "bayesian"}, {"max_trials": 90},
])  # fmt: skip
def test_the_same_arguments_give_the_same_suggestion(tuning):
    spec = spec_of({"max_trials": 90, **tuning})
    history = search(spec, 30, lambda params: -abs(params.get("learning_rate", 0.5) - 0.1))
    shuffled = random.Random(3).sample(history, len(history))
    running = [history[2].params, history[5].params]
    first = asked(spec, 30, history, running)
    study._KEPT.clear()
    assert asked(spec, 30, shuffled, running[::-1]) == first
    assert asked(spec_of({"max_trials": 90, **tuning}, seed=5), 30, history, running) != first
    assert asked(spec, 31, history, running) != first


def test_what_is_kept_between_asks_changes_nothing():
    spec = spec_of({"strategy": "bayesian", "max_trials": 90, "space": SPACE})
    history = search(spec, 30, near_a_point)
    grown = asked(spec, 30, history)
    other = [ended(number, trial.params, -trial.value) for number, trial in enumerate(history)]
    asked(spec, 30, other)
    asked(spec, 12, history[:12], [history[12].params])
    again = asked(spec, 30, history)
    study._KEPT.clear()
    assert asked(spec, 30, history) == grown == again


def test_random_points_do_not_depend_on_what_was_found():
    for sampler in ("uniform", "sobol"):
        spec = spec_of({"strategy": "random", "sampler": sampler, "max_trials": 50, "space": SPACE})
        history = search(spec, 12, near_a_point)
        assert [trial.params for trial in history] == [asked(spec, number) for number in range(12)]


def test_a_sobol_sequence_leaves_no_gap():
    spec = spec_of({"strategy": "random", "sampler": "sobol", "max_trials": 64, "space": SPACE})
    rates = sorted(asked(spec, number)["learning_rate"] for number in range(64))
    decades = [sum(low <= rate < 10 * low for rate in rates) for low in (0.001, 0.01, 0.1)]
    assert min(decades) >= 20


@pytest.mark.parametrize(
    ("algorithm", "task"), [("lightgbm", "binary"), ("linear", "binary"), ("linear", "regression")]
)
@pytest.mark.parametrize("strategy", ["random", "bayesian", "auto"])
def test_every_suggestion_is_allowed(strategy, algorithm, task):
    spec = spec_of({"strategy": strategy, "max_trials": 50}, task=task, algorithm=algorithm)
    history = []
    for number in range(25):
        params = asked(spec, number, history, facts=Facts(task))
        PARAMS[algorithm].model_validate({name: value for name, value in params.items() if name != "algorithm"})
        history.append(ended(number, params, float(number % 7)))


def test_learning_from_history_beats_chance():
    best = {}
    for strategy in ("random", "bayesian"):
        found = []
        for seed in range(5):
            spec = spec_of({"strategy": strategy, "max_trials": 50, "space": SPACE}, seed=seed)
            found.append(max(trial.value for trial in search(spec, 40, near_a_point)))
        best[strategy] = sum(found)
    assert best["bayesian"] > best["random"]


def test_parallel_suggestions_keep_apart():
    spec = spec_of({"strategy": "bayesian", "max_trials": 50})
    history = search(spec, 15, lambda params: -params["num_leaves"])
    running = []
    for number in range(15, 19):
        running.append(asked(spec, number, history, running))
    assert len({tuple(sorted(params.items())) for params in running}) == 4


def test_fixed_parameters_stay_and_leave_the_default_space():
    spec = spec_of({"max_trials": 5}, params={"num_leaves": 40, "max_bin": 63})
    for params in (trial.params for trial in search(spec, 12, lambda params: params["learning_rate"])):
        assert params["num_leaves"] == 40
        assert params["max_bin"] == 63
        assert "learning_rate" in params


def test_failed_and_foreign_trials_are_no_fault_and_never_good():
    space = {"num_leaves": {"type": "int", "low": 8, "high": 4_000, "log": True}}
    spec = spec_of({"strategy": "bayesian", "max_trials": 50, "space": space})
    odd = [
        ended(0, {"num_leaves": 10}, None, status="failed"), ended(1, {"num_leaves": 4_001}, 0.5), ended(2, {}, 0.5),
        ended(3, {"num_leaves": 12}, float("nan")), ended(4, {"num_leaves": "many"}, 0.1),
        ended(5, {"algorithm": "linear", "C": 1.0}, 0.9), ended(6, {"num_leaves": 14}, 0.99, status="pruned"),
    ]  # fmt: skip
    assert 8 <= asked(spec, 7, odd, [{"num_leaves": -1}, {}])["num_leaves"] <= 4_000
    large = [ended(number, {"num_leaves": 2_000 + number}, 0.5) for number in range(10, 14)]
    bad = [ended(number, {"num_leaves": 9 + number % 4}, None, status="failed") for number in range(20, 60)]
    tried = [asked(spec, number, [*odd, *large, *bad])["num_leaves"] for number in range(60, 70)]
    assert sum(leaves > 200 for leaves in tried) >= 8


def test_trials_beyond_a_bound_are_avoided():
    space = {"num_leaves": {"type": "int", "low": 2, "high": 4_000, "log": True}}
    feasible = {}
    for bound in (100, 10**9):
        constraints = {"max_model_bytes": bound}
        spec = spec_of({"strategy": "bayesian", "max_trials": 60, "space": space, "constraints": constraints})
        history = []
        for number in range(30):
            leaves = asked(spec, number, history)["num_leaves"]
            history.append(ended(number, {"num_leaves": leaves}, float(leaves), facts={"model_bytes": 10 * leaves}))
        feasible[bound] = sum(trial.params["num_leaves"] <= 10 for trial in history[10:])
    assert feasible[100] >= 8
    assert feasible[10**9] <= 3


def test_a_float_step_that_does_not_divide_the_range_is_no_fault():
    space = {"colsample_bytree": {"type": "float", "low": 0.1, "high": 0.95, "step": 0.2}}
    for strategy in ("random", "bayesian"):
        spec = spec_of({"strategy": strategy, "max_trials": 5, "space": space})
        tried = {round(trial.params["colsample_bytree"], 9) for trial in search(spec, 20, lambda _params: 0.0)}
        assert tried <= {0.1, 0.3, 0.5, 0.7, 0.9}


def test_a_sampler_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    spec = spec_of({"strategy": "bayesian", "sampler": "gp", "max_trials": 20, "space": SPACE})
    with pytest.raises(MachineError) as refused:
        asked(spec, 0)
    assert refused.value.stable_code == "extra_missing"
    assert "trainhouse[gp]" in refused.value.hint


def test_earlier_jobs_settings_are_tried_before_anything_is_learned():
    spec = spec_of({"strategy": "bayesian", "max_trials": 20, "space": SPACE})
    warm = [{"learning_rate": 0.02, "num_leaves": 77}, {"learning_rate": 5.0, "num_leaves": 77}, {"num_leaves": 7}]
    assert asked(spec, 0, warm=warm) == warm[0]
    assert asked(spec, 1, running=[warm[0]], warm=warm) not in warm


def test_earlier_jobs_settings_go_before_the_portfolio():
    spec = spec_of({"max_trials": 60})
    first, learned = asked(spec, 0), asked(spec, 40, [ended(0, asked(spec, 0), 0.5)])
    assert first != learned
    assert asked(spec, 0, warm=[learned]) == learned
    assert asked(spec, 1, [ended(0, learned, 0.5)], warm=[learned]) == first


def test_a_long_search_remembers_its_best_and_costs_no_more():
    spec = spec_of({"strategy": "bayesian", "max_trials": 900, "space": SPACE})
    history = [ended(0, {"learning_rate": 0.05, "num_leaves": 60}, 1.0)]
    history += [
        ended(number, asked(spec_of({"strategy": "random", "space": SPACE}), number), -1.0) for number in range(1, 400)
    ]
    good = [ended(number, {"learning_rate": 0.05, "num_leaves": 60 + number}, 0.9) for number in range(400, 424)]
    bad = [ended(number, trial.params, -1.0) for number, trial in enumerate(history[1:], start=424)]
    tried = [asked(spec, 900 + number, [*history, *good, *bad]) for number in range(6)]
    assert sum(abs(params["learning_rate"] - 0.05) < 0.03 for params in tried) >= 5

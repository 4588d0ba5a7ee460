"""Strategy `auto`: a portfolio first, then what is learned from it."""

from dataclasses import replace

import pytest

from app.spec.algorithms import PARAMS
from app.spec.spaces import MANY_ROWS
from tests.unit.test_search import BINARY, asked, ended, search, spec_of
from workers.search import auto
from workers.search.facts import Facts, suitable
from workers.search.outcomes import Judge
from workers.search.portfolio import FEW_ROWS, HASTY, WHERE_NOTHING_ENDS, portfolio
from workers.trainers import TRAINERS

TASKS = {"binary": BINARY, "multiclass": replace(BINARY, task="multiclass", classes=4),
         "regression": replace(BINARY, task="regression", classes=0)}  # fmt: skip


def firsts(spec, facts, history=()):
    return auto.firsts(spec, facts, auto.space_of_search(spec, facts), history)


@pytest.mark.parametrize("task", TASKS)
def test_the_portfolio_is_allowed_and_tried_in_order(task):
    spec = spec_of({"max_trials": 40}, task=task)
    wanted = firsts(spec, TASKS[task])
    assert len(wanted) >= 10
    assert {params["algorithm"] for params in wanted} == set(TRAINERS)
    for params in wanted:
        own = {name: value for name, value in params.items() if name != "algorithm"}
        PARAMS[params["algorithm"]].model_validate(own)
    tried = search(spec, len(wanted), lambda _params: 0.5, facts=TASKS[task])
    assert [trial.params for trial in tried] == wanted
    assert wanted[0]["algorithm"] == "lightgbm"
    assert len({params["algorithm"] for params in wanted[:4]}) >= 3


@pytest.mark.parametrize(
    "setting",
    {id(each): each for rows in (1, FEW_ROWS, MANY_ROWS) for each in (*portfolio(rows), *WHERE_NOTHING_ENDS)}.values(),
)
def test_every_setting_is_as_its_algorithm_allows(setting):
    PARAMS[setting.algorithm].model_validate(dict(setting.params))


def test_running_trials_are_not_tried_twice():
    spec = spec_of({"max_trials": 40})
    wanted = firsts(spec, BINARY)
    history = [ended(0, wanted[0], 0.8), ended(2, wanted[2], 0.7)]
    assert asked(spec, 3, history, [wanted[1]]) == wanted[3]
    assert asked(spec, 3, [ended(1, wanted[1], None, status="failed"), *history]) == wanted[3]


def test_the_callers_algorithm_and_parameters_are_kept():
    wanted = firsts(spec_of({"max_trials": 40}, algorithm="linear"), BINARY)
    assert all("algorithm" not in params and "C" in params for params in wanted)
    wanted = firsts(spec_of({"max_trials": 40}, params={"num_leaves": 99, "max_bin": 63}), BINARY)
    assert {(params["num_leaves"], params["max_bin"]) for params in wanted} == {(99, 63)}
    space = {"algorithm": {"type": "categorical", "choices": ["xgboost", "linear"]}}
    wanted = firsts(spec_of({"max_trials": 40, "space": space}), BINARY)
    assert {params["algorithm"] for params in wanted} == {"xgboost", "linear"}


def test_only_algorithms_that_know_the_objective_are_tried(monkeypatch):
    plain = type("Plain", (type(TRAINERS["linear"]),), {"objectives": frozenset({"auto"})})
    monkeypatch.setitem(TRAINERS, "linear", plain())
    spec = spec_of({"max_trials": 40}, task="regression", objective="quantile")
    tried = {params["algorithm"] for params in firsts(spec, TASKS["regression"])}
    assert "lightgbm" in tried
    assert "linear" not in tried


def test_what_is_not_installed_is_not_tried(monkeypatch):
    monkeypatch.setattr(auto, "available", lambda name: name != "catboost")
    assert "catboost" not in {params["algorithm"] for params in firsts(spec_of({"max_trials": 40}), BINARY)}


def test_what_cannot_end_in_the_budget_is_left_out():
    spec, many = spec_of({"max_seconds": 60}), Facts("binary", rows=250_000, features=20, classes=2)
    whole = firsts(spec_of({"max_trials": 40}), many)
    wanted = firsts(spec, many)
    assert 3 <= len(wanted) < len(whole)
    assert [params for params in whole if params in wanted] == wanted
    assert not {params["algorithm"] for params in wanted} & {"random_forest", "extra_trees"}
    assert auto.longest_seconds(spec, many) < 60


def test_where_no_fit_ends_in_the_budget_one_is_tried_that_gets_far_in_few_rounds():
    spec, huge = spec_of({"max_seconds": 60}), Facts("binary", rows=10**8, features=40, classes=2)
    first, *others = firsts(spec, huge)
    assert first == {"algorithm": "lightgbm", **HASTY.params}
    assert len(others) == len(WHERE_NOTHING_ENDS) - 1
    assert auto.longest_seconds(spec, huge) is None
    (own,) = firsts(spec_of({"max_seconds": 60}, algorithm="linear"), huge)
    assert "C" in own


def test_an_algorithm_that_is_far_behind_gets_no_further_setting():
    spec = spec_of({"max_trials": 40})
    history = search(spec, 40, lambda params: 0.5 if params["algorithm"] in {"linear", "extra_trees"} else 0.9)
    linear = [trial for trial in history if trial.params["algorithm"] == "linear"]
    assert len(linear) == 1
    assert len([trial for trial in history if trial.params["algorithm"] == "xgboost"]) > 1


def test_time_not_trials_is_shared_among_the_algorithms():
    turns = [auto.turn_of(["slow", "quick"], share / 100, costs=[9.0, 1.0]) for share in range(100)]
    assert turns.count("quick") == pytest.approx(100 * 0.25 / (0.25 + 0.6 / 9), abs=1)
    history = [
        ended(0, {"algorithm": "linear"}, 0.5, duration_seconds=3.0),
        ended(1, {"algorithm": "linear"}, 0.5, duration_seconds=5.0),
    ]
    space = auto.space_of_search(spec_of({"max_trials": 60}), BINARY)
    assert auto.costs(space, ["linear", "catboost"], history) == [4.0, 1.0]


def test_what_a_small_fit_takes_beside_its_rows_shuts_nothing_out():
    spec, small = spec_of({"max_seconds": 25}), replace(BINARY, rows=700, validation=150)
    wanted = firsts(spec, small)
    paced = firsts(spec, small, [ended(0, wanted[0], 0.8, duration_seconds=0.9)])
    assert sorted(map(repr, paced)) == sorted(map(repr, wanted))


def test_the_pace_of_ended_trials_corrects_the_estimate():
    spec, facts = spec_of({"max_seconds": 60}), replace(BINARY, rows=50_000)
    wanted = firsts(spec, facts)
    slow = [ended(0, wanted[0], 0.8, duration_seconds=20.0)]
    assert len(firsts(spec, facts, slow)) < len(wanted)
    steady = spec.model_copy(
        update={"reproducibility": spec.reproducibility.model_copy(update={"mode": "deterministic"})}
    )
    assert firsts(steady, facts, slow) == wanted


def test_only_algorithms_within_reach_of_the_best_are_searched_further():
    spec = spec_of({"max_trials": 60})
    good = {"lightgbm": 0.95, "catboost": 0.951}

    def objective(params):
        return good.get(params["algorithm"], 0.6) + params.get("num_leaves", 0) / 1e5

    history = search(spec, 60, objective)
    space, portfolio = auto.space_of_search(spec, BINARY), len(firsts(spec, BINARY))
    assert set(auto.survivors(space, Judge(minimize=False), history)) == {"lightgbm", "catboost"}
    assert {trial.params["algorithm"] for trial in history[portfolio:]} == {"lightgbm", "catboost"}


def test_without_any_value_all_algorithms_stay():
    space = auto.space_of_search(spec_of({"max_trials": 60}), BINARY)
    failed = [ended(number, {}, None, status="failed") for number in range(4)]
    assert auto.survivors(space, Judge(minimize=True), failed) == [branch.algorithm for branch in space.branches]
    assert auto.survivors(space, Judge(minimize=True), []) == ["lightgbm"]
    assert auto.turn_of(["a", "b", "c", "d"], 0.999999) == "d"
    assert [auto.turn_of(["a", "b"], share) for share in (0.0, 0.7, 0.71)] == ["a", "a", "b"]


FACTORS = replace(BINARY, task="regression", classes=0, losses=("auto", "poisson", "tweedie", "gamma"))


def test_numbers_that_vary_by_factors_are_tried_with_losses_for_them_and_with_the_usual_one():
    spec = spec_of({"max_trials": 90}, task="regression")
    tried = auto.firsts(spec, FACTORS, auto.space_of_search(spec, FACTORS), [])
    of_boosters = [params["loss"] for params in tried if "loss" in params]
    assert set(of_boosters[:4]) >= {"auto", "tweedie", "poisson"}
    assert set(of_boosters) == set(FACTORS.losses)
    with_zeros = replace(FACTORS, losses=FACTORS.losses[:3])
    tried = auto.firsts(spec, with_zeros, auto.space_of_search(spec, with_zeros), [])
    assert {params["loss"] for params in tried if "loss" in params} == set(with_zeros.losses)


@pytest.mark.parametrize(("facts", "training"), [
    (replace(FACTORS, losses=()), {}), (BINARY, {}), (FACTORS, {"objective": "poisson"}),
])  # fmt: skip
def test_other_targets_and_objectives_know_no_loss(facts, training):
    spec = spec_of({"max_trials": 90}, task=facts.task, **training)
    space = auto.space_of_search(spec, facts)
    assert all(axis.name != "loss" for branch in space.branches for axis in branch.axes)
    assert not any("loss" in params for params in auto.firsts(spec, facts, space, []))


@pytest.mark.parametrize(("target", "losses"), [
    ({"least": 1.0, "mean": 10.0, "deviation": 9.0}, ("auto", "poisson", "tweedie", "gamma")),
    ({"least": 0.0, "mean": 10.0, "deviation": 9.0}, ("auto", "poisson", "tweedie")),
    ({"least": -1.0, "mean": 10.0, "deviation": 9.0}, ()), ({"least": 1.0, "mean": 10.0, "deviation": 2.0}, ()),
    ({"least": 0.0, "mean": 0.0, "deviation": 0.0}, ()),
])  # fmt: skip
def test_losses_suit_numbers_that_are_not_negative_and_vary_by_factors(target, losses):
    assert suitable(target) == losses

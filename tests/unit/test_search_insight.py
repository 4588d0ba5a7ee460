"""What a search says of itself is plain JSON, and right."""

import json
import random

import optuna

from tests.unit.test_search import BINARY, SPACE, ended, search, spec_of
from workers.search.insight import insight


def said(spec, trials):
    found = insight(spec, BINARY, trials)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_what_matters_is_told_from_what_does_not():
    spec = spec_of({"strategy": "random", "max_trials": 60, "space": SPACE})
    found = said(spec, search(spec, 60, lambda params: -abs(params["num_leaves"] - 100)))
    assert found["importances"]["num_leaves"] > 0.8
    assert abs(sum(found["importances"].values()) - 1) < 1e-3


def test_parameters_of_several_algorithms_are_named_apart():
    space = {"algorithm": {"type": "categorical", "choices": ["lightgbm", "linear"]}}
    spec = spec_of({"strategy": "random", "max_trials": 60, "space": space})
    trials = search(spec, 60, lambda params: params.get("num_leaves", 0) / 100)
    found = said(spec, trials)
    assert {"algorithm", "lightgbm.num_leaves", "linear.C"} <= set(found["importances"])
    assert found["algorithms"]["linear"]["best"] == 0.0
    assert sum(each["trials"] for each in found["algorithms"].values()) == 60


def test_the_best_so_far_grows_with_the_seconds_of_fitting():
    spec = spec_of({"strategy": "random", "max_trials": 60, "space": SPACE})
    values = [0.5, 0.4, None, 0.7, 0.7, 0.9]
    trials = [
        ended(number, {"learning_rate": 0.1, "num_leaves": 9}, value, duration_seconds=2.0,
              status="failed" if value is None else "complete")
        for number, value in enumerate(values)
    ]  # fmt: skip
    found = said(spec, random.Random(1).sample(trials, len(trials)))
    assert found["best_so_far"] == [[2.0, 0.5], [8.0, 0.7], [12.0, 0.9]]
    assert found["best"] == {"number": 5, "value": 0.9, "params": {"learning_rate": 0.1, "num_leaves": 9}}
    assert found["trials"] == {"complete": 5, "pruned": 0, "failed": 1, "lost": 0}
    assert found["importances"] == {}


def test_what_passed_a_bound_is_never_the_best():
    spec = spec_of({"strategy": "random", "space": SPACE, "constraints": {"max_predict_ms": 1.0}})
    params = {"learning_rate": 0.1, "num_leaves": 9}
    trials = [ended(0, params, 0.5, facts={"predict_ms": 0.5}), ended(1, params, 0.9, facts={"predict_ms": 1.5})]
    found = said(spec, trials)
    assert (found["best"]["number"], found["beyond_constraints"]) == (0, 1)
    assert said(spec, trials[1:])["best"] is None


def test_a_search_without_trials_has_nothing_to_say():
    found = said(spec_of({"strategy": "random", "space": SPACE}), [])
    assert (found["best"], found["importances"], found["best_so_far"], found["algorithms"]) == (None, {}, [], {})


def test_where_the_library_breaks_all_else_is_still_said(monkeypatch):
    def broken(*_args, **_named):
        raise RuntimeError("degenerate")

    monkeypatch.setattr(optuna.importance, "get_param_importances", broken)
    spec = spec_of({"strategy": "random", "max_trials": 60, "space": SPACE})
    found = said(spec, search(spec, 60, lambda params: params["num_leaves"] / 100))
    assert found["importances"] == {}
    assert found["best"]["number"] >= 0

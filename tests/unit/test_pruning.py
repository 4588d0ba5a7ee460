"""Hopeless trials are given up by evidence, and none is without it."""

import pytest

from tests.unit.test_search import ended, spec_of
from workers.search.pruning import Pruning


def curve_of(level):
    return tuple((step, level) for step in range(50, 501, 50))


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_hopeless_trial_is_given_up_and_a_good_one_is_not(pruner):
    spec = spec_of({"max_trials": 20, "pruner": pruner})
    history = [ended(number, {}, 0.9, curve=curve_of(0.9)) for number in range(12)]
    for level, given_up in ((0.5, True), (0.95, False)):
        pruning = Pruning(spec, history, minimize=False)
        assert any(pruning.hopeless(step, level) for step in range(1, 501)) == given_up


@pytest.mark.parametrize("pruner", ["auto", "none"])
def test_nothing_is_pruned_unasked(pruner):
    history = [ended(number, {}, 0.9, curve=curve_of(0.9)) for number in range(12)]
    pruning = Pruning(spec_of({"max_trials": 20, "pruner": pruner}), history, minimize=False)
    assert not any(pruning.hopeless(step, 0.0) for step in range(1, 501))


def test_lower_may_be_better():
    spec = spec_of({"max_trials": 20, "pruner": "median"})
    history = [ended(number, {}, 0.5, curve=curve_of(0.5)) for number in range(6)]
    assert any(Pruning(spec, history, minimize=True).hopeless(step, 0.9) for step in (50, 100, 150))
    assert not any(Pruning(spec, history, minimize=True).hopeless(step, 0.1) for step in (50, 100, 150))


def test_a_few_peers_are_no_evidence():
    spec = spec_of({"max_trials": 20, "pruner": "median"})
    history = [ended(number, {}, 0.9, curve=curve_of(0.9)) for number in range(4)]
    assert not any(Pruning(spec, history, minimize=False).hopeless(step, 0.1) for step in range(1, 501))

"""Hopeless trials are given up by evidence, and none is without it."""

import pytest

from tests.unit.test_search import ended, spec_of
from workers.search.pruning import Pruning


def curve_of(level, *, start=0.4):
    """Rises to `level` by iteration 250, and stays there."""
    return tuple((step, start + (level - start) * min(1.0, step / 250)) for step in range(10, 501, 10))


def followed(history, curve, *, pruner, rises=True, params=None):
    """The iteration at which the trial with `curve` is given up, or None."""
    spec = spec_of({"max_trials": 20, "pruner": pruner})
    pruning = Pruning(spec, history, params=params or {}, rises=rises)
    return next((step for step, value in curve if pruning.hopeless(step, value)), None)


def peers(count, level=0.9, **params):
    return [ended(number, params, level, curve=curve_of(level)) for number in range(count)]


@pytest.mark.parametrize("pruner", ["median", "hyperband", "auto"])
def test_a_hopeless_trial_is_given_up_and_a_good_one_is_not(pruner):
    assert followed(peers(12), curve_of(0.5), pruner=pruner) is not None
    assert followed(peers(12), curve_of(0.95), pruner=pruner) is None


def test_nothing_is_pruned_unasked():
    assert followed(peers(12), curve_of(0.0), pruner="none") is None


@pytest.mark.parametrize("pruner", ["median", "auto"])
def test_lower_may_be_better(pruner):
    falling = [(step, 1.4 - value) for step, value in curve_of(0.9)]
    history = [ended(number, {}, 0.5, curve=tuple(falling)) for number in range(9)]
    assert followed(history, [(step, value + 0.4) for step, value in falling], pruner=pruner, rises=False) is not None
    assert followed(history, [(step, value - 0.1) for step, value in falling], pruner=pruner, rises=False) is None


@pytest.mark.parametrize("pruner", ["median", "hyperband", "auto"])
def test_losses_that_rise_in_the_end_are_still_better_the_lower_they_are(pruner):
    overfit = [(step, 0.6 - 0.3 * min(1.0, step / 100) + max(0.0, 0.002 * (step - 100))) for step in range(10, 501, 10)]
    history = [ended(number, {}, 0.9, curve=tuple(overfit)) for number in range(12)]
    assert followed(history, [(step, min(value, 0.3)) for step, value in overfit], pruner=pruner, rises=False) is None
    assert followed(history, [(step, value + 0.5) for step, value in overfit], pruner=pruner, rises=False) is not None


@pytest.mark.parametrize("pruner", ["median", "auto"])
def test_a_few_peers_are_no_evidence(pruner):
    assert followed(peers(4), curve_of(0.5), pruner=pruner) is None


@pytest.mark.parametrize("pruner", ["median", "auto"])
def test_other_algorithms_are_no_peers(pruner):
    assert (
        followed(peers(12, algorithm="catboost"), curve_of(0.5), pruner=pruner, params={"algorithm": "xgboost"}) is None
    )


@pytest.mark.parametrize("pruner", ["median", "hyperband", "auto"])
def test_fits_of_another_loss_are_no_peers(pruner):
    history = peers(12, loss="poisson")
    assert followed(history, curve_of(0.5), pruner=pruner) is None
    assert followed(history, curve_of(0.5), pruner=pruner, params={"loss": "tweedie"}) is None
    assert followed(history, curve_of(0.5), pruner=pruner, params={"loss": "poisson"}) is not None
    assert followed(peers(12), curve_of(0.5), pruner=pruner, params={"loss": "auto"}) is not None


def test_auto_waits_for_the_progress_that_the_learning_rate_makes():
    history = peers(12, learning_rate=0.1)
    slow = [(step, 0.4 + (0.92 - 0.4) * min(1.0, step / 2_500)) for step in range(10, 3_001, 10)]
    assert followed(history, slow, pruner="median", params={"learning_rate": 0.01}) is not None
    assert followed(history, slow, pruner="auto", params={"learning_rate": 0.01}) is None


def test_auto_hopes_for_twice_what_any_other_still_gained():
    late = tuple((step, 0.5 if step < 400 else 0.9) for step in range(10, 501, 10))
    history = [*peers(11), ended(11, {}, 0.9, curve=late)]
    assert followed(peers(12), curve_of(0.6), pruner="auto") is not None
    assert followed(history, curve_of(0.6)[:30], pruner="auto") is None

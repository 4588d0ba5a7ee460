"""Greedy selection finds what helps, says so with weights, and leaves out what does not pay."""

import numpy as np
import pytest
import sklearn.metrics as reference

from workers.fitting import greedy
from workers.fitting.greedy import Judge, selected


def numbers(*noises, rows=400, seed=0):
    """(y, predictions that are y with independent noise of these standard deviations)."""
    random = np.random.default_rng(seed)
    y = random.normal(size=rows)
    return y, [y + noise * random.normal(size=rows) for noise in noises]


def classes(count, *, rows=500, seed=0):
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, rows).astype(float)
    positive = [1 / (1 + np.exp(-(2 * y - 1 + random.normal(scale=1.5, size=rows)))) for _ in range(count)]
    return y, [np.column_stack((1 - p, p)) for p in positive]


def test_of_independent_errors_all_help_and_the_better_weigh_more():
    y, predictions = numbers(0.3, 0.5, 0.5)
    weights = selected(Judge("regression", y, "rmse"), predictions, most=3)
    assert set(weights) == {0, 1, 2}
    assert sum(weights.values()) == pytest.approx(1.0)
    # The best mean weighs by the inverse of the variance.
    assert weights[0] == pytest.approx(1 / 0.09 / (1 / 0.09 + 2 / 0.25), abs=0.08)


def test_the_truth_needs_no_company():
    y, predictions = numbers(0.5, 0.0, 0.5)
    assert selected(Judge("regression", y, "rmse"), predictions, most=3) == {1: 1.0}


def test_no_more_models_than_asked():
    y, predictions = numbers(*[0.5] * 6)
    for most in (1, 2, 4):
        assert len(selected(Judge("regression", y, "rmse"), predictions, most=most)) <= most


def test_models_that_break_a_bound_together_do_not_answer_together():
    y, predictions = numbers(0.4, 0.4, 0.9)
    allowed = {frozenset({0}), frozenset({1}), frozenset({2}), frozenset({0, 2})}
    weights = selected(Judge("regression", y, "rmse"), predictions, most=3, allowed=allowed.__contains__)
    assert frozenset(weights) in allowed


def naive(y, predictions, *, most, loss):
    """The same selection with scikit-learn's metric and no cleverness."""
    chosen, best, kept = [], np.inf, []
    while len(chosen) < greedy.MOST_STEPS and len(chosen) - len(kept) < greedy.PATIENCE:
        tried = {}
        for place in range(len(predictions)):
            if len({*chosen, place}) <= most:
                tried[place] = loss(y, np.mean([predictions[each] for each in [*chosen, place]], axis=0))
        place = min(tried, key=lambda each: (tried[each], each))
        chosen = [*chosen, place]
        if not kept or tried[place] < best * (1 - greedy.LEAST_GAIN):
            best, kept = tried[place], chosen
    return {place: kept.count(place) / len(kept) for place in kept}


LOSSES = {
    "roc_auc": lambda y, p: 1 - reference.roc_auc_score(y, p[:, 1]),
    "log_loss": reference.log_loss,
    "average_precision": lambda y, p: 1 - reference.average_precision_score(y, p[:, 1]),
    "rmse": reference.root_mean_squared_error,
    "mae": reference.mean_absolute_error,
}


@pytest.mark.parametrize("metric", LOSSES)
@pytest.mark.parametrize("most", [2, 5])
def test_it_chooses_what_the_plain_way_chooses(metric, most):
    task = "regression" if metric in {"rmse", "mae"} else "binary"
    y, predictions = numbers(0.5, 0.6, 0.7, 0.8, 0.9) if task == "regression" else classes(5)
    found = selected(Judge(task, y, metric), predictions, most=most)
    assert found == pytest.approx(naive(y, predictions, most=most, loss=LOSSES[metric]))


def test_several_classes_are_judged_too():
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 300).astype(float)
    raw = [np.eye(3)[y.astype(int)] * 1.5 + random.random((300, 3)) for _ in range(4)]
    predictions = [each / each.sum(axis=1, keepdims=True) for each in raw]
    for metric in ("log_loss", "roc_auc", "accuracy"):
        judge = Judge("multiclass", y, metric)
        weights = selected(judge, predictions, most=4)
        mean = sum(weight * predictions[place] for place, weight in weights.items())
        assert judge.loss(mean) <= min(judge.loss(each) for each in predictions)


def test_of_very_many_rows_some_are_drawn_and_the_choice_stays(monkeypatch):
    y, predictions = numbers(0.3, 0.5, 2.0, rows=20_000)
    whole = selected(Judge("regression", y, "rmse"), predictions, most=3)
    monkeypatch.setattr(greedy, "WORK", 3 * greedy.MOST_STEPS * 5_000)
    some = selected(Judge("regression", y, "rmse"), predictions, most=3)
    assert some != whole
    assert some == pytest.approx(whole, abs=0.1)


def test_a_metric_without_a_value_chooses_nobody():
    _, predictions = classes(2, rows=50)
    assert selected(Judge("binary", np.ones(50), "roc_auc"), predictions, most=2) == {}

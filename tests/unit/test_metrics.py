"""Metrics have scikit-learn's values; intervals are calibrated, bounded in time, and absent with a reason."""

import time

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from app.spec.decision import CLASSIFICATION_METRICS, METRIC_NAMES, REGRESSION_METRICS
from workers.measures.metrics import METRICS, metric_of, names_for
from workers.measures.samples import Rows
from workers.measures.scoring import poisson_weights, resampled, scores

HARD = {
    "accuracy": lambda y, h, _a: reference.accuracy_score(y, h),
    "balanced_accuracy": lambda y, h, _a: reference.balanced_accuracy_score(y, h),
    "f1": lambda y, h, average: reference.f1_score(y, h, average=average, zero_division=0),
    "precision": lambda y, h, average: reference.precision_score(y, h, average=average, zero_division=0),
    "recall": lambda y, h, average: reference.recall_score(y, h, average=average, zero_division=0),
    "mcc": lambda y, h, _a: reference.matthews_corrcoef(y, h),
}
NUMBERS = {
    "rmse": reference.root_mean_squared_error,
    "mae": reference.mean_absolute_error,
    "mape": reference.mean_absolute_percentage_error,
    "r2": reference.r2_score,
    "median_absolute_error": reference.median_absolute_error,
}


def classified(classes, rows, seed, *, ties=False):
    random = np.random.default_rng(seed)
    y = np.r_[np.arange(classes), random.integers(0, classes, rows - classes)].astype(float)
    p = random.dirichlet(np.ones(classes), rows)
    p[np.arange(rows), y.astype(int)] += 0.5
    p /= p.sum(axis=1, keepdims=True)
    if ties:
        p = np.maximum(np.round(p, 1), 0.05)
        p /= p.sum(axis=1, keepdims=True)
    return y, p


def test_every_metric_of_the_spec_is_there():
    assert set(METRICS) == METRIC_NAMES


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(2, 5), rows=st.integers(12, 300), seed=st.integers(0, 1_000), ties=st.booleans())
def test_classification_values_are_those_of_scikit_learn(classes, rows, seed, ties):
    y, p = classified(classes, rows, seed, ties=ties)
    binary = classes == 2
    chosen = (p[:, 1] >= 0.5).astype(int) if binary else p.argmax(axis=1)
    found = scores("binary" if binary else "multiclass", y, p, names=sorted(CLASSIFICATION_METRICS))
    for name, expected in HARD.items():
        assert found[name]["value"] == pytest.approx(expected(y, chosen, "binary" if binary else "macro")), name
    score = p[:, 1] if binary else p
    ranking = {} if binary else {"multi_class": "ovr", "labels": range(classes)}
    assert found["roc_auc"]["value"] == pytest.approx(reference.roc_auc_score(y, score, **ranking))
    assert found["average_precision"]["value"] == pytest.approx(reference.average_precision_score(y, score))
    assert found["log_loss"]["value"] == pytest.approx(reference.log_loss(y, p, labels=range(classes)))
    assert found["brier"]["value"] == pytest.approx(reference.brier_score_loss(y, score, labels=range(classes)))


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 300), seed=st.integers(0, 1_000))
def test_regression_values_are_those_of_scikit_learn(rows, seed):
    random = np.random.default_rng(seed)
    y = random.normal(size=rows) * 3 + 5
    p = y + random.normal(size=rows)
    found = scores("regression", y, p, names=sorted(REGRESSION_METRICS))
    for name, expected in NUMBERS.items():
        assert found[name]["value"] == pytest.approx(expected(y, p)), name


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 300), seed=st.integers(0, 1_000), quantile=st.floats(0.01, 0.99))
def test_values_of_other_objectives_are_those_of_scikit_learn(rows, seed, quantile):
    random = np.random.default_rng(seed)
    y, p = random.poisson(2.0, rows).astype(float), random.gamma(2.0, size=rows) + 1e-3
    found = scores("regression", y, p, names=["mean_poisson_deviance", "mean_pinball_loss"], quantile=quantile)
    assert found["mean_poisson_deviance"]["value"] == pytest.approx(reference.mean_poisson_deviance(y, p))
    expected = reference.mean_pinball_loss(y, p, alpha=quantile)
    assert found["mean_pinball_loss"]["value"] == pytest.approx(expected)


@pytest.mark.parametrize(("name", "expected"), [
    ("mean_poisson_deviance", reference.mean_poisson_deviance),
    ("mean_pinball_loss", lambda y, p: reference.mean_pinball_loss(y, p, alpha=0.9)),
])  # fmt: skip
def test_intervals_of_other_objectives_are_those_of_a_plain_bootstrap(name, expected):
    random = np.random.default_rng(4)
    y, p = random.poisson(2.0, 400).astype(float), random.gamma(2.0, size=400) + 0.1
    entry = scores("regression", y, p, names=[name], quantile=0.9, intervals=True)[name]
    drawn = [expected(y[rows], p[rows]) for rows in random.integers(0, 400, (400, 400))]
    assert (entry["low"], entry["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), rel=0.1)


@pytest.mark.parametrize(("y", "p", "reason"), [
    ([-1.0, 2.0], [1.0, 2.0], "a target is below 0"), ([1.0, 2.0], [0.0, 2.0], "a prediction is not above 0"),
])  # fmt: skip
def test_a_deviance_of_counts_needs_counts(y, p, reason):
    found = scores("regression", np.array(y), np.array(p), names=["mean_poisson_deviance"], intervals=True)
    assert found["mean_poisson_deviance"] == {"value": None, "reason": reason, "low": None, "high": None}


@pytest.mark.parametrize(("name", "task", "objective", "metric"), [
    ("auto", "regression", "poisson", "mean_poisson_deviance"), ("auto", "regression", "quantile", "mean_pinball_loss"),
    ("auto", "regression", "huber", "mae"), ("auto", "regression", "auto", "rmse"), ("r2", "regression", "huber", "r2"),
    ("auto", "binary", "auto", "roc_auc"), ("auto", "multiclass", "auto", "log_loss"),
])  # fmt: skip
def test_a_search_is_judged_by_what_its_models_minimise(name, task, objective, metric):
    assert metric_of(name, task, objective) == metric


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_intervals_hold_their_value_and_repeat(task):
    y, p = classified(2 if task == "binary" else 3, 300, 1)
    p = y + np.random.default_rng(2).normal(size=300) if task == "regression" else p
    names = names_for(task, [])
    one, two = (scores(task, y, p, names=names, intervals=True, seed=5) for _ in range(2))
    assert one == two
    for entry in one.values():
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert entry["low"] < entry["high"]


def test_the_interval_of_accuracy_is_that_of_a_proportion():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 2_000).astype(float)
    right = random.random(2_000) < 0.8
    p = np.where(right, y, 1 - y)
    found = scores("binary", y, np.column_stack((1 - p, p)), names=["accuracy"], intervals=True)["accuracy"]
    spread = 1.96 * np.sqrt(found["value"] * (1 - found["value"]) / 2_000)
    assert found["high"] - found["low"] == pytest.approx(2 * spread, rel=0.15)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "log_loss", "f1"])
def test_resamples_spread_as_a_plain_bootstrap_does(name):
    y, p = classified(2, 400, 3)
    random = np.random.default_rng(0)
    plain = []
    for _ in range(400):
        chosen = random.integers(0, len(y), len(y))
        plain.append(scores("binary", y[chosen], p[chosen], names=[name])[name]["value"])
    drawn = resampled(Rows("binary", y, p), [name], seed=1)[name]
    assert drawn.std() == pytest.approx(np.std(plain), rel=0.2)
    assert drawn.mean() == pytest.approx(np.mean(plain), abs=0.2 * np.std(plain))


def test_weights_are_poisson_of_mean_one():
    weights = poisson_weights(np.random.default_rng(0), 1_000, 1_000)
    assert weights.mean() == pytest.approx(1.0, abs=0.005)
    assert weights.var() == pytest.approx(1.0, abs=0.01)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.002)


def test_what_has_no_value_says_why():
    p = np.full((5, 2), 0.5)
    found = scores("binary", np.ones(5), p, names=["roc_auc", "average_precision"], intervals=True)
    assert found["roc_auc"] == {"value": None, "reason": "a class has no rows here", "low": None, "high": None}
    assert scores("regression", np.ones(5), np.ones(5), names=["r2"])["r2"]["reason"] == "the target is constant here"
    assert scores("regression", np.empty(0), np.empty(0), names=["rmse"])["rmse"]["value"] is None
    assert scores("regression", np.ones(2), np.array([1.0, np.nan]), names=["rmse"])["rmse"]["value"] is None


def test_many_classes_have_values_without_intervals():
    y, p = classified(60, 500, 0)
    entry = scores("multiclass", y, p, names=["accuracy"], intervals=True)["accuracy"]
    assert entry["value"] is not None
    assert entry["low"] is None
    assert "50 classes" in entry["reason"]


def test_a_hundred_thousand_rows_take_seconds_at_most():
    y, p = classified(2, 100_000, 0)
    began = time.process_time()
    scores("binary", y, p, names=names_for("binary", []), intervals=True)
    assert time.process_time() - began < 5

"""Metrics have scikit-learn's values, on rows that count alike and on weighted ones; what has none says why."""

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from app.spec.decision import CLASSIFICATION_METRICS, METRIC_NAMES, REGRESSION_METRICS
from workers.measures.metrics import METRICS, metric_of
from workers.measures.scoring import scores

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


@settings(max_examples=30)
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


@settings(max_examples=30)
@given(rows=st.integers(2, 300), seed=st.integers(0, 1_000))
def test_regression_values_are_those_of_scikit_learn(rows, seed):
    random = np.random.default_rng(seed)
    y = random.normal(size=rows) * 3 + 5
    p = y + random.normal(size=rows)
    found = scores("regression", y, p, names=sorted(REGRESSION_METRICS))
    for name, expected in NUMBERS.items():
        assert found[name]["value"] == pytest.approx(expected(y, p)), name


@settings(max_examples=30)
@given(rows=st.integers(2, 300), seed=st.integers(0, 1_000), quantile=st.floats(0.01, 0.99))
def test_values_of_other_objectives_are_those_of_scikit_learn(rows, seed, quantile):
    random = np.random.default_rng(seed)
    y, p = random.poisson(2.0, rows).astype(float), random.gamma(2.0, size=rows) + 1e-3
    found = scores("regression", y, p, names=["mean_poisson_deviance", "mean_pinball_loss"], quantile=quantile)
    assert found["mean_poisson_deviance"]["value"] == pytest.approx(reference.mean_poisson_deviance(y, p))
    expected = reference.mean_pinball_loss(y, p, alpha=quantile)
    assert found["mean_pinball_loss"]["value"] == pytest.approx(expected)


@pytest.mark.parametrize(("y", "p", "reason"), [
    ([-1.0, 2.0], [1.0, 2.0], "a target is below 0"), ([1.0, 2.0], [0.0, 2.0], "a prediction is not above 0"),
])  # fmt: skip
def test_a_deviance_of_counts_needs_counts(y, p, reason):
    found = scores("regression", np.array(y), np.array(p), names=["mean_poisson_deviance"])
    assert found["mean_poisson_deviance"] == {"value": None, "reason": reason}


@pytest.mark.parametrize(("name", "task", "objective", "metric"), [
    ("auto", "regression", "poisson", "mean_poisson_deviance"), ("auto", "regression", "quantile", "mean_pinball_loss"),
    ("auto", "regression", "huber", "mae"), ("auto", "regression", "auto", "rmse"), ("r2", "regression", "huber", "r2"),
    ("auto", "binary", "auto", "roc_auc"), ("auto", "multiclass", "auto", "log_loss"),
])  # fmt: skip
def test_a_search_is_judged_by_what_its_models_minimise(name, task, objective, metric):
    assert metric_of(name, task, objective) == metric


def test_what_has_no_value_says_why():
    p = np.full((5, 2), 0.5)
    found = scores("binary", np.ones(5), p, names=["roc_auc", "average_precision"])
    assert found["roc_auc"] == {"value": None, "reason": "a class has no rows here"}
    none = scores("binary", np.zeros(5), p, names=["recall", "f1", "balanced_accuracy", "precision", "accuracy"])
    wanted = "the class that is looked for has no rows here"
    assert {name: found.get("reason") for name, found in none.items() if found["value"] is None} == {
        "recall": wanted, "f1": wanted, "balanced_accuracy": "a class has no rows here",
    }  # fmt: skip
    assert scores("regression", np.ones(5), np.ones(5), names=["r2"])["r2"]["reason"] == "the target is constant here"
    assert scores("regression", np.empty(0), np.empty(0), names=["rmse"])["rmse"]["value"] is None
    assert scores("regression", np.ones(2), np.array([1.0, np.nan]), names=["rmse"])["rmse"]["value"] is None
    weightless = scores("regression", np.ones(2), np.zeros(2), names=["rmse"], weights=np.zeros(2))["rmse"]
    assert weightless == {"value": None, "reason": "the rows have no weight"}


def weighted_reference(y, p, weights, classes):
    """By metric, scikit-learn's value on weighted rows."""
    binary = classes == 2
    chosen = (p[:, 1] >= 0.5).astype(int) if binary else p.argmax(axis=1)
    average = {"average": "binary" if binary else "macro", "zero_division": 0}
    score, ranking = (p[:, 1], {}) if binary else (p, {"multi_class": "ovr", "labels": range(classes)})
    same = {"sample_weight": weights}
    return {
        "accuracy": reference.accuracy_score(y, chosen, **same),
        "balanced_accuracy": reference.balanced_accuracy_score(y, chosen, **same),
        "f1": reference.f1_score(y, chosen, **average, **same),
        "precision": reference.precision_score(y, chosen, **average, **same),
        "recall": reference.recall_score(y, chosen, **average, **same),
        "mcc": reference.matthews_corrcoef(y, chosen, **same),
        "log_loss": reference.log_loss(y, p, labels=range(classes), **same),
        "brier": reference.brier_score_loss(y, score, labels=range(classes), **same),
        "roc_auc": reference.roc_auc_score(y, score, **ranking, **same),
        "average_precision": reference.average_precision_score(y, score, **same),
    }


@settings(max_examples=30)
@given(classes=st.integers(2, 4), rows=st.integers(20, 300), seed=st.integers(0, 1_000), ties=st.booleans(),
       whole=st.booleans())  # fmt: skip
def test_weighted_classification_values_are_those_of_scikit_learn(classes, rows, seed, ties, whole):
    y, p = classified(classes, rows, seed, ties=ties)
    random = np.random.default_rng(seed)
    weights = random.poisson(1.0, rows).astype(float) if whole else random.gamma(1.0, size=rows)
    weights[:classes] = np.maximum(weights[:classes], 1.0)  # so that no class is without weight
    found = scores(
        "binary" if classes == 2 else "multiclass", y, p, names=sorted(CLASSIFICATION_METRICS), weights=weights
    )
    for name, expected in weighted_reference(y, p, weights, classes).items():
        assert found[name]["value"] == pytest.approx(expected, abs=1e-9), name


@settings(max_examples=30)
@given(rows=st.integers(2, 300), seed=st.integers(0, 1_000), whole=st.booleans(), ties=st.booleans())
def test_weighted_regression_values_are_those_of_scikit_learn(rows, seed, whole, ties):
    random = np.random.default_rng(seed)
    y = random.normal(size=rows) * 3 + 5
    p = y + (random.integers(-3, 4, rows) if ties else random.normal(size=rows))
    weights = random.poisson(1.0, rows).astype(float) if whole else random.gamma(1.0, size=rows)
    weights[:2] = np.maximum(weights[:2], 1.0)
    found = scores("regression", y, p, names=sorted(REGRESSION_METRICS), weights=weights)
    for name, expected in NUMBERS.items():
        assert found[name]["value"] == pytest.approx(expected(y, p, sample_weight=weights), rel=1e-9, abs=1e-9), name
    pinball = reference.mean_pinball_loss(y, p, sample_weight=weights, alpha=0.5)
    assert found["mean_pinball_loss"]["value"] == pytest.approx(pinball)

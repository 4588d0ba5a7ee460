"""Intervals are those of the bootstrap, for one model and for the difference of two, whatever the order of the rows."""

import numpy as np
import pytest
import sklearn.metrics as reference

from workers.measures import intervals
from workers.measures.intervals import Confidence, arranged, drawn_again, poisson, resampled, resamples_of
from workers.measures.metrics import names_for
from workers.measures.samples import Rows
from workers.measures.scoring import compared, gap, measured

QUICK = Confidence(resamples=300, seed=5)
BINARY = ("accuracy", "average_precision", "brier", "f1", "log_loss", "roc_auc")


def scored(rows: int, seed: int, *, lift: float = 1.0, share: float = 0.3, decimals: int | None = None) -> Rows:
    """Two classes and a model whose scores are `lift` standard deviations apart."""
    random = np.random.default_rng(seed)
    y = np.r_[0.0, 1.0, (random.random(rows - 2) < share).astype(float)]
    p = 1.0 / (1.0 + np.exp(-(lift * (y - 0.5) + random.normal(size=rows))))
    p = p if decimals is None else np.clip(np.round(p, decimals), 0.01, 0.99)
    return Rows("binary", y, np.column_stack((1 - p, p)))


def numbers(rows: int, seed: int, noise: float = 1.0) -> Rows:
    random = np.random.default_rng(seed)
    y = random.normal(size=rows)
    return Rows("regression", y, y + noise * random.normal(size=rows))


def sklearn_value(name: str, rows: Rows, weights: np.ndarray) -> float:
    score, chosen = rows.p[:, 1], (rows.p[:, 1] >= 0.5).astype(int)
    of = {
        "roc_auc": lambda: reference.roc_auc_score(rows.y, score, sample_weight=weights),
        "average_precision": lambda: reference.average_precision_score(rows.y, score, sample_weight=weights),
        "log_loss": lambda: reference.log_loss(rows.y, rows.p, sample_weight=weights),
        "brier": lambda: reference.brier_score_loss(rows.y, score, sample_weight=weights),
        "accuracy": lambda: reference.accuracy_score(rows.y, chosen, sample_weight=weights),
        "f1": lambda: reference.f1_score(rows.y, chosen, sample_weight=weights),
    }
    return float(of[name]())


@pytest.mark.parametrize("decimals", [None, 1])
def test_each_resample_has_the_value_that_scikit_learn_gives_for_its_weights(decimals):
    rows = arranged([scored(3_000, 1, decimals=decimals)])[0]
    confidence = Confidence(resamples=20, seed=3)
    found = resampled([rows], BINARY, confidence)[0]
    weights = np.concatenate(list(drawn_again(rows, confidence)))
    assert weights.shape == (20, 3_000)
    for place, each in enumerate(weights):
        for name in BINARY:
            exact = 1e-9 if name in {"roc_auc", "average_precision"} else 1e-6
            assert found[name][place] == pytest.approx(sklearn_value(name, rows, each), abs=exact), name


def test_draws_are_poisson_of_mean_one():
    draws = poisson(np.random.default_rng(0), 1_000, 1_000).astype(float)
    assert draws.mean() == pytest.approx(1.0, abs=0.005)
    assert draws.var() == pytest.approx(1.0, abs=0.01)
    assert (draws == 0).mean() == pytest.approx(np.exp(-1), abs=0.002)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_intervals_hold_their_value_and_repeat(task):
    random = np.random.default_rng(2)
    y = random.integers(0, 3 if task == "multiclass" else 2, 300).astype(float)
    p = random.dirichlet(np.ones(3 if task == "multiclass" else 2), 300)
    rows = numbers(300, 2) if task == "regression" else Rows(task, y, p)
    one, two = (measured(rows, names_for(task, []), QUICK) for _ in range(2))
    assert one == two
    for entry in one.values():
        assert entry["low"] < entry["high"]
        assert entry["low"] <= entry["value"] <= entry["high"]


@pytest.mark.parametrize("make", [lambda: scored(700, 4), lambda: scored(700, 4, decimals=1), lambda: numbers(700, 4)])
def test_nothing_depends_on_the_order_of_the_rows(make):
    rows = make()
    other = Rows(rows.task, rows.y, rows.p + (0.01 if rows.p.ndim == 1 else np.array([0.01, -0.01])))
    shuffled = np.random.default_rng(9).permutation(len(rows))
    names = names_for(rows.task, [])
    assert measured(rows, names, QUICK) == measured(rows.taken(shuffled), names, QUICK)
    assert compared(rows, other, names, QUICK) == compared(rows.taken(shuffled), other.taken(shuffled), names, QUICK)


def test_the_interval_of_accuracy_is_that_of_a_proportion():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 2_000).astype(float)
    p = np.where(random.random(2_000) < 0.8, y, 1 - y)
    found = measured(Rows("binary", y, np.column_stack((1 - p, p))), ["accuracy"], Confidence())["accuracy"]
    spread = 1.96 * np.sqrt(found["value"] * (1 - found["value"]) / 2_000)
    assert found["high"] - found["low"] == pytest.approx(2 * spread, rel=0.1)


def delong(rows: Rows) -> tuple[float, float]:
    """The AUC and its standard error by DeLong et al. (1988), https://doi.org/10.2307/2531595."""
    own, other = rows.p[rows.y == 1, 1], rows.p[rows.y == 0, 1]
    pairs = (own[:, None] > other[None, :]) + 0.5 * (own[:, None] == other[None, :])
    variance = pairs.mean(axis=1).var(ddof=1) / len(own) + pairs.mean(axis=0).var(ddof=1) / len(other)
    return float(pairs.mean()), float(np.sqrt(variance))


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_auc_is_delongs(seed):
    rows = scored(1_500, seed)
    value, error = delong(rows)
    found = measured(rows, ["roc_auc"], Confidence(resamples=2_000))["roc_auc"]
    assert found["value"] == pytest.approx(value, abs=1e-12)
    assert found["low"] == pytest.approx(value - 1.96 * error, abs=0.2 * error)
    assert found["high"] == pytest.approx(value + 1.96 * error, abs=0.2 * error)


@pytest.mark.parametrize(("name", "metric"), [
    ("rmse", reference.root_mean_squared_error), ("median_absolute_error", reference.median_absolute_error),
    ("r2", reference.r2_score),
])  # fmt: skip
def test_intervals_of_numbers_are_those_of_a_plain_bootstrap(name, metric):
    rows, random = numbers(500, 1), np.random.default_rng(0)
    drawn = [metric(rows.y[chosen], rows.p[chosen]) for chosen in random.integers(0, 500, (1_000, 500))]
    entry, spread = measured(rows, [name], Confidence())[name], np.std(drawn)
    assert (entry["low"], entry["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.4 * spread)


def test_a_weighted_row_counts_as_often_as_its_weight_says():
    rows = scored(400, 3)
    doubled = rows.taken(np.repeat(np.arange(400), 2))
    weighted = Rows("binary", rows.y, rows.p, weights=np.full(400, 2.0))
    one, two = (measured(each, BINARY, QUICK) for each in (doubled, weighted))
    for name in BINARY:
        assert one[name]["value"] == pytest.approx(two[name]["value"]), name
        narrow, wide = (each[name]["high"] - each[name]["low"] for each in (one, two))
        assert narrow < 0.9 * wide, f"{name}: two rows tell more than one that counts twice"


def test_a_better_model_gains_and_the_gain_of_alike_ones_is_less_wide_than_their_values():
    base, random = scored(2_000, 1), np.random.default_rng(0)
    near = np.clip(base.p[:, 1] + 0.01 * random.normal(size=2_000), 0.001, 0.999)
    alike = Rows("binary", base.y, np.column_stack((1 - near, near)))
    worse = Rows(
        "binary",
        base.y,
        np.full((2_000, 2), 0.5) + 0.2 * (base.p - 0.5) + 0.1 * random.normal(size=(2_000, 1)) * [1, -1],
    )
    gains = compared(base, alike, ["roc_auc"], QUICK)["roc_auc"]
    alone = measured(base, ["roc_auc"], QUICK)["roc_auc"]
    assert gains["high"] - gains["low"] < 0.5 * (alone["high"] - alone["low"])
    told = compared(base, worse, ["roc_auc", "log_loss"], QUICK)
    assert told["roc_auc"]["low"] > 0, "higher is better"
    assert told["log_loss"]["low"] > 0, "a lower loss is a gain too"
    same = compared(base, base, ["roc_auc"], QUICK)["roc_auc"]
    assert (same["value"], same["low"], same["high"]) == (0.0, 0.0, 0.0)


def test_the_gap_of_equal_groups_is_small_and_of_others_is_not():
    groups = [scored(1_500, seed) for seed in range(3)]
    equal = gap(groups, "accuracy", QUICK)
    apart = gap([*groups, scored(1_500, 9, lift=4.0)], "accuracy", QUICK)
    assert equal["high"] < 0.1 < apart["low"] < apart["value"] < apart["high"]
    assert gap(groups[:1], "accuracy", QUICK)["value"] is None


def test_resamples_without_what_is_measured_do_not_count_as_nothing():
    y = np.r_[np.ones(3), np.zeros(200)]
    found = measured(Rows("binary", y, np.column_stack((1 - y, y))), ["recall", "f1", "balanced_accuracy"], QUICK)
    assert {name: (entry["low"], entry["high"]) for name, entry in found.items()} == dict.fromkeys(found, (1.0, 1.0))
    flat = Rows("regression", np.r_[np.zeros(400), 1.0], np.full(401, 0.1))
    assert measured(flat, ["r2"], QUICK)["r2"]["low"] > -1e3


def test_many_equal_groups_may_be_equal():
    found = [gap([scored(100, 40 * run + seed) for seed in range(20)], "accuracy", QUICK) for run in range(5)]
    assert all(each["low"] < 0.08 < each["value"] < each["high"] for each in found)


def test_many_classes_have_values_without_intervals():
    random = np.random.default_rng(0)
    y = np.r_[np.arange(60), random.integers(0, 60, 440)].astype(float)
    entry = measured(Rows("multiclass", y, random.dirichlet(np.ones(60), 500)), ["accuracy"], QUICK)["accuracy"]
    assert entry["value"] is not None
    assert entry["low"] is None
    assert "50 classes" in entry["reason"]


def test_too_few_rows_have_no_interval_and_say_so():
    rows = Rows("binary", np.array([0.0, 1.0]), np.array([[0.6, 0.4], [0.3, 0.7]]))
    entry = measured(rows, ["roc_auc"], QUICK)["roc_auc"]
    assert (entry["value"], entry["low"], entry["reason"]) == (1.0, None, "too few rows for an interval")
    assert measured(rows.taken(np.array([], dtype=int)), ["roc_auc"], QUICK)["roc_auc"]["reason"] == "there are no rows"


def test_very_many_rows_get_fewer_resamples_and_never_too_few(monkeypatch):
    rows = numbers(1_000, 0)
    monkeypatch.setattr(intervals, "MOST_DRAWS", 200_000)
    assert resamples_of(rows, Confidence()) == 200
    monkeypatch.setattr(intervals, "MOST_DRAWS", 1)
    assert resamples_of(rows, Confidence()) == intervals.FEWEST_RESAMPLES
    assert resampled([rows], ["rmse"], Confidence())[0]["rmse"].shape == (intervals.FEWEST_RESAMPLES,)

"""The linear trainer solves what scikit-learn's estimators solve, on a design that takes any matrix."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import issparse
from sklearn.linear_model import HuberRegressor, LogisticRegression, PoissonRegressor, QuantileRegressor, Ridge
from sklearn.metrics import mean_pinball_loss

from app.errors import DigestMismatch, InvalidData
from tests.modelling import matrix
from trainhouse_loader.models.design import MOST_LEVELS, Design
from workers.trainers.contract import Company, Fold, Recipe
from workers.trainers.linear import LinearTrainer

TO_THE_END = {"early_stopping_rounds": None, "deterministic": True}


def fitted(data, company=None, fold=None, **recipe):
    chosen = Recipe(**{**TO_THE_END, **recipe})
    return LinearTrainer().fit(data, fold or Fold.of_parts(data), chosen, company or Company())


def with_codes(task, *, levels=4, rows=900):
    """A matrix whose last column holds codes that move the target, some of them missing, as are some numbers."""
    data, random = matrix(task, rows=rows), np.random.default_rng(1)
    codes = random.integers(0, levels, rows).astype(float)
    y = data.y + 3 * (codes % 2) if task == "regression" else np.where(codes % 2, 1.0, data.y)
    x = np.column_stack((data.x, np.where(random.random(rows) < 0.1, np.nan, codes)))
    x[random.random(rows) < 0.1, 0] = np.nan
    return replace(data, x=x, y=y, feature_names=(*data.feature_names, "kind"), categorical=(6,))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_answers_are_those_of_scikit_learn(task, weighted):
    data = matrix(task)
    weight = np.random.default_rng(3).uniform(0.2, 3.0, len(data.y)) if weighted else None
    found = fitted(replace(data, weight=weight), params={"alpha": 5.0} if task == "regression" else {"C": 0.3})
    train = data.where("train")
    x = found.design.numbers.standardised(data.x)
    reference = Ridge(alpha=5.0) if task == "regression" else LogisticRegression(C=0.3, tol=1e-9, max_iter=1_000)
    reference.fit(x[train], data.y[train], None if weight is None else weight[train])
    expected = reference.predict(x) if task == "regression" else reference.predict_proba(x)
    assert found.predict(data.x) == pytest.approx(expected, abs=2e-4)


def test_counts_quantiles_and_hubers_loss_are_those_of_scikit_learn():
    data = matrix("regression")
    train = data.where("train")
    counts = replace(data, y=np.random.default_rng(0).poisson(np.exp(data.x[:, 0] / 2)).astype(float))
    found = fitted(counts, objective="poisson", params={"alpha": 0.0})
    x = found.design.numbers.standardised(data.x)
    expected = PoissonRegressor(alpha=0.0, tol=1e-9, max_iter=1_000).fit(x[train], counts.y[train]).predict(x)
    assert found.predict(data.x) == pytest.approx(expected, rel=1e-3)
    tails = replace(data, y=data.y + np.random.default_rng(1).standard_t(2, len(data.y)))
    spread = tails.y[train].std()
    found = fitted(tails, objective="huber", huber_delta=0.5, params={"alpha": 0.0})
    # scikit-learn fits a scale too and turns at epsilon times it: its answer is ours for the same turning point.
    reference = HuberRegressor(alpha=0.0, epsilon=1.2, tol=1e-9, max_iter=1_000).fit(x[train], tails.y[train])
    same = fitted(tails, objective="huber", huber_delta=1.2 * reference.scale_ / spread, params={"alpha": 0.0})
    assert same.predict(data.x) == pytest.approx(reference.predict(x), abs=0.02)
    assert np.abs(found.predict(data.x) - same.predict(data.x)).max() > 1e-3


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_a_quantile_has_its_share_below_and_nearly_the_least_loss(quantile):
    data = matrix("regression")
    train = data.where("train")
    found = fitted(data, objective="quantile", quantile=quantile, params={"alpha": 0.0})
    x = found.design.numbers.standardised(data.x)
    least = QuantileRegressor(quantile=quantile, alpha=0.0).fit(x[train], data.y[train]).predict(x[train])
    ours = found.predict(data.x[train])
    assert (data.y[train] <= ours + 1e-9).mean() == pytest.approx(quantile, abs=0.01)
    losses = [mean_pinball_loss(data.y[train], each, alpha=quantile) for each in (ours, least)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_absolute_penalties_leave_out_what_says_nothing():
    found = fitted(matrix("regression"), params={"alpha": 30.0, "l1_ratio": 1.0})
    assert (found.coefficients[0, :2] != 0).all()
    assert found.coefficients[0, 2:].tolist() == [0.0] * 4


@pytest.mark.parametrize(("task", "params"), [("binary", {}), ("regression", {}), ("regression", {"l1_ratio": 0.5})])
def test_what_must_only_rise_never_falls(task, params):
    data = matrix(task)
    names = {"plain": -1, 'with "quotes"': -1, "f0": 1}
    found = fitted(data, monotone=names, params=params)
    x = np.tile(data.x[:1], (50, 1))
    for name, way in names.items():
        moved = x.copy()
        moved[:, data.feature_names.index(name)] = np.linspace(-1e3, 1e3, 50)
        answer = found.predict(moved)
        assert (way * np.diff(answer if task == "regression" else answer[:, 1]) >= 0).all()
    assert found.coefficients[0, 0] == 0.0  # the target rises with it
    assert found.coefficients[0, 1] < 0.0


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("levels", [4, 300])
def test_codes_and_missing_values_are_learned_from_and_serving_sees_what_training_saw(task, levels):
    data = with_codes(task, levels=levels)
    fold = Fold.of_parts(data)
    design = Design.learn(data.x, fold.train, data.categorical)
    whole = design.matrix(data.x, np.arange(len(data.y)))
    assert issparse(whole) == (levels == 300)
    coefficients = np.random.default_rng(0).normal(size=(2, design.width))
    assert design.sums(data.x, coefficients) == pytest.approx(whole @ coefficients.T, abs=1e-9)
    found = fitted(data, params={"alpha": 0.1} if task == "regression" else {"C": 10.0})
    shares = found.importances(data.x[fold.train])
    assert shares.sum() == pytest.approx(1.0)
    assert shares[6] > 0.1
    never = np.tile(data.x[:1], (2, 1))
    never[:, 6] = [10_000, 10_001]
    assert found.predict(never)[0].tolist() == found.predict(never)[1].tolist()


def test_only_the_most_frequent_levels_get_a_column():
    codes = np.r_[np.arange(MOST_LEVELS + 50), np.arange(50, MOST_LEVELS + 50), np.nan].astype(float)[:, None]
    design = Design.learn(codes, np.arange(len(codes)), [0])
    assert design.width == MOST_LEVELS + 1
    assert (design.read(np.array([[0.0], [49.0]])).places == -1).all()
    assert (design.read(np.array([[50.0], [np.nan]])).places >= 0).all()


@pytest.mark.parametrize("column", [
    [1e308, -1e308, 0.0], [5e-324, 0.0, -5e-324], [7.0, 7.0, 7.0], [np.nan, np.nan, np.nan], [1e9, 1e9 + 1, np.nan],
])  # fmt: skip
def test_numbers_of_any_size_stay_finite(column):
    values = np.array((column * 40)[:100])[:, None]
    numbers = Design.learn(values, np.arange(80), []).numbers
    strange = np.array([[np.inf], [-np.inf], [1e300], [-1e300], [0.0], [1e-320]])
    for x in (values, strange):
        found = numbers.standardised(x)
        assert np.abs(found[~np.isnan(found)]).max(initial=0.0) < 1e6
        assert (np.isnan(found) == np.isnan(x)).all()


def test_one_wild_number_does_not_hide_the_others():
    data = matrix("regression")
    x = data.x.copy()
    x[np.flatnonzero(data.where("train"))[0], 0] = 1e300
    one, other = (fitted(each).predict(data.x) for each in (data, replace(data, x=x)))
    usual = x[:, 0] < 1e3
    assert np.corrcoef(one[usual], other[usual])[0, 1] > 0.97


def test_the_scale_of_the_target_changes_nothing():
    data = matrix("regression")
    plain = fitted(data).predict(data.x)
    for factor, shift in ((1e300, 0.0), (1e-300, 0.0), (1.0, 1e6)):
        moved = fitted(replace(data, y=data.y * factor + shift)).predict(data.x)
        assert (moved - shift) / factor == pytest.approx(plain, abs=1e-6)


def test_a_fit_goes_on_from_what_was_offered(tmp_path):
    data = matrix("multiclass")

    def offer(iteration, save):
        if iteration == 3:
            save(tmp_path / "three")

    whole = fitted(data, Company(offer=offer), deterministic=False)
    told = []
    company = Company(resume=tmp_path / "three", on_iteration=lambda step, _value: told.append(step))
    again = fitted(data, company, deterministic=False)
    assert told[:2] == [3, 4]
    assert again.predict(data.x) == pytest.approx(whole.predict(data.x), abs=1e-3)


def test_patience_takes_the_best_model_and_no_validation_rows_take_the_last():
    data = matrix("binary", rows=150)
    told = []
    company = Company(on_iteration=lambda step, value: told.append((step, value)))
    found = fitted(data, company, params={"C": 1e4}, early_stopping_rounds=50, metric="log_loss")
    values = {step: value for step, value in told if np.isfinite(value)}
    assert found.iterations == min(values, key=values.get)
    fold = replace(Fold.of_parts(data), validation=None)
    found = fitted(data, fold=fold, max_iterations=4, early_stopping_rounds=50)
    assert found.iterations == 4


def test_counts_below_zero_are_refused():
    with pytest.raises(InvalidData) as caught:
        fitted(matrix("regression"), objective="poisson")
    assert caught.value.stable_code == "negative_target"


def test_a_file_whose_parts_do_not_fit_is_refused(tmp_path):
    path = tmp_path / "model"
    fitted(with_codes("binary")).save(path)
    whole = json.loads(path.read_text())
    strange = [
        {"format": "trainhouse-linear-1"}, {"coefficients": [[1.0]]}, {"design": []}, {"intercepts": "none"},
        {"design": {**whole["design"], "numbers": {**whole["design"]["numbers"], "unit": [1.0]}}},
    ]  # fmt: skip
    for change in strange:
        path.write_text(json.dumps({**whole, **change}))
        with pytest.raises(DigestMismatch):
            LinearTrainer().load(path)

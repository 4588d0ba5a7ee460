"""Forests are scikit-learn's in quality, bounded in size, and the same whatever the threads, batches and interruptions."""

import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from app.errors import Cancelled, DigestMismatch, InvalidData
from tests.modelling import matrix
from tests.unit.test_linear import with_codes
from trainhouse_loader.models.ordering import BINS, MISSING, Bins, Order
from workers.measures.scoring import scores
from workers.trainers import TRAINERS, forest, growing
from workers.trainers.contract import Company, Fold, Recipe

KINDS = ("random_forest", "extra_trees")
PEERS = {
    ("random_forest", "binary"): RandomForestClassifier, ("random_forest", "regression"): RandomForestRegressor,
    ("extra_trees", "binary"): ExtraTreesClassifier, ("extra_trees", "regression"): ExtraTreesRegressor,
}  # fmt: skip


def fitted(data, kind="random_forest", company=None, fold=None, **recipe):
    chosen = Recipe(**{"early_stopping_rounds": None, "deterministic": True, "max_iterations": 30, **recipe})
    return TRAINERS[kind].fit(data, fold or Fold.of_parts(data), chosen, company or Company())


@pytest.mark.parametrize(("kind", "task"), list(PEERS))
def test_a_forest_predicts_about_as_well_as_that_of_scikit_learn(kind, task):
    data = matrix(task, rows=900)
    train, test = data.where("train"), data.where("test")
    peer = PEERS[kind, task](50, max_features="sqrt", random_state=0).fit(data.x[train], data.y[train])
    theirs = peer.predict_proba(data.x[test]) if task == "binary" else peer.predict(data.x[test])
    ours = fitted(data, kind, max_iterations=50, params={"min_samples_leaf": 1}).predict(data.x[test])
    name = "log_loss" if task == "binary" else "rmse"
    values = [scores(task, data.y[test], each, names=[name])[name]["value"] for each in (ours, theirs)]
    assert values[0] < values[1] * 1.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_threads_and_interruptions_change_no_byte(kind, task, tmp_path):
    data = matrix(task)

    def offer(iteration, save):
        if iteration == 8:
            save(tmp_path / "eight")

    fitted(data, kind, Company(threads=1, offer=offer)).save(tmp_path / "whole")
    fitted(data, kind, Company(threads=2)).save(tmp_path / "wide")
    told = []
    company = Company(resume=tmp_path / "eight", on_iteration=lambda tree, _value: told.append(tree))
    fitted(data, kind, company).save(tmp_path / "again")
    assert told == list(range(8, 31))
    whole = (tmp_path / "whole").read_bytes()
    assert (tmp_path / "wide").read_bytes() == whole
    assert (tmp_path / "again").read_bytes() == whole


@pytest.mark.parametrize("seconds", [0.0, np.inf])
@pytest.mark.parametrize("patience", [None, 5])
def test_how_many_trees_are_grown_at_a_time_changes_no_byte(monkeypatch, seconds, patience, tmp_path):
    data, recipe = matrix("binary"), {"early_stopping_rounds": patience, "metric": "roc_auc", "max_iterations": 80}
    fitted(data, company=Company(threads=2), **recipe).save(tmp_path / "usual")
    monkeypatch.setattr(forest, "LOOK_SECONDS", seconds)
    fitted(data, company=Company(threads=2), **recipe).save(tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == (tmp_path / "usual").read_bytes()


@pytest.fixture
def slow_trees(monkeypatch):
    """The numbers of the trees that were begun; each takes longer than a fit may go without a look."""
    begun, tree = [], growing.Grower.tree

    def slow(self, number, leaves):
        begun.append(number)
        time.sleep(0.03)
        return tree(self, number, leaves)

    monkeypatch.setattr(growing.Grower, "tree", slow)
    monkeypatch.setattr(forest, "LOOK_SECONDS", 0.02)
    return begun


def test_a_fit_of_slow_trees_hears_after_each_that_it_is_cancelled(slow_trees):
    def cancel(tree, _value):
        if tree == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fitted(matrix("binary"), company=Company(on_iteration=cancel))
    assert slow_trees == [0, 1, 2]


def test_a_fit_of_slow_trees_ends_at_its_deadline(slow_trees):
    found = fitted(matrix("binary"), company=Company(deadline=time.monotonic() + 0.1), max_iterations=200)
    assert found.timed_out
    assert 1 <= found.iterations == len(slow_trees) <= 4


def test_quick_trees_are_grown_several_at_a_time(monkeypatch):
    begun, looks, tree = [], [], growing.Grower.tree

    def counted(self, number, leaves):
        begun.append(number)
        return tree(self, number, leaves)

    monkeypatch.setattr(growing.Grower, "tree", counted)
    monkeypatch.setattr(forest, "LOOK_SECONDS", np.inf)
    fitted(matrix("binary"), company=Company(on_iteration=lambda tree, _value: looks.append(len(begun) - tree)))
    assert max(looks) == forest.TREES_AT_A_TIME - 1


def test_a_forest_stays_small_however_many_rows_there_are(monkeypatch, tmp_path):
    data = matrix("multiclass", rows=4_000)
    monkeypatch.setattr(growing, "MOST_BYTES", 100_000)
    monkeypatch.setattr(growing, "MOST_ROWS", 1_000)
    for kind in KINDS:
        model = fitted(data, kind, params={"n_estimators": 20, "min_samples_leaf": 1})
        model.save(tmp_path / kind)
        assert model.iterations == 20
        assert (tmp_path / kind).stat().st_size < 190_000
    own = fitted(data, params={"n_estimators": 20, "min_samples_leaf": 1, "max_leaf_nodes": 700})
    own.save(tmp_path / "own")
    assert (tmp_path / "own").stat().st_size > 220_000


@pytest.mark.parametrize("objective", ["quantile", "huber", "poisson"])
@pytest.mark.parametrize("monotone", [{}, {"plain": 1, 'with "quotes"': -1}])
def test_other_objectives_and_monotone_forests_hold(objective, monotone):
    data = matrix("regression", rows=700)
    data = replace(data, y=np.maximum(0.0, np.round(data.y))) if objective == "poisson" else data
    found = fitted(data, objective=objective, quantile=0.8, monotone=monotone)
    test = data.where("test")
    answer = found.predict(data.x[test])
    if objective == "quantile":
        assert (data.y[test] <= answer).mean() == pytest.approx(0.8, abs=0.1)
    if objective == "poisson":
        assert (answer > 0).all()
    assert np.corrcoef(answer, data.y[test])[0, 1] > 0.6
    x = np.repeat(data.x[:40], 30, axis=0)
    for name, way in monotone.items():
        moved = x.copy()
        moved[:, data.feature_names.index(name)] = np.tile(np.linspace(-4, 4, 30), 40)
        steps = np.diff(found.predict(moved).reshape(40, 30), axis=1)
        assert (way * steps >= -1e-12).all()
        assert np.abs(steps).max() > 0


def test_counts_need_not_occur_in_every_draw():
    data = matrix("regression")
    rare = replace(data, y=np.where(np.arange(len(data.y)) == np.flatnonzero(data.where("train"))[5], 3.0, 0.0))
    assert (fitted(rare, objective="poisson").predict(data.x) > 0).all()
    with pytest.raises(InvalidData):
        fitted(data, objective="poisson")


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_codes_in_any_order_are_learned_from(task):
    data = with_codes(task)
    shares = fitted(data).importances(data.x)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[6] > 0.15
    never = np.tile(data.x[:1], (2, 1))
    never[:, 6] = [10_000, 10_001]
    answer = fitted(data).predict(never)
    assert answer[0].tolist() == answer[1].tolist()


def test_categories_stand_in_the_order_of_the_target():
    codes = np.repeat([0.0, 1.0, 2.0, np.nan], 50)
    y = np.repeat([5.0, 1.0, 3.0, 2.0], 50)[:, None]
    order = Order.learn(codes, 0, y, np.ones(200))
    assert order.places(np.array([1.0, np.nan, 2.0, 0.0])).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert order.places(np.array([7.0])).tolist() == [1.5]
    assert order.levels[0] == MISSING
    classes = np.column_stack((y == 5.0, y == 1.0, (y == 3.0) | (y == 2.0))).astype(float)
    several = Order.learn(codes, 0, classes, np.ones(200)).places(np.array([2.0, np.nan]))
    assert abs(several[0] - several[1]) == 1.0


@pytest.mark.parametrize("values", [
    [1e308, -1e308, 5e-324], [7.0, 7.0, 7.0], [np.nan, np.nan, np.nan], [np.inf, -np.inf, 1.0], [0.1, 0.2, np.nan],
])  # fmt: skip
def test_numbers_of_any_size_have_a_bin(values):
    bins = Bins.learn(np.array(values * 30), 0)
    found = bins.places(np.array([*values, 0.0, np.inf, -np.inf, np.nan]))
    assert np.isfinite(found).all()
    assert found.min() >= MISSING
    assert found.max() <= BINS
    distinct = len({value for value in values if np.isfinite(value)}) + int(np.isnan(values).any())
    assert len(np.unique(found[:3])) == distinct


def test_patience_ends_a_forest_and_keeps_the_best():
    told = []
    company = Company(threads=2, on_iteration=lambda tree, value: told.append((tree, value)))
    found = fitted(matrix("binary"), company=company, max_iterations=2_000, early_stopping_rounds=5, metric="roc_auc")
    assert told[-1][0] == found.iterations + 5 < 300
    assert found.iterations == max(told, key=lambda each: each[1])[0]


def test_a_file_whose_trees_are_none_is_refused(tmp_path):
    fitted(matrix("binary"), max_iterations=3).save(tmp_path / "model")
    with np.load(tmp_path / "model") as archive:
        whole = {name: archive[name] for name in archive.files}
    changes = {
        "left": whole["left"] * 0, "right": whole["right"] + 10_000, "feature": whole["feature"] + 99,
        "threshold": whole["threshold"] * np.nan, "values": whole["values"][:-1], "nodes": whole["nodes"][:-1],
        "about": whole["about"][:-1], "gains": whole["gains"][:-1],
    }  # fmt: skip
    for name, changed in changes.items():
        with (tmp_path / "bad").open("wb") as file:
            np.savez(file, **{**whole, name: changed})
        with pytest.raises(DigestMismatch):
            TRAINERS["random_forest"].load(tmp_path / "bad")

"""What every trainer promises, asked of each member of TRAINERS on each kind of task."""

import time
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from app.errors import Cancelled, DigestMismatch
from app.spec.algorithms import PARAMS
from tests.modelling import matrix
from workers.explain import guess
from workers.measures.metrics import DEFAULT_METRIC, lower_is_better
from workers.measures.scoring import scores
from workers.trainers import TRAINERS

TASKS = ("binary", "multiclass", "regression")


@pytest.fixture(params=sorted(TRAINERS))
def trainer(request):
    return TRAINERS[request.param]


def fitted(trainer, data, params=None, **changes):
    given = {
        "seed": 7, "threads": 1, "max_iterations": 200, "early_stopping_rounds": 20, "deterministic": True,
        "class_weight": None, "on_iteration": lambda _iteration, _value: None, "deadline": float("inf"), **changes,
    }  # fmt: skip
    return trainer.fit(data, params or {}, **given)


def value_of(data, prediction):
    name = DEFAULT_METRIC[data.task]
    return scores(data.task, data.y[data.where("test")], prediction, names=[name])[name]["value"]


@pytest.mark.parametrize("task", TASKS)
def test_it_learns_more_than_a_guess(trainer, task):
    data = matrix(task)
    held = data.where("test")
    learned = value_of(data, fitted(trainer, data).predict(data.x[held]))
    constant = guess(task, data.y[data.where("train")], classes=len(data.classes), rows=int(held.sum()))
    guessed = value_of(data, constant)
    assert learned < 0.8 * guessed if lower_is_better(DEFAULT_METRIC[task]) else learned > guessed + 0.2


@pytest.mark.parametrize("task", TASKS)
def test_predictions_have_one_row_each_and_probabilities_add_up(trainer, task):
    data = matrix(task)
    found = fitted(trainer, data).predict(data.x)
    assert found.dtype == np.float64
    if task == "regression":
        assert found.shape == (len(data.x),)
    else:
        assert found.shape == (len(data.x), len(data.classes))
        assert np.allclose(found.sum(axis=1), 1.0)
        assert (found >= 0).all()


@pytest.mark.parametrize("task", TASKS)
def test_a_saved_model_predicts_what_the_fitted_one_did(trainer, task, tmp_path):
    data = matrix(task)
    model = fitted(trainer, data)
    model.save(tmp_path / "model")
    again = trainer.load(tmp_path / "model")
    difference = np.abs(again.predict(data.x) - model.predict(data.x)).max()
    assert difference <= trainer.tolerance
    assert again.iterations == model.iterations
    again.save(tmp_path / "again")
    assert trainer.load(tmp_path / "again").predict(data.x).tolist() == again.predict(data.x).tolist()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_bytes(trainer, task, tmp_path):
    for name in ("one", "two"):
        fitted(trainer, matrix(task)).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("task", TASKS)
def test_a_saved_model_does_not_say_how_many_threads_made_it(trainer, task, tmp_path):
    for threads in (1, 2):
        fitted(trainer, matrix(task, rows=200), threads=threads, max_iterations=5).save(tmp_path / str(threads))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_one_row_alone_is_predicted_as_among_others(trainer):
    data = matrix("multiclass")
    model = fitted(trainer, data)
    assert model.predict(data.x[17:18]).tolist() == model.predict(data.x)[17:18].tolist()


@pytest.mark.parametrize("task", TASKS)
def test_a_cancelled_fit_stops_at_once(trainer, task):
    def cancel(_iteration, _value):
        raise Cancelled

    with pytest.raises(Cancelled):
        fitted(trainer, matrix(task), on_iteration=cancel)


def test_a_fit_ends_by_its_deadline_with_what_it_has(trainer):
    data = matrix("binary", rows=3_000)
    began = time.monotonic()
    model = fitted(trainer, data, max_iterations=100_000, early_stopping_rounds=None, deadline=began + 0.3)
    assert time.monotonic() - began < 20
    assert model.iterations >= 1
    assert value_of(data, model.predict(data.x[data.where("test")])) > 0.7


@pytest.mark.parametrize("task", TASKS)
def test_iterations_are_told_from_the_first_to_the_last(trainer, task):
    told = []
    model = fitted(trainer, matrix(task), on_iteration=lambda iteration, value: told.append((iteration, value)))
    values = [value for _, value in told if np.isfinite(value)]
    assert values
    assert [iteration for iteration, _ in told] == sorted(iteration for iteration, _ in told)
    assert told[-1][0] >= model.iterations


def test_weights_move_the_predictions(trainer):
    data = matrix("binary")
    heavy = replace(data, weight=np.where(data.y == 1, 20.0, 1.0))
    plain, weighted = (fitted(trainer, each).predict(data.x)[:, 1].mean() for each in (data, heavy))
    assert weighted > plain + 0.05


def test_balanced_classes_lift_the_rare_one(trainer):
    data = matrix("binary")
    rare = replace(data, y=(data.x[:, 0] > 1.5).astype(float) * (np.arange(len(data.y)) % 2))
    plain = fitted(trainer, rare).predict(rare.x)[:, 1].mean()
    balanced = fitted(trainer, rare, class_weight="balanced").predict(rare.x)[:, 1].mean()
    assert balanced > plain


def test_a_class_without_training_rows_still_has_its_column(trainer):
    data = matrix("multiclass")
    part = np.where((data.y == 2) & (data.part == 0), 2, data.part).astype(np.int8)
    found = fitted(trainer, replace(data, part=part)).predict(data.x)
    assert found.shape[1] == 3
    assert found[:, 2].max() < 0.5


def test_importances_are_shares_and_find_the_signal(trainer):
    data = matrix("regression")
    shares = fitted(trainer, data).importances(data.x)
    assert shares.shape == (6,)
    assert shares.sum() == pytest.approx(1.0)
    assert shares.argmax() == 0


def test_a_file_that_is_no_model_is_refused(trainer, tmp_path):
    for content in (b"", b"tree\nnonsense", b"\xff\xfe", b"{}", b"[1]"):
        (tmp_path / "model").write_bytes(content)
        with pytest.raises(DigestMismatch):
            trainer.load(tmp_path / "model")


@pytest.mark.parametrize(("name", "task"), list(product(sorted(TRAINERS), TASKS)))
def test_the_default_space_and_portfolio_name_allowed_parameters(name, task):
    space = TRAINERS[name].space(task)
    assert space
    assert set(space) <= set(PARAMS[name].model_fields)
    for dimension in space.values():
        assert dimension.choices or dimension.low < dimension.high
    for setting in TRAINERS[name].portfolio:
        PARAMS[name].model_validate(setting)
        assert set(space) <= set(setting)

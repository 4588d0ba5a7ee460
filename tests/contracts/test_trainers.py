"""What every trainer promises, asked of each member of TRAINERS on each kind of task and each objective."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from app.errors import Cancelled, DigestMismatch, InvalidData, InvalidSpec, MachineError, TrainerFailed
from app.spec import spaces
from app.spec.algorithms import PARAMS
from app.spec.extras import EXTRAS
from app.spec.job import fault_of
from tests.modelling import matrix
from trainhouse_loader.models import libraries
from workers.explain import guess
from workers.measures.metrics import lower_is_better, metric_of
from workers.measures.scoring import scores
from workers.trainers import TRAINERS, catboost, lightgbm
from workers.trainers.contract import Company, Fold, Recipe

TASKS = ("binary", "multiclass", "regression")
BOOSTERS = ("catboost", "lightgbm", "xgboost")
KINDS = [*((task, "auto") for task in TASKS), *(("regression", name) for name in ("poisson", "quantile", "huber"))]
QUANTILE = 0.8

each_task = pytest.mark.parametrize("task", TASKS)
each_kind = pytest.mark.parametrize(("task", "objective"), KINDS)


@pytest.fixture(params=sorted(TRAINERS))
def trainer(request):
    return TRAINERS[request.param]


@pytest.fixture(autouse=True)
def _snapshots_at_once(monkeypatch):
    monkeypatch.setattr(catboost, "SNAPSHOT_SECONDS", 0)


def rows(task, objective="auto", *, number=500, **changes):
    """Numbers, one of them with gaps, and the codes of a category, one of them missing; counts for `poisson`."""
    data = matrix(task, rows=number)
    random = np.random.default_rng(1)
    x = data.x.copy()
    x[:, 4] = random.integers(0, 6, size=number)
    x[::9, 4] = np.nan
    x[::7, 2] = np.nan
    y = np.floor(np.exp(data.y / 2)) if objective == "poisson" else data.y
    return replace(data, x=x, y=y, categorical=(4,), **changes)


def fitted(trainer, data, *, fold=None, company=None, **recipe):
    given = {
        "seed": 7, "max_iterations": 60, "early_stopping_rounds": 20, "deterministic": True, "quantile": QUANTILE,
    }  # fmt: skip
    return trainer.fit(data, fold or Fold.of_parts(data), Recipe(**{**given, **recipe}), company or Company())


def unwatched(data):
    return replace(Fold.of_parts(data), name="unwatched", validation=None)


def value_of(data, prediction, objective="auto"):
    """The objective's own metric on the test part, so that higher is better."""
    name, held = metric_of("auto", data.task, objective), data.where("test")
    value = scores(data.task, data.y[held], prediction[held], names=[name], quantile=QUANTILE)[name]["value"]
    return -value if lower_is_better(name) else value


def constant_of(data, objective="auto"):
    quantile = {"quantile": QUANTILE, "huber": 0.5}.get(objective)
    learned = data.y[data.where("train")]
    return guess(data.task, learned, classes=len(data.classes), rows=len(data.y), quantile=quantile)


@each_kind
def test_it_learns_more_than_a_guess(trainer, task, objective):
    data = rows(task, objective)
    learned = value_of(data, fitted(trainer, data, objective=objective).predict(data.x), objective)
    guessed = value_of(data, constant_of(data, objective), objective)
    assert learned > guessed + 0.2 if guessed > 0 else learned > 0.8 * guessed


@pytest.mark.parametrize(
    ("task", "metric", "boosters", "others"), [
        ("binary", "roc_auc", True, True), ("binary", "log_loss", False, False), ("binary", "accuracy", False, True),
        ("multiclass", "log_loss", False, False), ("multiclass", "roc_auc", False, True),
        ("regression", "rmse", False, False), ("regression", "r2", False, True), ("regression", "mae", False, False),
    ]
)  # fmt: skip
def test_it_says_which_way_the_values_that_it_is_watched_by_go(trainer, task, metric, boosters, others):
    data = rows(task)
    known = boosters if trainer in [TRAINERS[name] for name in BOOSTERS] else others
    assert trainer.rises(data, Fold.of_parts(data), Recipe(metric=metric)) == known
    empty = replace(data, part=np.where(data.part == 1, 0, data.part))
    trainer.rises(empty, Fold.of_parts(empty), Recipe(metric=metric))  # without validation rows too


@pytest.mark.parametrize("loss", ["poisson", "tweedie"])
def test_catboost_is_watched_by_the_loss_whatever_the_metric(loss):
    data = rows("regression", "poisson")
    assert not TRAINERS["catboost"].rises(data, Fold.of_parts(data), Recipe(params={"loss": loss}, metric="r2"))


@each_kind
def test_a_fit_without_validation_rows_takes_all_its_iterations_and_learns_as_well(trainer, task, objective):
    data, told = rows(task, objective), []
    company = Company(on_iteration=lambda iteration, value: told.append((iteration, value)))
    model = fitted(trainer, data, fold=unwatched(data), company=company, objective=objective, max_iterations=40)
    assert value_of(data, model.predict(data.x), objective) > value_of(data, constant_of(data, objective), objective)
    assert not any(np.isfinite(value) for _, value in told)
    assert told[-1][0] == model.iterations <= 40
    assert not model.timed_out


@each_kind
def test_predictions_have_one_row_each_and_probabilities_add_up(trainer, task, objective):
    data = rows(task, objective)
    found = fitted(trainer, data, objective=objective).predict(data.x)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    if task == "regression":
        assert found.shape == (len(data.x),)
        assert objective != "poisson" or (found > 0).all()
    else:
        assert found.shape == (len(data.x), len(data.classes))
        assert np.allclose(found.sum(axis=1), 1.0, atol=1e-12)
        assert (found >= 0).all()


def test_a_quantile_lies_above_its_share_of_the_rows(trainer):
    data = rows("regression", number=1_000)
    low, high = (
        fitted(trainer, data, objective="quantile", quantile=quantile).predict(data.x) for quantile in (0.1, 0.9)
    )
    held = data.where("test")
    assert (data.y < low)[held].mean() < 0.35
    assert (data.y < high)[held].mean() > 0.65
    assert (low < high)[held].mean() > 0.95


@each_kind
def test_a_saved_model_is_the_fitted_one(trainer, task, objective, tmp_path):
    data = rows(task, objective)
    model = fitted(trainer, data, objective=objective)
    model.save(tmp_path / "model")
    again = trainer.load(tmp_path / "model", threads=2)
    assert np.abs(again.predict(data.x) - model.predict(data.x)).max() <= trainer.tolerance
    assert again.iterations == model.iterations
    assert np.allclose(again.importances(data.x), model.importances(data.x), atol=1e-5)
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


@each_kind
def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_threads(trainer, task, objective, tmp_path):
    for threads in (1, 1, 2):
        company = Company(threads=threads)
        fitted(trainer, rows(task, objective), objective=objective, company=company, max_iterations=10).save(
            tmp_path / str(threads)
        )
        if threads == 1 and not (tmp_path / "first").exists():
            (tmp_path / "1").rename(tmp_path / "first")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "first").read_bytes()
    assert (tmp_path / "2").read_bytes() == (tmp_path / "first").read_bytes()


@each_task
def test_one_row_alone_is_predicted_as_among_others(trainer, task):
    data = rows(task)
    model = fitted(trainer, data)
    assert np.allclose(model.predict(data.x[17:18]), model.predict(data.x)[17:18], rtol=1e-12, atol=0)


@each_task
def test_codes_and_gaps_that_training_did_not_see_are_predicted(trainer, task):
    data = rows(task)
    strange = data.x[:8].copy()
    strange[:, 4] = [6, 7, 99, 5_000, np.nan, 0, 1, 2]
    strange[:, 0] = [np.nan, *strange[1:, 0]]
    assert np.isfinite(fitted(trainer, data).predict(strange)).all()


@each_task
def test_huge_numbers_are_numbers(trainer, task):
    data = rows(task)
    data.x[:6, 3] = [1e300, -1e300, 1e39, -1e39, 1e-300, 0.0]
    model = fitted(trainer, data)
    assert np.isfinite(model.predict(data.x)).all()
    assert value_of(data, model.predict(data.x)) > value_of(data, constant_of(data))


@each_task
def test_a_category_carries_what_it_says(trainer, task):
    data = rows(task)
    random = np.random.default_rng(3)
    codes = random.integers(0, 6, size=len(data.y)).astype(float)
    said = np.array([0, 1, 0, 1, 2, 2])[codes.astype(int)] * 1.0
    y = np.minimum(said, max(1, len(data.classes) - 1)) if data.classes else said
    x = np.column_stack((random.normal(size=len(y)), codes))
    data = replace(data, x=x, y=y, feature_names=("noise", "kind"), categorical=(1,))
    model = fitted(trainer, data, max_iterations=100)
    assert value_of(data, model.predict(data.x)) > 0.5 * value_of(data, constant_of(data)) or task == "binary"
    assert model.importances(data.x).argmax() == 1


@each_task
def test_a_cancelled_fit_stops_at_once(trainer, task):
    told = []

    def cancel(iteration, _value):
        told.append(iteration)
        if len(told) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fitted(trainer, rows(task), company=Company(on_iteration=cancel))
    assert len(told) == 3


@each_task
def test_fits_side_by_side_are_what_they_are_alone(trainer, task):
    data, both = rows(task), threading.Barrier(2)

    def meet(iteration, _value):
        if iteration == 1:
            both.wait(timeout=20)

    def fit(seed, company):
        return fitted(trainer, data, seed=seed, company=company).predict(data.x)

    with ThreadPoolExecutor(2) as pool:
        together = [pool.submit(fit, seed, Company(on_iteration=meet)) for seed in (1, 2)]
        for seed, found in zip((1, 2), together, strict=True):
            assert np.array_equal(found.result(), fit(seed, Company()))


@each_task
def test_a_fit_ends_by_its_deadline_with_a_model_that_predicts(trainer, task):
    data, last = rows(task), []

    def slow(iteration, _value):
        last.append(iteration)
        time.sleep(0.005)

    company = Company(deadline=time.monotonic() + 0.02, on_iteration=slow)
    model = fitted(trainer, data, max_iterations=2_000, early_stopping_rounds=None, company=company)
    assert model.timed_out
    assert 1 <= model.iterations <= last[-1] < 2_000
    assert np.isfinite(model.predict(data.x)).all()


@each_kind
def test_iterations_are_told_in_order_with_values_that_improve(trainer, task, objective):
    data, told = rows(task, objective), []
    company = Company(on_iteration=lambda iteration, value: told.append((iteration, value)))
    model = fitted(trainer, data, objective=objective, company=company)
    iterations, values = zip(*told, strict=True)
    assert list(iterations) == sorted(iterations)
    assert len({value for value in values if np.isfinite(value)}) > 1
    assert model.iterations <= iterations[-1]


@each_task
def test_a_fit_that_no_longer_improves_ends(trainer, task):
    data, told = rows(task, number=200), []
    y = np.random.default_rng(5).permutation(data.y)
    company = Company(on_iteration=lambda iteration, _value: told.append(iteration))
    model = fitted(trainer, replace(data, y=y), max_iterations=1_500, early_stopping_rounds=5, company=company)
    assert model.iterations <= told[-1] < 1_500


@each_task
@pytest.mark.parametrize("name", BOOSTERS)
def test_boosting_keeps_its_best_round(name, task):
    data, told = rows(task, number=200), {}
    y = np.random.default_rng(5).permutation(data.y)
    company = Company(on_iteration=told.__setitem__)
    data = replace(data, y=y)
    model = fitted(
        TRAINERS[name], data, early_stopping_rounds=5, metric="log_loss" if data.classes else "rmse", company=company
    )
    assert told[model.iterations] <= min(told.values()) + 1e-4 * told[1]
    assert max(told) == model.iterations + 5
    again = fitted(TRAINERS[name], data, fold=unwatched(data), max_iterations=model.iterations)
    assert np.allclose(again.predict(data.x), model.predict(data.x), atol=1e-6)


def test_the_metric_of_the_search_decides_what_is_watched(trainer):
    data, told = rows("binary"), {}
    for metric in ("roc_auc", "log_loss"):
        values = told[metric] = []
        company = Company(on_iteration=lambda _iteration, value, values=values: values.append(value))
        fitted(trainer, data, metric=metric, company=company)
    assert told["roc_auc"][-1] > 0.7 > told["log_loss"][-1]


@each_kind
def test_an_offered_model_is_gone_on_from_where_it_stood(trainer, task, objective, tmp_path):
    data = rows(task, objective)
    offered, told, again = [], [], []

    def offer(iteration, save):
        if not offered and iteration >= 5:
            save(tmp_path / "checkpoint")
            offered.append(iteration)

    def fit(told, **company):
        found = Company(on_iteration=lambda iteration, value: told.append((iteration, value)), **company)
        return fitted(
            trainer, data, objective=objective, deterministic=False, early_stopping_rounds=None, company=found
        )

    whole = fit(told, offer=offer)
    assert offered, "nothing was offered"
    resumed = fit(again, resume=tmp_path / "checkpoint")
    assert offered[0] <= again[0][0] <= offered[0] + 10
    assert len(again) <= len(told)
    assert resumed.iterations >= offered[0]
    one, other = (value_of(data, model.predict(data.x), objective) for model in (whole, resumed))
    assert other > one - 0.05 * abs(one)


@each_task
@pytest.mark.parametrize("name", BOOSTERS)
def test_boosting_that_had_stopped_improving_before_it_was_lost_keeps_its_best(name, task, tmp_path):
    data, trainer = rows(task), TRAINERS[name]
    settings = {"deterministic": False, "early_stopping_rounds": 30, "max_iterations": 400}
    last = []

    def offer(iteration, save):
        save(tmp_path / "checkpoint")
        last.append(iteration)

    whole = fitted(trainer, data, company=Company(offer=offer), **settings)
    resumed = fitted(trainer, data, company=Company(resume=tmp_path / "checkpoint"), **settings)
    assert resumed.iterations == whole.iterations
    assert np.allclose(resumed.predict(data.x), whole.predict(data.x), atol=1e-6)


DRAWING = {
    "lightgbm": {"subsample": 0.5, "subsample_freq": 1}, "xgboost": {"subsample": 0.5}, "catboost": {"rsm": 0.5},
}  # fmt: skip
"""Parameters with which each round draws anew."""


@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_a_deterministic_fit_gives_the_same_bytes_whatever_was_saved_of_an_earlier_one(name, tmp_path):
    data, trainer, checkpoint = rows("binary"), TRAINERS[name], tmp_path / "checkpoint"
    params = DRAWING.get(name, {})

    def offer(iteration, save):
        if iteration <= 10:
            save(checkpoint)

    fitted(trainer, data, deterministic=False, params=params, company=Company(offer=offer))
    assert checkpoint.exists(), "nothing was offered"
    fitted(trainer, data, params=params).save(tmp_path / "whole")
    fitted(trainer, data, params=params, company=Company(resume=checkpoint)).save(tmp_path / "resumed")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "resumed").read_bytes()


@pytest.mark.parametrize("name", sorted(set(TRAINERS) - set(BOOSTERS)))
def test_validation_rows_of_no_weight_do_not_say_when_to_stop(name):
    data = rows("binary", number=600)
    held = np.flatnonzero(data.where("validation"))
    mute, wrong = held[::2], data.y.copy()
    wrong[mute] = 1 - wrong[mute]
    weight = np.ones(600)
    weight[mute] = 0.0
    told = []
    for y in (data.y, wrong):
        seen = []
        company = Company(on_iteration=lambda _iteration, value, seen=seen: seen.append(value))
        fitted(TRAINERS[name], replace(data, y=y, weight=weight), company=company, metric="log_loss")
        told.append(seen)
    assert told[0] == told[1]


def test_weights_move_the_predictions(trainer):
    data = rows("binary")
    data = replace(data, x=np.ascontiguousarray(data.x[:, 4:5]), feature_names=("kind",), categorical=(0,))
    heavy = replace(data, weight=np.where(data.y == 1, 20.0, 1.0))
    plain, weighted = (fitted(trainer, each).predict(data.x)[:, 1].mean() for each in (data, heavy))
    assert weighted > plain + 0.05


def test_balanced_classes_lift_the_rare_one(trainer):
    data = rows("binary")
    rare = replace(data, y=(data.x[:, 0] > 1.5).astype(float) * (np.arange(len(data.y)) % 2))
    plain = fitted(trainer, rare).predict(rare.x)[:, 1].mean()
    balanced = fitted(trainer, rare, class_weight="balanced").predict(rare.x)[:, 1].mean()
    assert balanced > plain


MONOTONE = [("binary", "auto"), ("regression", "auto"), ("regression", "poisson"), ("regression", "huber")]


@pytest.mark.parametrize(("task", "objective"), MONOTONE)
@pytest.mark.parametrize("way", [1, -1])
def test_a_monotone_feature_moves_the_prediction_one_way(trainer, task, objective, way):
    data = rows(task, objective)
    model = fitted(trainer, data, objective=objective, monotone={"plain": way, "[a]{b}:,": way})
    grid = np.repeat(data.x[:20], 30, axis=0)
    for column in (0, 2):
        moved = grid.copy()
        moved[:, column] = np.tile(np.linspace(-4, 4, 30), 20)
        found = model.predict(moved)
        steps = np.diff((found if task == "regression" else found[:, 1]).reshape(20, 30), axis=1)
        assert (way * steps >= -1e-9).all()
    if way == 1:
        assert value_of(data, model.predict(data.x), objective) > value_of(
            data, constant_of(data, objective), objective
        )


@pytest.mark.parametrize("objective", ["auto", "poisson"])
def test_a_monotone_model_of_its_best_round_predicts_as_much_as_there_was(trainer, objective):
    data = rows("regression", "poisson")
    data, told = replace(data, y=data.y + 50.0), []
    company = Company(on_iteration=lambda iteration, _value: told.append(iteration))
    model = fitted(
        trainer, data, objective=objective, monotone={"plain": 1}, max_iterations=400, early_stopping_rounds=50,
        company=company,
    )  # fmt: skip
    train = data.where("train")
    assert model.predict(data.x[train]).mean() == pytest.approx(data.y[train].mean(), rel=0.02)
    assert model.iterations < told[-1] or trainer not in [TRAINERS[name] for name in BOOSTERS]


def by_kind(number=1_500):
    """Numbers whose effect turns round from kind to kind, so that a booster gladly looks at both together."""
    random = np.random.default_rng(0)
    data = rows("regression", number=number)
    x = data.x.copy()
    x[:, 4] = random.integers(0, 100, number)
    y = x[:, 0] * random.normal(size=100)[x[:, 4].astype(int)] + random.normal(0.0, 0.3, number)
    return replace(data, x=x, y=y, categorical=(4,))


def test_catboost_holds_an_order_or_refuses_to():
    data, trainer = by_kind(), TRAINERS["catboost"]
    together = {"max_ctr_complexity": 2}
    with pytest.raises(InvalidSpec) as refused:
        fitted(trainer, data, monotone={"plain": 1}, params=together)
    assert refused.value.stable_code == "not_monotone"
    moved = np.repeat(data.x[:40], 30, axis=0)
    moved[:, 0] = np.tile(np.linspace(-3, 3, 30), 40)
    held = [
        (data, {}), (replace(data, x=np.ascontiguousarray(data.x[:, :4]), feature_names=data.feature_names[:4],
                             categorical=()), together),
    ]  # fmt: skip
    for each, params in held:
        model = fitted(trainer, each, monotone={"plain": 1}, params=params)
        assert (np.diff(model.predict(moved[:, : each.x.shape[1]]).reshape(40, 30), axis=1) >= -1e-9).all()


@pytest.mark.parametrize(("params", "drawn"), [
    ({"subsample": 0.5}, True), ({"subsample": 0.5, "subsample_freq": 0}, False), ({"subsample": 1.0}, False),
])  # fmt: skip
def test_lightgbm_draws_rows_where_a_share_of_them_is_asked_for(params, drawn):
    data, trainer = rows("regression"), TRAINERS["lightgbm"]
    plain, found = (fitted(trainer, data, params=each).predict(data.x) for each in ({}, params))
    assert np.array_equal(found, plain) != drawn


@pytest.mark.parametrize(("task", "name"), [("binary", "tab\there"), ("binary", "nowhere"), ("multiclass", "plain")])
def test_what_cannot_be_monotone_is_refused(trainer, task, name):
    with pytest.raises(InvalidSpec) as refused:
        fitted(trainer, rows(task), monotone={name: 1})
    assert refused.value.stable_code == "not_monotone"


def test_a_quantile_is_monotone_or_refused(trainer):
    data = rows("regression")
    try:
        model = fitted(trainer, data, objective="quantile", monotone={"plain": 1})
    except InvalidSpec as refused:
        assert refused.stable_code == "not_monotone"  # noqa: PT017  # either answer is one
    else:
        moved = np.repeat(data.x[:20], 30, axis=0)
        moved[:, 0] = np.tile(np.linspace(-4, 4, 30), 20)
        assert (np.diff(model.predict(moved).reshape(20, 30), axis=1) >= -1e-9).all()


def test_counts_are_not_negative(trainer):
    data = rows("regression")
    with pytest.raises(InvalidData) as refused:
        fitted(trainer, data, objective="poisson")
    assert refused.value.stable_code == "negative_target"


LOSSES = [(name, loss) for name in BOOSTERS for loss in spaces.LOSSES[name] if loss != "auto"]


def by_factors(number=800):
    """Rows whose target is a product, with noise that multiplies too."""
    data = matrix("regression", rows=number)
    noise = np.random.default_rng(3).normal(0.0, 0.2, number)
    return replace(data, y=np.exp(1.2 * data.x[:, 0] - 0.8 * data.x[:, 1] + noise))


@pytest.mark.parametrize("metric", ["rmse", "mae"])
@pytest.mark.parametrize(("name", "loss"), LOSSES)
def test_a_loss_of_factors_predicts_the_mean_and_survives_saving(name, loss, metric, tmp_path):
    data, trainer = by_factors(), TRAINERS[name]
    model = fitted(trainer, data, metric=metric, params={"loss": loss}, max_iterations=300)
    held, predicted = data.where("test"), model.predict(data.x)
    assert (predicted > 0).all()
    assert predicted[held].mean() == pytest.approx(data.y[held].mean(), rel=0.15)
    assert np.corrcoef(np.log(predicted[held]), np.log(data.y[held]))[0, 1] > 0.9
    model.save(tmp_path / trainer.filename)
    assert np.array_equal(trainer.load(tmp_path / trainer.filename).predict(data.x), predicted)


@pytest.mark.parametrize(("name", "loss"), LOSSES)
def test_a_loss_of_factors_refuses_numbers_that_are_none(name, loss):
    data = by_factors()
    least = 0.0 if loss == "gamma" else -1.0
    with pytest.raises(InvalidData, match=loss) as refused:
        fitted(TRAINERS[name], replace(data, y=np.where(data.row == data.row[data.part == 0][0], least, data.y)),
               params={"loss": loss})  # fmt: skip
    assert refused.value.stable_code == "negative_target"


@pytest.mark.parametrize("name", BOOSTERS)
@pytest.mark.parametrize(("task", "objective"), [("binary", "auto"), ("multiclass", "auto"), ("regression", "huber")])
def test_a_loss_of_factors_is_for_numbers_by_the_usual_objective(name, task, objective):
    with pytest.raises(InvalidSpec, match="loss"):
        fitted(TRAINERS[name], matrix(task), objective=objective, params={"loss": "poisson"})


@pytest.mark.parametrize("name", BOOSTERS)
def test_counts_are_watched_by_a_measure_that_falls_as_they_are_learned(name):
    seen = []
    company = Company(on_iteration=lambda _iteration, value: seen.append(value))
    fitted(TRAINERS[name], rows("regression", "poisson"), objective="poisson", metric="rmse", company=company)
    assert min(seen) == pytest.approx(seen[-1], rel=0.05)
    assert seen[-1] < seen[0]


@pytest.mark.parametrize("name", BOOSTERS)
def test_a_target_beyond_what_boosters_compute_with_is_refused(name):
    data = rows("regression", number=100)
    with pytest.raises(InvalidData) as refused:
        fitted(TRAINERS[name], replace(data, y=data.y * 1e300))
    assert refused.value.stable_code == "target_too_large"


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_class_without_training_rows_still_has_its_column(trainer, task):
    data = rows(task)
    last = len(data.classes) - 1
    part = np.where((data.y == last) & (data.part == 0), 2, data.part).astype(np.int8)
    found = fitted(trainer, replace(data, part=part)).predict(data.x)
    assert found.shape[1] == len(data.classes)
    assert np.allclose(found.sum(axis=1), 1.0)
    assert found[:, last].max() <= 0.5


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_class_without_validation_rows_is_learned(trainer, task):
    data, told = rows(task), []
    last = len(data.classes) - 1
    part = np.where((data.y == last) & (data.part == 1), 2, data.part).astype(np.int8)
    data = replace(data, part=part)
    company = Company(on_iteration=lambda _iteration, value: told.append(value))
    found = fitted(trainer, data, company=company).predict(data.x)
    assert value_of(data, found) > value_of(data, constant_of(data))
    assert found[data.y == last, last].mean() > found[data.y != last, last].mean()


@each_task
def test_twenty_rows_are_enough_to_fit(trainer, task):
    data = rows(task, number=20)
    part = np.array([0] * 12 + [1] * 4 + [2] * 4, dtype=np.int8)
    y = np.arange(20) % max(2, len(data.classes)) * 1.0
    assert np.isfinite(fitted(trainer, replace(data, part=part, y=y)).predict(data.x)).all()


@each_task
def test_one_feature_is_enough_and_a_constant_one_does_no_harm(trainer, task):
    data = rows(task)
    one = replace(data, x=np.round(data.x[:, :1]), feature_names=("plain",), categorical=())
    assert value_of(one, fitted(trainer, one).predict(one.x)) > value_of(one, constant_of(one))
    x = data.x.copy()
    x[:, 1], x[:, 3] = 5.0, np.nan
    constant = replace(data, x=x)
    assert value_of(constant, fitted(trainer, constant).predict(x)) > value_of(constant, constant_of(constant))


@each_task
def test_nothing_but_constants_is_predicted_as_a_guess_or_refused(trainer, task):
    data = rows(task)
    flat = replace(data, x=np.ones((len(data.y), 2)), feature_names=("one", "other"), categorical=())
    try:
        found = fitted(trainer, flat).predict(flat.x)
    except InvalidData as refused:
        assert refused.stable_code == "no_features"  # noqa: PT017  # either answer is one
    else:
        assert np.allclose(found, constant_of(flat), atol=0.2)


def test_importances_are_shares_and_find_the_signal(trainer):
    data = rows("regression")
    found = fitted(trainer, data).importances(data.x)
    assert found.shape == (6,)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1.0)
    assert found.argmax() == 0


def test_a_file_that_is_no_model_is_refused(trainer, tmp_path):
    data = rows("binary")
    fitted(trainer, data).save(tmp_path / "model")
    whole = (tmp_path / "model").read_bytes()
    for content in (b"", b"tree\nnonsense", b"\xff\xfe", b"{}", b"[1]", b"{L", whole[: len(whole) // 2]):
        (tmp_path / "model").write_bytes(content)
        with pytest.raises(DigestMismatch):
            trainer.load(tmp_path / "model")


@each_task
@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_the_default_space_holds_ranges_that_the_allow_list_allows(name, task):
    space = TRAINERS[name].space(task, 10_000)
    assert space
    assert set(space) <= set(PARAMS[name].model_fields)
    for parameter, dimension in space.items():
        ends = dimension.choices or [dimension.low, dimension.high]
        assert len(set(ends)) > 1
        for end in ends:
            assert fault_of(name, {parameter: int(end) if dimension.type == "int" else end}) is None


@each_task
@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_the_corners_of_the_default_space_can_be_fitted(name, task):
    data = rows(task, number=300)
    space = TRAINERS[name].space(task, 200)
    for last in (0, -1):
        corner = {}
        for parameter, dimension in space.items():
            end = (dimension.choices or [dimension.low, dimension.high])[last]
            corner[parameter] = int(end) if dimension.type == "int" else end
        assert np.isfinite(fitted(TRAINERS[name], data, params=corner, max_iterations=10).predict(data.x)).all()


@pytest.mark.parametrize("name", sorted(set(EXTRAS) & set(TRAINERS)))
def test_a_worker_without_the_extra_says_what_installs_it(name, tmp_path, monkeypatch):
    def missing(_module):
        raise ModuleNotFoundError

    monkeypatch.setattr(libraries.importlib, "import_module", missing)
    for work in (
        lambda: fitted(TRAINERS[name], rows("binary")),
        lambda: TRAINERS[name].load(tmp_path / "model"),
    ):
        with pytest.raises(MachineError) as refused:
            work()
        assert refused.value.stable_code == "extra_missing"
        assert refused.value.hint == (
            f"pip install 'trainhouse[{name}]' where models are trained,"
            f" 'trainhouse-loader[{name}]' where they are opened"
        )


@each_task
def test_exact_contributions_add_up_to_the_raw_score(trainer, task):
    data = rows(task)
    model = fitted(trainer, data)
    x, classes = data.x[:20], len(data.classes)
    found = model.contributions(x)
    if found is None:
        assert trainer.filename in {"model.json", "model.npz"}, "linear models and forests have none"
        return
    assert found.shape == ((20, classes, x.shape[1] + 1) if classes > 2 else (20, x.shape[1] + 1))
    raw, predicted = found.sum(axis=-1), model.predict(x)
    if classes == 2:
        raw, predicted = 1 / (1 + np.exp(-raw)), predicted[:, 1]
    elif classes:
        raw = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    assert np.allclose(raw, predicted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("params", "answer"), [({}, TrainerFailed), ({"num_leaves": 4}, InvalidSpec)])
def test_a_check_of_lightgbm_that_fails_is_the_callers_fault_only_where_the_caller_chose(params, answer, monkeypatch):
    def train(*_given, **_more):
        raise lightgbm.LightGBMError("Check failed: (best_split_info.left_count) > (0)")

    monkeypatch.setattr(lightgbm.lgb, "train", train)
    with pytest.raises(answer):
        fitted(TRAINERS["lightgbm"], rows("binary"), params=params)

"""One trial: what it reports, when its model is kept, and how it ends otherwise."""

import gc
import json
import time
from dataclasses import replace

import numpy as np
import pytest

from app.errors import Cancelled, DeadlineExceeded, InvalidData, InvalidSpec, MachineError
from tests.modelling import after, context, matrix, result, trained
from workers.context import TrialResult
from workers.fitting import rows
from workers.fitting.rows import matrix_of
from workers.fitting.trials import run_trial
from workers.trainers import binned

PARAMS = {"num_leaves": 8, "learning_rate": 0.2}


def test_a_trial_reports_its_value_metrics_and_curve(tmp_path):
    ctx = trained(context(tmp_path, matrix("binary")))
    fit = run_trial(ctx, params=PARAMS, history=())
    assert fit.value == fit.metrics["roc_auc"]
    assert {"accuracy", "log_loss", "f1"} <= set(fit.metrics)
    assert fit.iterations >= 1
    steps = [step for step, _ in fit.curve]
    assert steps == sorted(set(steps))
    assert len(steps) <= 102
    json.dumps([fit.curve, dict(fit.metrics)], allow_nan=False)


def test_the_model_is_kept_only_where_nothing_known_beats_it(tmp_path):
    ctx = context(tmp_path, matrix("binary"))
    for known, kept in ((0.0, True), (1.1, False)):
        history = [TrialResult(0, "complete", {}, known, 1, {})]
        assert (run_trial(ctx, params=PARAMS, history=history).model_path is not None) == kept
        beside = after(ctx, train={"value": known})
        assert (run_trial(beside, params=PARAMS, history=()).model_path is not None) == kept


def test_an_equal_trial_keeps_its_model_so_that_the_lowest_number_can_win(tmp_path):
    ctx = context(tmp_path, matrix("binary"))
    first = result(ctx, 1, PARAMS, ())
    assert result(ctx, 0, PARAMS, (first,)).model == first.model


def test_trials_of_one_process_share_matrix_and_bins(tmp_path):
    ctx = context(tmp_path, matrix("regression"))
    first = matrix_of(ctx)
    run_trial(ctx, params=PARAMS, history=())
    bins = next(reversed(binned._IN_PROCESS._kept.values()))
    run_trial(ctx, params={"num_leaves": 16, "min_child_samples": 50, "cat_l2": 1.0}, history=())
    assert matrix_of(ctx) is first
    assert next(reversed(binned._IN_PROCESS._kept.values())) is bins


def test_kept_bins_change_no_prediction(tmp_path):
    ctx = context(tmp_path, matrix("regression"))
    run_trial(ctx, params={"num_leaves": 4, "min_child_samples": 200, "cat_smooth": 1.0}, history=())
    after_another = run_trial(ctx, params=PARAMS, history=())
    binned._IN_PROCESS._kept.clear()
    assert run_trial(ctx, params=PARAMS, history=()).value == after_another.value


def test_no_more_than_a_few_matrices_stay_in_memory(tmp_path):
    gc.collect()  # what other tests left
    for number in range(4):
        ctx = context(tmp_path / str(number), matrix("regression", seed=number))
        run_trial(ctx, params={"max_bin": 63 + number}, history=())
    assert len(rows._LOADED) == 1
    assert len(binned._IN_PROCESS) == 1


def test_cancelling_reaches_through_the_boosting(tmp_path):
    def cancel(_done, _total):
        raise Cancelled

    with pytest.raises(Cancelled):
        run_trial(context(tmp_path, matrix("binary"), progress=cancel), params=PARAMS, history=())


def test_progress_is_shown_often(tmp_path):
    shown = []
    spec = {"training": {"max_iterations": 100, "early_stopping_rounds": None}}
    ctx = context(tmp_path, matrix("binary"), spec, progress=lambda done, total: shown.append((done, total)))
    run_trial(ctx, params=PARAMS, history=())
    assert len(shown) >= 10
    assert shown[-1] == (100, 100)


def test_a_trial_ends_by_its_own_time(tmp_path):
    spec = {
        "tuning": {"trial_seconds": 1, "max_trials": 1},
        "training": {"max_iterations": 100_000, "early_stopping_rounds": None},
    }
    began = time.monotonic()
    fit = run_trial(context(tmp_path, matrix("binary", rows=2_000), spec), params=PARAMS, history=())
    assert time.monotonic() - began < 30
    assert fit.iterations >= 1


def test_a_trial_without_time_does_not_begin(tmp_path):
    ctx = context(tmp_path, matrix("binary"), deadline=time.monotonic() - 1)
    with pytest.raises(DeadlineExceeded):
        run_trial(ctx, params=PARAMS, history=())


def test_a_hopeless_trial_comes_back_pruned(tmp_path):
    ctx = context(
        tmp_path,
        matrix("binary"),
        {"tuning": {"pruner": "median", "max_trials": 9}, "training": {"early_stopping_rounds": None}},
    )
    peers = [TrialResult(n, "complete", {}, 1.0, 200, {}, curve=((50, 1.0), (100, 1.0))) for n in range(6)]
    fit = run_trial(ctx, params=PARAMS, history=peers)
    assert fit.pruned
    assert (fit.model_path, fit.value) == (None, None)
    assert fit.iterations == 100
    assert fit.curve[-1][0] == 100


@pytest.mark.parametrize(("metric", "algorithm", "pruned"), [
    ("log_loss", "lightgbm", True), ("roc_auc", "lightgbm", True), ("f1", "lightgbm", False), ("brier", "lightgbm", False),
    ("accuracy", "random_forest", True),
])  # fmt: skip
def test_who_watches_another_measure_than_the_metric_gives_no_trial_up(tmp_path, metric, algorithm, pruned):
    best = 0.0 if metric in {"log_loss", "brier"} else 2.0
    spec = {
        "tuning": {"pruner": "median", "max_trials": 9, "metric": metric},
        "training": {"early_stopping_rounds": None, "max_iterations": 200, "algorithm": algorithm},
    }
    peers = [
        TrialResult(n, "complete", {}, best, 200, {}, curve=((50, best), (100, best)))
        for n in range(6)
    ]  # fmt: skip
    fit = run_trial(context(tmp_path, matrix("binary"), spec), params={}, history=peers)
    assert fit.pruned == pruned


def test_a_value_that_does_not_exist_fails_the_trial(tmp_path):
    data = matrix("binary")
    one_class = replace(data, y=np.where(data.part == 1, 1.0, data.y))
    with pytest.raises(MachineError) as caught:
        run_trial(context(tmp_path, one_class), params=PARAMS, history=())
    assert caught.value.stable_code == "no_value"


@pytest.mark.parametrize(("change", "code"), [
    (lambda data: {"part": np.full_like(data.part, 2)}, "no_train_rows"),
    (lambda data: {"part": np.zeros_like(data.part)}, "no_validation_rows"),
    (lambda data: {"y": np.ones_like(data.y)}, "one_class"),
    (lambda data: {"x": data.x[:, :0], "feature_names": ()}, "no_features"),
])  # fmt: skip
def test_data_that_cannot_teach_is_refused(tmp_path, change, code):
    data = matrix("binary")
    with pytest.raises(InvalidData) as caught:
        run_trial(context(tmp_path, replace(data, **change(data))), params=PARAMS, history=())
    assert caught.value.stable_code == code


def test_a_metric_of_another_task_is_the_callers_to_mend(tmp_path):
    spec = {"task": {"target": "y"}, "tuning": {"metric": "rmse"}, "gate": {"rules": [{"metric": "r2", "min": 0.1}]}}
    with pytest.raises(InvalidSpec) as caught:
        run_trial(context(tmp_path, matrix("binary"), spec), params=PARAMS, history=())
    assert [fault.pointer for fault in caught.value.violations] == ["/tuning/metric", "/gate/rules/0/metric"]

"""What a search ends with: one model or several, fitted again where there is time, within the caller's bounds."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from app.errors import InvalidSpec, MachineError
from tests.learning import codes
from tests.modelling import after, context, matrix, result, trained
from trainhouse_loader.models import ensemble
from workers.context import TrialResult
from workers.fitting.choosing import chosen, contenders, judged, only_trained
from workers.fitting.following import Recorder, best_together
from workers.fitting.lanes import finals
from workers.fitting.refit import everything, of_search, refitted, seconds_needed
from workers.fitting.rows import matrix_of
from workers.search.facts import facts_of
from workers.search.plan import planned
from workers.stages import evaluate, tune
from workers.trainers import TRAINERS
from workers.trainers.lightgbm import LightgbmTrainer
from workers.trainers.linear import LinearTrainer

PARAMS = ({"num_leaves": 4, "colsample_bytree": 0.5}, {"num_leaves": 8, "extra_trees": True}, {"algorithm": "linear"})
AUTO = {"max_trials": 3, "folds": 0}


def searched(tmp_path, tuning, *, task="regression", data=None, training=None):
    """A context after its train stage and one trial of each of `PARAMS`."""
    spec = {"tuning": tuning, "training": {"max_iterations": 60, **(training or {})}}
    data = data if data is not None else matrix(task, rows=400)
    ctx = trained(context(tmp_path, data, spec))
    history = []
    for number, params in enumerate(PARAMS):
        history.append(result(ctx, number, params, history))
    return replace(ctx, trials=tuple(history), search={"ended": True, "ended_by": "max_trials"})


def plan_of(ctx):
    return planned(ctx.spec, facts_of(ctx.outputs))


@pytest.fixture
def fits(monkeypatch):
    """(rows that are learned from, rows that are watched, most rounds) of every boosted fit."""
    seen, fit = [], LightgbmTrainer.fit

    def watched(self, data, fold, recipe, company):
        held = 0 if fold.validation is None else len(fold.validation)
        seen.append((len(fold.train), held, recipe.max_iterations, recipe.early_stopping_rounds))
        return fit(self, data, fold, recipe, company)

    monkeypatch.setattr(LightgbmTrainer, "fit", watched)
    return seen


def test_models_that_err_otherwise_answer_together_and_are_worth_more(tmp_path):
    ctx = searched(tmp_path, AUTO)
    outcome = tune.run(ctx)
    assert outcome.output["source"] == "ensemble"
    assert sum(member["weight"] for member in outcome.output["members"]) == pytest.approx(1.0)
    assert outcome.output["value"] < min(trial.value for trial in ctx.trials)
    assert outcome.metrics["validation"]["rmse"]["value"] == outcome.output["value"]
    assert len(ensemble.read(ctx.workspace.get("model"))) == len(outcome.output["members"])
    json.dumps(outcome.output, allow_nan=False)
    told = json.loads(ctx.workspace.get("search").read_text())
    assert told["chosen"]["members"] == outcome.output["members"]


def test_the_value_of_an_ensemble_is_that_of_the_mean_of_its_predictions(tmp_path):
    ctx = searched(tmp_path, AUTO)
    members = chosen(ctx, plan=plan_of(ctx))
    mean = sum(weight * each.predicted(ctx) for each, weight in members)
    data = matrix_of(ctx)
    worth = judged(ctx, members)
    assert worth.value == pytest.approx(np.sqrt(np.mean((mean - data.y[data.part == 1]) ** 2)))


def test_one_model_answers_where_one_is_asked_for(tmp_path):
    outcome = tune.run(searched(tmp_path, {**AUTO, "ensemble": 1}))
    assert outcome.output["source"] in {"train", "trial"}
    assert len(outcome.output["members"]) == 1


def test_the_refit_learns_from_train_and_validation_rows_with_more_rounds(tmp_path, fits):
    data = matrix("regression", rows=400)
    ctx = searched(tmp_path, {**AUTO, "ensemble": 1}, data=data, training={"max_iterations": 400})
    ctx = replace(ctx, trials=ctx.trials[:2])  # the third has no rounds, and would win
    fits.clear()
    outcome = tune.run(ctx)
    only = outcome.output["members"][0]
    found = outcome.output["number"]
    iterations = ctx.outputs["train"]["iterations"] if found is None else ctx.trials[found].iterations
    rows, train = int((data.part != 2).sum()), int((data.part == 0).sum())
    rounds = int(np.ceil(iterations * np.sqrt(rows / train)))
    assert iterations < rounds < 400
    assert fits == [(rows, 0, rounds, None)]
    assert (only["algorithm"], only["refit"], only["rounds"]) == ("lightgbm", True, rounds)
    assert len(everything(data).train) == rows


def test_the_refit_has_no_more_rounds_than_the_spec_allows(tmp_path, fits):
    data = matrix("regression", rows=400)
    ctx = searched(tmp_path, {**AUTO, "ensemble": 1}, data=data, training={"max_iterations": 40})
    fits.clear()
    tune.run(replace(ctx, trials=ctx.trials[:2]))
    assert fits == [(int((data.part != 2).sum()), 0, 40, None)]


def test_without_early_stopping_the_rounds_stay(tmp_path, fits):
    ctx = searched(tmp_path, {**AUTO, "ensemble": 1}, training={"early_stopping_rounds": None, "max_iterations": 20})
    linear_out = replace(ctx, trials=ctx.trials[:2])
    fits.clear()
    tune.run(linear_out)
    assert [fit[2] for fit in fits] == [20]


@pytest.fixture
def steps(monkeypatch):
    """(most steps that it was given, steps that it took) of every linear fit."""
    seen, fit = [], LinearTrainer.fit

    def watched(self, data, fold, recipe, company):
        found = fit(self, data, fold, recipe, company)
        seen.append((recipe.max_iterations, found.iterations))
        return found

    monkeypatch.setattr(LinearTrainer, "fit", watched)
    return seen


def overfitted(tmp_path, training):
    """A linear model of few rows and many features of noise, hardly held back by its parameters, and its contender."""
    random, data = np.random.default_rng(0), matrix("binary", rows=300)
    noise = random.normal(size=(300, 60))
    data = replace(
        data, x=np.hstack((data.x, noise)), feature_names=(*data.feature_names, *(f"n{at}" for at in range(60)))
    )
    spec = {"training": {"algorithm": "linear", "params": {"C": 1e5}, **training}, "tuning": {"folds": 0}}
    ctx = trained(context(tmp_path, data, spec))
    return ctx, only_trained(ctx)[0]


@pytest.mark.parametrize("folds", [0, 3])
def test_the_refit_of_a_linear_model_ends_where_the_search_stopped_it(tmp_path, steps, folds):
    ctx, contender = overfitted(tmp_path, {"early_stopping_rounds": 20})
    ctx = after(ctx, train={**ctx.outputs["train"], "folds": folds})
    data = matrix_of(ctx)
    rows, train = int((data.part != 2).sum()), int((data.part == 0).sum())
    more = 3 / 2 if folds else rows / train
    rounds = int(np.ceil(contender.iterations * np.sqrt(more)))
    assert contender.iterations + 20 <= contender.facts["ran"]
    whole = seconds_needed(ctx, replace(contender, iterations=contender.facts["ran"], seconds=10.0))
    needed = seconds_needed(ctx, replace(contender, seconds=10.0))
    assert needed == pytest.approx(whole * rounds / np.ceil(contender.facts["ran"] * np.sqrt(more)))
    steps.clear()
    refit = refitted(ctx, of_search(ctx, contender, 1.0), key="refit")
    assert (refit.rounds, steps) == (rounds, [(rounds, rounds)])


def test_the_refit_of_a_linear_model_that_nothing_stops_goes_on_to_its_end(tmp_path, steps):
    ctx, contender = overfitted(tmp_path, {"early_stopping_rounds": None, "max_iterations": 900})
    steps.clear()
    refitted(ctx, of_search(ctx, contender, 1.0), key="refit")
    [(given, took)] = steps
    assert given == 900
    assert took < given
    assert seconds_needed(ctx, replace(contender, seconds=10.0)) < 20.0


def test_the_refit_of_a_linear_model_that_only_its_time_stopped_goes_on_to_its_end(tmp_path, steps):
    ctx, contender = overfitted(tmp_path, {"early_stopping_rounds": 20})
    contender = replace(contender, iterations=3, facts={**contender.facts, "timed_out": True})
    steps.clear()
    refitted(ctx, of_search(ctx, contender, 1.0), key="refit")
    [(_given, took)] = steps
    assert took > 100


def test_validation_metrics_are_never_those_of_a_model_that_saw_the_rows(tmp_path):
    ctx = searched(tmp_path, AUTO)
    ctx = after(ctx, tune=tune.run(ctx).output)
    outcome = evaluate.run(ctx)
    assert outcome.metrics["validation"] == ctx.outputs["tune"]["metrics"]
    data, model = matrix_of(ctx), ensemble.load(ctx.workspace.get("model"))
    seen = np.sqrt(np.mean((model.predict(data.x[data.part == 1]) - data.y[data.part == 1]) ** 2))
    assert seen < outcome.metrics["validation"]["rmse"]["value"]


def test_without_time_the_models_of_the_search_go_on_and_it_is_said(tmp_path, fits):
    ctx = searched(tmp_path, AUTO)
    fits.clear()
    outcome = tune.run(replace(ctx, budget_ends=time.monotonic()))
    assert not fits
    assert "budget_left_no_refit" in codes(outcome)
    assert not outcome.output["refit"]
    assert {member["kept_for"] for member in outcome.output["members"]} == {"no_time"}


def test_a_refit_that_its_deadline_cut_short_is_not_used(tmp_path, monkeypatch):
    ctx, fit = searched(tmp_path, {**AUTO, "ensemble": 3}), LightgbmTrainer.fit
    trees = next(each for each in contenders(ctx, plan=plan_of(ctx)) if each.candidate.algorithm == "lightgbm")
    monkeypatch.setattr(LightgbmTrainer, "fit", lambda *given: replace(fit(*given), timed_out=True, iterations=1))
    (final,) = finals(ctx, ((trees, 1.0),), plan=plan_of(ctx))
    assert final.kept_for == "timed_out"
    assert final.packed == ensemble.read(trees.model_path(ctx))


def test_members_that_surely_end_in_time_come_before_one_that_needs_luck(tmp_path):
    ctx = searched(tmp_path, {**AUTO, "ensemble": 3})
    slow, quick = contenders(ctx, plan=plan_of(ctx))[:2]
    members = ((replace(slow, seconds=900.0), 0.6), (quick, 0.4))
    found = finals(replace(ctx, budget_ends=time.monotonic() + 20.0), members, plan=plan_of(ctx))
    assert [final.kept_for for final in found] == ["no_time", ""]
    assert [final.weight for final in found] == [0.6, 0.4]


def test_where_the_metric_has_no_value_the_train_stages_fit_goes_on(tmp_path):
    data = matrix("multiclass", rows=300)
    lacking = replace(data, y=np.where((data.part == 1) & (data.y == 2), 1.0, data.y))
    ctx = trained(context(tmp_path, lacking, {"tuning": {"max_trials": 2, "folds": 0, "metric": "roc_auc"}}))
    assert ctx.outputs["train"]["value"] is None
    with pytest.raises(MachineError) as caught:
        result(ctx, 0, {}, ())
    assert caught.value.stable_code == "no_value"
    failed = (TrialResult(0, "failed", {}, None, None, {}), TrialResult(1, "failed", {}, None, None, {}))
    outcome = tune.run(replace(ctx, trials=failed))
    assert codes(outcome) == {"no_trial_completed"}
    assert (outcome.output["value"], outcome.output["source"]) == (None, "train")
    ctx = after(replace(ctx, trials=failed), tune=outcome.output)
    assert evaluate.run(ctx).metrics["test"]["roc_auc"]["value"] is not None


def test_over_folds_their_models_and_a_refit_of_all_rows_answer_together(tmp_path, fits):
    data = matrix("regression", rows=400)
    ctx = searched(tmp_path, {"max_trials": 3, "folds": 3, "ensemble": 1}, data=data)
    ctx = replace(ctx, trials=ctx.trials[:2])
    fits.clear()
    outcome = tune.run(ctx)
    packed = ensemble.read(ctx.workspace.get("model"))
    assert [member.weight for member in packed] == [0.25] * 4
    assert [fit[:2] for fit in fits] == [(int((data.part != 2).sum()), 0)]
    only = outcome.output["members"][0]
    assert (only["refit"], only["models"], outcome.output["folds"]) == (True, 4, 3)
    assert outcome.output["spread"] > 0


def test_over_folds_their_models_answer_alone_where_there_is_no_time(tmp_path):
    ctx = searched(tmp_path, {"max_trials": 3, "folds": 3, "ensemble": 3})
    outcome = tune.run(replace(ctx, budget_ends=time.monotonic()))
    assert {member["models"] for member in outcome.output["members"]} == {3}
    assert "budget_left_no_refit" in codes(outcome)
    assert sum(member.weight for member in ensemble.read(ctx.workspace.get("model"))) == pytest.approx(1.0)


def test_a_fold_that_goes_on_improving_alone_does_not_say_how_long_all_rows_may_be_learned_from():
    falling, turning = Recorder(None, rounds=9), Recorder(None, rounds=9)
    falling.points = [(step, 1.0 / step) for step in range(1, 10)]
    turning.points = [(step, (step - 2) ** 2 / 4.0) for step in range(1, 10)]
    assert best_together([falling, turning], [9, 2]) == 2
    rising = [Recorder(None, rounds=9), Recorder(None, rounds=9)]
    for recorder, source in zip(rising, (falling, turning), strict=True):
        recorder.rises = True
        recorder.points = [(step, -value) for step, value in source.points]
    assert best_together(rising, [9, 2]) == 2


def test_an_ensemble_over_folds_has_a_spread(tmp_path):
    outcome = tune.run(searched(tmp_path, {"max_trials": 3, "folds": 3, "ensemble": 3}, task="binary"))
    assert outcome.output["spread"] > 0


def test_a_search_of_nothing_over_folds_fits_the_callers_parameters_on_all_rows(tmp_path, fits):
    data = matrix("binary", rows=300)
    ctx = trained(context(tmp_path, data, {"tuning": {"folds": 4}, "training": {"max_iterations": 20}}))
    assert len(fits) == 4
    outcome = tune.run(ctx)
    assert fits[-1][:2] == (int((data.part != 2).sum()), 0)
    assert outcome.output["source"] == "train"
    assert codes(outcome) == set()


def test_a_trial_beyond_a_bound_is_complete_but_never_chosen(tmp_path):
    free = searched(tmp_path / "free", {**AUTO, "ensemble": 1})
    sizes = [trial.facts["model_bytes"] for trial in free.trials if trial.model]
    most = min([*sizes, free.outputs["train"]["facts"]["model_bytes"]])
    ctx = searched(tmp_path / "bound", {**AUTO, "constraints": {"max_model_bytes": most}})
    assert {trial.status for trial in ctx.trials} == {"complete"}
    members = chosen(ctx, plan=plan_of(ctx))
    assert sum(each.facts["model_bytes"] for each, _ in members) <= most
    outcome = tune.run(ctx)
    packed = ensemble.read(ctx.workspace.get("model"))
    assert sum(len(member.content) for member in packed) <= most
    assert outcome.output["members"][0]["kept_for"] in {"", "too_large"}


def test_bounds_that_nothing_keeps_to_are_the_callers_to_mend(tmp_path):
    ctx = searched(tmp_path, {**AUTO, "constraints": {"max_predict_ms": 1e-6}})
    with pytest.raises(InvalidSpec) as caught:
        tune.run(ctx)
    assert caught.value.stable_code == "constraints_unmet"


def test_a_member_adds_its_milliseconds_to_the_others(tmp_path):
    ctx = searched(tmp_path, {**AUTO, "constraints": {"max_predict_ms": 1_000.0}})
    trials = tuple(replace(trial, facts={**trial.facts, "predict_ms": 600.0}) for trial in ctx.trials)
    train_facts = {**ctx.outputs["train"]["facts"], "predict_ms": 600.0}
    ctx = after(replace(ctx, trials=trials), train={**ctx.outputs["train"], "facts": train_facts})
    assert len(chosen(ctx, plan=plan_of(ctx))) == 1


def test_which_trials_may_be_chosen_does_not_depend_on_the_order_in_which_they_ended(tmp_path):
    spec = {"tuning": {"max_trials": 12, "folds": 0, "ensemble": 2}, "training": {"max_iterations": 10}}
    ctx = trained(context(tmp_path, matrix("binary", rows=200), spec))
    params = [{"num_leaves": 2 + number} for number in range(8)]
    found = []
    for order in (range(8), reversed(range(8))):
        history = []
        for number in order:
            history.append(result(ctx, number, params[number], history))
        ended = replace(ctx, trials=tuple(sorted(history, key=lambda trial: trial.number)))
        found.append([each.number for each in contenders(ended, plan=plan_of(ctx))])
    assert found[0] == found[1]
    assert len(found[0]) >= 4


def test_where_every_trial_failed_the_train_stages_fit_is_fitted_again(tmp_path):
    ctx = searched(tmp_path, AUTO)
    failed = tuple(TrialResult(number, "failed", {}, None, None, {}) for number in range(3))
    outcome = tune.run(replace(ctx, trials=failed))
    assert outcome.output["source"] == "train"
    assert outcome.output["refit"]
    assert codes(outcome) == {"no_trial_completed"}


def test_equal_searches_give_equal_models(tmp_path):
    spec = {**AUTO, "ensemble": 3}
    made = []
    for name in ("one", "two"):
        ctx = searched(tmp_path / name, spec, task="multiclass")
        outcome = tune.run(ctx)
        made.append((ctx.workspace.get("model").read_bytes(), [m["weight"] for m in outcome.output["members"]]))
    assert made[0] == made[1]


def test_every_member_of_the_model_is_one_of_the_trainers(tmp_path):
    ctx = searched(tmp_path, AUTO)
    tune.run(ctx)
    assert {member.algorithm for member in ensemble.read(ctx.workspace.get("model"))} <= set(TRAINERS)

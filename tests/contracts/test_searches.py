"""What every search promises, asked of each trainer on each kind of task under each strategy."""

import json
from dataclasses import replace

import numpy as np
import pytest

from app.errors import InvalidSpec
from tests.modelling import context, matrix, searched, trained
from trainhouse_loader.models import ensemble
from workers.fitting.rows import matrix_of
from workers.measures.metrics import lower_is_better, metric_of
from workers.measures.scoring import scores
from workers.search.facts import facts_of
from workers.stages import tune
from workers.trainers import TRAINERS

TASKS = ("binary", "multiclass", "regression")
STRATEGIES = ("grid", "random", "bayesian", "auto")
TRIALS = 4
SPANS = {
    "lightgbm": {"num_leaves": [4, 8], "learning_rate": [0.1, 0.2]},
    "xgboost": {"max_depth": [2, 3], "learning_rate": [0.1, 0.2]},
    "catboost": {"depth": [2, 3], "learning_rate": [0.1, 0.2]},
    "random_forest": {"min_samples_leaf": [2, 8], "max_features": [0.5, 1.0]},
    "extra_trees": {"min_samples_leaf": [2, 8], "max_features": [0.5, 1.0]},
    "linear": {"l1_ratio": [0.0, 1.0], "C": [0.1, 1.0], "alpha": [0.1, 1.0]},
}

each_search = pytest.mark.parametrize(
    ("algorithm", "task", "strategy"),
    [(algorithm, task, strategy) for algorithm in sorted(TRAINERS) for task in TASKS for strategy in STRATEGIES],
)


def spec_of(algorithm, task, strategy):
    """A small search of one algorithm; a grid has as many points as the others have trials."""
    tuning = {"strategy": strategy, "max_trials": TRIALS, "folds": 0}
    if strategy == "grid":
        other = "C" if task == "regression" else "alpha"
        spans = {name: span for name, span in SPANS[algorithm].items() if name != other}
        tuning["space"] = {name: {"type": "categorical", "choices": span} for name, span in spans.items()}
    return {"training": {"algorithm": algorithm, "max_iterations": 25}, "tuning": tuning}


def ended(folder, algorithm, task, strategy):
    """A context after all trials of such a search."""
    folder.mkdir(exist_ok=True)
    ctx = trained(context(folder, matrix(task, rows=300), spec_of(algorithm, task, strategy)))
    return replace(searched(ctx, tune.run(ctx)), search={"ended": True, "ended_by": "max_trials"})


@each_search
def test_a_search_tries_what_is_allowed_and_leaves_a_model_that_is_worth_what_is_said(
    tmp_path, algorithm, task, strategy
):
    ctx = ended(tmp_path, algorithm, task, strategy)
    assert [trial.status for trial in ctx.trials] == ["complete"] * TRIALS
    assert len({json.dumps(trial.params, sort_keys=True) for trial in ctx.trials}) == TRIALS
    output = tune.run(ctx).output
    data, metric = matrix_of(ctx), metric_of("auto", task)
    sign = 1 if lower_is_better(metric) else -1
    assert sign * output["value"] <= sign * ctx.outputs["train"]["value"]
    assert sign * output["value"] <= min(sign * trial.value for trial in ctx.trials)
    model = ensemble.load(ctx.workspace.get("model"))
    held = data.where("test" if output["refit"] else "validation")
    found = model.predict(data.x[held])
    assert np.isfinite(found).all()
    value = scores(task, data.y[held], found, names=[metric])[metric]["value"]
    if output["refit"]:  # the validation rows were learned from, so that other rows must say
        assert sign * value < sign * chance(data, metric, held)
    else:
        assert value == pytest.approx(output["value"])


def chance(data, metric, held):
    """What the mean of the training rows is worth."""
    learned = data.y[data.where("train")]
    if not data.classes:
        guess = np.full(held.sum(), learned.mean())
    else:
        guess = np.tile(np.bincount(learned.astype(int)) / len(learned), (held.sum(), 1))
    return scores(data.task, data.y[held], guess, names=[metric])[metric]["value"]


@each_search
def test_the_same_search_again_tries_the_same_and_finds_the_same(tmp_path, algorithm, task, strategy):
    first, second = (ended(tmp_path / name, algorithm, task, strategy) for name in ("first", "second"))
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]
    assert [trial.value for trial in first.trials] == [trial.value for trial in second.trials]
    outputs = [tune.run(ctx).output for ctx in (first, second)]
    assert [[member["number"], member["weight"]] for member in outputs[0]["members"]] == [
        [member["number"], member["weight"]] for member in outputs[1]["members"]
    ]
    assert facts_of(first.outputs) == facts_of(second.outputs)


@pytest.mark.parametrize("algorithm", sorted(TRAINERS))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_parameter_that_is_none_is_refused_with_those_that_there_are(tmp_path, algorithm, strategy):
    spec = spec_of(algorithm, "binary", strategy)
    spec["tuning"]["space"] = {"save_snapshot": {"type": "categorical", "choices": [True]}}
    with pytest.raises(InvalidSpec) as refused:
        context(tmp_path, matrix("binary"), spec)
    assert any("save_snapshot" in fault.message for fault in refused.value.violations)

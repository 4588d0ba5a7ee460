"""Train, tune, evaluate, gate and deploy: what each puts, says and decides."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import sklearn.metrics as reference

from app.errors import InvalidSpec
from tests.learning import codes
from tests.modelling import after, context, matrix, searched, trained
from workers.context import DeploymentRequested, FanOut, Refused, Skipped, TrialResult
from workers.stages import deploy, evaluate, gate, train, tune

TASKS = ("binary", "multiclass", "regression")


def evaluated(ctx):
    """`ctx` after train, tune without trials, and evaluate; with evaluate's outcome."""
    ctx = trained(ctx)
    ctx = after(ctx, tune=tune.run(ctx).output)
    outcome = evaluate.run(ctx)
    return after(ctx, evaluate=outcome.output), outcome


@pytest.mark.parametrize("task", TASKS)
def test_train_puts_a_model_and_says_what_it_is(tmp_path, task):
    ctx = context(tmp_path, matrix(task), {"training": {"params": {} if task == "binary" else {"num_leaves": 7}}})
    outcome = train.run(ctx)
    assert ctx.workspace.get("model_train").stat().st_size > 0
    assert set(outcome.output) == {
        "algorithm", "params", "iterations", "value", "metric", "metrics", "folds", "facts",
    }  # fmt: skip
    assert outcome.output["value"] == outcome.metrics["validation"][outcome.output["metric"]]["value"]
    json.dumps(outcome.output, allow_nan=False)


def test_train_warns_where_it_was_still_improving(tmp_path):
    ctx = context(tmp_path, matrix("regression", rows=2_000), {"training": {"max_iterations": 3}})
    assert "not_converged" in codes(train.run(ctx))


def test_tune_is_skipped_without_a_search_and_the_trained_model_goes_on(tmp_path):
    ctx = trained(context(tmp_path, matrix("binary")))
    outcome = tune.run(ctx)
    assert isinstance(outcome, Skipped)
    assert outcome.reason
    assert outcome.output["source"] == "train"
    assert outcome.facts == {"best_trial": None}
    assert ctx.workspace.get("model").read_bytes() == ctx.workspace.get("model_train").read_bytes()


@pytest.mark.parametrize(("tuning", "word"), [({}, "budget"), ({"strategy": "none", "patience": 3}, "none")])
def test_a_search_of_nothing_says_why(tmp_path, tuning, word):
    outcome = tune.run(trained(context(tmp_path, matrix("binary"), {"tuning": tuning})))
    assert word in outcome.reason
    assert ("strategy is none" in outcome.reason) == (tuning != {})


@pytest.mark.parametrize("bound", [{"max_model_bytes": 10}, {"max_predict_ms": 1e-6}])
def test_a_model_without_a_search_keeps_to_the_constraints_too(tmp_path, bound):
    ctx = trained(context(tmp_path, matrix("binary"), {"tuning": {"strategy": "none", "constraints": bound}}))
    with pytest.raises(InvalidSpec) as caught:
        tune.run(ctx)
    assert caught.value.stable_code == "constraints_unmet"
    kept = {"max_model_bytes": 10_000_000, "max_predict_ms": 10_000.0}
    ctx = trained(context(tmp_path / "kept", matrix("binary"), {"tuning": {"constraints": kept}}))
    assert isinstance(tune.run(ctx), Skipped)


def test_tune_asks_for_trials_and_then_takes_the_best(tmp_path):
    ctx = trained(
        context(
            tmp_path, matrix("regression"), {"tuning": {"strategy": "bayesian", "max_trials": 6, "max_parallel": 2}}
        )
    )
    fan = tune.run(ctx)
    assert fan == FanOut(trials=6, parallel=2, minimize=True)
    ctx = searched(ctx, fan)
    outcome = tune.run(ctx)
    best = min(ctx.trials, key=lambda trial: (trial.value, trial.number))
    assert best.value <= ctx.outputs["train"]["value"]
    assert outcome.facts["best_trial"] == best.number
    assert outcome.output["params"] == best.params
    assert ctx.workspace.get("model").read_bytes() == ctx.workspace.fetch(best.model).read_bytes()


def tuned(tmp_path, *trials, models=True):
    ctx = trained(context(tmp_path, matrix("binary"), {"tuning": {"strategy": "bayesian", "max_trials": 5}}))
    model, predictions = (
        ctx.workspace.keep(ctx.workspace.get(name)) if models else None for name in ("model_train", "predictions_train")
    )
    made = [
        TrialResult(number, status, {"num_leaves": 5}, value, 3, {}, model=model, predictions=predictions)
        for number, status, value in trials
    ]
    return tune.run(replace(ctx, trials=tuple(made)))


def test_equal_trials_are_decided_by_the_lowest_number(tmp_path):
    outcome = tuned(tmp_path, (0, "failed", None), (3, "complete", 1.0), (2, "complete", 1.0), (4, "pruned", 1.5))
    assert outcome.facts["best_trial"] == 2


@pytest.mark.parametrize("models", [True, False], ids=["kept models", "kept none"])
def test_a_search_that_found_nothing_better_keeps_the_trained_model(tmp_path, models):
    outcome = tuned(tmp_path, (0, "complete", 0.1), models=models)
    assert outcome.facts["best_trial"] is None
    assert outcome.output["source"] == "train"
    assert codes(outcome) == {"search_did_not_help"}


def test_a_search_whose_trials_all_failed_keeps_the_trained_model(tmp_path):
    outcome = tuned(tmp_path, (0, "failed", None), (1, "lost", None))
    assert outcome.output["source"] == "train"
    assert codes(outcome) == {"no_trial_completed"}


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear"])
@pytest.mark.parametrize("task", TASKS)
def test_predictions_are_written_as_the_contract_says(tmp_path, task, algorithm):
    data = matrix(task)
    ctx, _ = evaluated(context(tmp_path, data, {"training": {"algorithm": algorithm}}))
    table = pq.read_table(ctx.workspace.get("predictions_test"))
    labels = [f"probability:{name}" for name in sorted(data.classes)]
    assert table.column_names == ["row", "part", "target", "prediction", *labels]
    assert table.column("row").to_pylist() == np.flatnonzero(data.part == 2).tolist()
    assert set(table.column("part").to_pylist()) == {"test"}
    if data.classes:
        assert table.column("target").to_pylist() == [data.classes[int(y)] for y in data.y[data.part == 2]]
        assert set(table.column("prediction").to_pylist()) <= set(data.classes)


def test_metrics_can_be_computed_again_from_the_predictions(tmp_path):
    ctx, outcome = evaluated(context(tmp_path, matrix("binary", classes=("yes", "no"))))
    table = pq.read_table(ctx.workspace.get("predictions_test")).to_pandas()
    assert list(table.columns[-2:]) == ["probability:no", "probability:yes"]
    truth = table["target"] == "no"
    test = outcome.metrics["test"]
    assert test["roc_auc"]["value"] == pytest.approx(reference.roc_auc_score(truth, table["probability:no"]))
    assert test["f1"]["value"] == pytest.approx(reference.f1_score(truth, table["prediction"] == "no"))


@pytest.mark.parametrize("task", TASKS)
def test_the_report_holds_no_nan_and_few_points(tmp_path, task):
    ctx, outcome = evaluated(context(tmp_path, matrix(task)))
    report = json.loads(ctx.workspace.get("evaluation").read_text())
    assert report["metrics"]["test"] == outcome.metrics["test"]
    assert report["importances"][0]["feature"] == "plain"
    assert set(report["baseline"]) == set(report["metrics"]["test"])
    if task == "binary":
        assert 2 <= len(report["curves"]["roc"]) <= 200
        assert report["curves"]["roc"][0] == [0.0, 0.0]
        assert report["curves"]["roc"][-1] == [1.0, 1.0]
    if task != "regression":
        assert np.sum(report["confusion"]["counts"]) == report["rows"]["test"]


def test_a_metric_without_a_value_is_null_with_a_warning(tmp_path):
    data = matrix("binary")
    ctx, outcome = evaluated(context(tmp_path, replace(data, y=np.where(data.part == 2, 1.0, data.y))))
    assert outcome.metrics["test"]["roc_auc"]["value"] is None
    assert "metric_undefined" in codes(outcome)
    ruled = context(tmp_path / "ruled", data, {"gate": {"rules": [{"metric": "roc_auc", "min": 0.5}]}})
    refused = gate.run(replace(ruled, outputs=ctx.outputs))
    assert refused.done.facts["gate"]["rules"][0]["verdict"] == "inconclusive"
    assert refused.done.facts["gate"]["verdict"] == "inconclusive"


def judged(tmp_path, rules, **more):
    spec = {"gate": {"rules": rules, **more}}
    ctx, _ = evaluated(context(tmp_path, matrix("binary"), spec))
    return gate.run(ctx)


def test_a_gate_without_rules_passes_and_says_so(tmp_path):
    outcome = judged(tmp_path, [])
    assert outcome.facts["gate"]["verdict"] == "pass"
    assert "no_rules" in codes(outcome)


def test_a_gate_passes_what_keeps_its_rules(tmp_path):
    outcome = judged(tmp_path, [{"metric": "roc_auc", "min": 0.6}, {"metric": "log_loss", "max": 2.0}])
    assert [rule["verdict"] for rule in outcome.facts["gate"]["rules"]] == ["pass", "pass"]
    assert {"metric", "min", "max", "value", "low", "high", "verdict"} <= set(outcome.facts["gate"]["rules"][0])


@pytest.mark.parametrize("road", ["review", "reject"])
def test_a_gate_refuses_what_breaks_one_rule(tmp_path, road):
    outcome = judged(tmp_path, [{"metric": "roc_auc", "min": 0.999}, {"metric": "f1", "min": 0.1}], on_fail=road)
    assert isinstance(outcome, Refused)
    assert outcome.road == road
    assert [rule["verdict"] for rule in outcome.evidence["gate"]["rules"]] == ["fail", "pass"]
    json.dumps(outcome.evidence, allow_nan=False)


def test_a_pass_within_the_noise_is_named(tmp_path):
    ctx, outcome = evaluated(context(tmp_path, matrix("binary")))
    measured = outcome.metrics["test"]["roc_auc"]
    bound = (measured["low"] + measured["value"]) / 2
    ruled = context(tmp_path / "ruled", matrix("binary"), {"gate": {"rules": [{"metric": "roc_auc", "min": bound}]}})
    assert "within_noise" in codes(gate.run(replace(ruled, outputs=ctx.outputs)))


def test_a_model_no_better_than_guessing_is_named(tmp_path):
    data = matrix("binary")
    shuffled = replace(data, y=np.random.default_rng(5).permutation(data.y))
    ctx, _ = evaluated(context(tmp_path, shuffled, {"tuning": {"metric": "log_loss"}}))
    worst = {**ctx.outputs["evaluate"], "baseline": {"log_loss": {"value": 0.0}}}
    assert "no_better_than_guessing" in codes(gate.run(after(ctx, evaluate=worst)))


def test_a_deployment_is_asked_for_where_there_is_a_target(tmp_path):
    ctx = context(tmp_path, matrix("binary"), {"deployment": {"target": "staging", "require_ack": True}})
    outcome = deploy.run(ctx)
    assert isinstance(outcome, DeploymentRequested)
    assert outcome.target == "staging"
    assert isinstance(deploy.run(context(tmp_path, matrix("binary"))), Skipped)

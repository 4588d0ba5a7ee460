"""Evidence from whole jobs: the champion on the same rows, slices, gaps and costs, and what the gate makes of them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from app.errors import InvalidSpec
from tests.learning import chain, codes, make_context
from workers import evidence
from workers.context import Champion, Refused
from workers.stages import evaluate, gate, ingest, register, split, train, transform, tune, validate

BEFORE = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
    ("train", train.run), ("tune", tune.run),
)  # fmt: skip
SPEC = {
    "task": {"target": "late"}, "reproducibility": {"mode": "deterministic", "seed": 3},
    "training": {"max_iterations": 40},
}  # fmt: skip


def flights(rows=1_500, seed=0, noise=1.0):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "hour": random.integers(0, 24, rows), "distance": random.normal(1_000, 300, rows),
        "origin": random.choice(["EWR", "JFK", "LGA"], rows, p=[0.5, 0.35, 0.15]),
    })  # fmt: skip
    risk = (frame["hour"] - 12) / 6 + (frame["origin"] == "JFK") + noise * random.normal(size=rows)
    return frame.assign(late=np.where(risk > 0.5, "yes", "no"), weight=random.integers(1, 4, rows))


def judged(tmp_path, spec=None, *, champion=None, table=None, before=BEFORE):
    """(evaluate's outcome, gate's outcome, the context after both)."""
    ctx = make_context(tmp_path, {**SPEC, **(spec or {})}, table=flights() if table is None else table)
    ctx = replace(chain(ctx, *before)[0], champion=champion)
    outcome = evaluate.run(ctx)
    ctx = replace(ctx, outputs={**ctx.outputs, "evaluate": json.loads(json.dumps(outcome.output, allow_nan=False))})
    decided = gate.run(ctx)
    return outcome, decided, ctx


def champion_of(ctx, store):
    """A champion that `ctx` registers, as a later job sees it; its bundle is in the workspace of `store`."""
    made = register.run(replace(ctx, outputs={**ctx.outputs, "gate": {}}))
    path = ctx.workspace.fetch(made.bundle)
    return Champion("m", 3, "job_before", {"bundle": store.workspace.keep(path)}, {})


def told(decided):
    facts = decided.done.facts if isinstance(decided, Refused) else decided.facts
    return facts["gate"]


AGAINST = {"rules": [{"metric": "roc_auc", "against": "champion", "min_gain": 0.0}], "judge_by": "low"}


def test_without_a_champion_the_rule_passes_and_says_that_nothing_was_compared(tmp_path):
    _, decided, _ = judged(tmp_path, {"gate": AGAINST})
    (rule,) = told(decided)["rules"]
    assert (rule["verdict"], rule["first"], rule["value"]) == ("pass", True, None)
    assert "no_champion" in codes(decided)


def test_a_worse_champion_is_beaten_and_an_equal_one_is_met(tmp_path):
    _, _, weak = judged(tmp_path / "weak", {"training": {"max_iterations": 1, "params": {"num_leaves": 2}}})
    _, _, ctx = judged(tmp_path / "now", {"gate": AGAINST})
    for worse, lowest in ((weak, 1e-9), (ctx, 0.0)):
        champion = champion_of(worse, ctx)
        outcome = evaluate.run(replace(ctx, champion=champion))
        said = outcome.output["champion"]
        assert said["version"] == 3
        assert said["gains"]["roc_auc"]["low"] >= lowest
        assert said["gains"]["roc_auc"]["other"] == said["metrics"]["roc_auc"]["value"]
        decided = gate.run(replace(ctx, outputs={**ctx.outputs, "evaluate": outcome.output}))
        assert told(decided)["verdict"] == "pass"


def test_a_champion_predicts_in_the_evaluation_as_it_did_in_its_own(tmp_path):
    outcome, _, ctx = judged(tmp_path)
    again = evaluate.run(replace(ctx, champion=champion_of(ctx, ctx))).output["champion"]["metrics"]
    for name, entry in outcome.metrics["test"].items():
        assert again[name]["value"] == pytest.approx(entry["value"], abs=1e-9), name


@pytest.mark.parametrize(("change", "reason"), [
    (lambda frame: frame.drop(columns="origin"), "no column 'origin' any more"),
    (lambda frame: frame.assign(late=np.where(frame["hour"] > 20, "perhaps", frame["late"])), "it answers a binary task"),
    (lambda frame: frame.assign(late=np.where(frame["late"] == "yes", "ja", "nein")), "tells other classes apart"),
])  # fmt: skip
def test_a_champion_that_cannot_score_todays_rows_leaves_the_rule_open(tmp_path, change, reason):
    _, _, before = judged(tmp_path / "before")
    ctx = make_context(tmp_path / "now", {**SPEC, "gate": AGAINST}, table=change(flights()))
    ctx = chain(ctx, *BEFORE)[0]
    ctx = replace(ctx, champion=champion_of(before, ctx))
    outcome = evaluate.run(ctx)
    decided = gate.run(replace(ctx, outputs={**ctx.outputs, "evaluate": outcome.output}))
    assert isinstance(decided, Refused)
    (rule,) = told(decided)["rules"]
    assert rule["verdict"] == "inconclusive"
    assert reason in rule["reason"]
    assert "unfit_champion" in codes(decided.done)


def test_a_champion_whose_bundle_is_gone_or_torn_is_said_so(tmp_path):
    _, _, ctx = judged(tmp_path, {"gate": AGAINST})
    torn = ctx.workspace.scratch / "torn.zip"
    torn.write_bytes(b"not a bundle")
    for artifacts, reason in (({}, "its bundle is gone"), ({"bundle": ctx.workspace.keep(torn)}, "cannot be opened")):
        outcome = evaluate.run(replace(ctx, champion=Champion("m", 3, "job_before", artifacts, {})))
        assert reason in outcome.output["champion"]["reason"]


def test_slices_are_measured_worst_first_and_small_ones_are_counted(tmp_path):
    spec = {"evaluation": {"slices": [{"columns": ["origin"], "min_rows": 50}, {"columns": ["hour"], "min_rows": 20}]}}
    outcome, _, _ = judged(tmp_path, spec)
    slices = outcome.output["slices"]
    assert {tuple(each["where"]) for each in slices} == {("origin",), ("hour",)}
    values = [
        each["metrics"]["roc_auc"]["value"]
        for each in slices
        if each["metrics"].get("roc_auc", {}).get("value") is not None
    ]
    assert values == sorted(values)
    assert sum(each["rows"] for each in slices if "origin" in each["where"]) == outcome.output["test_rows"]
    small = [each for each in slices if not each["metrics"]]
    assert all("min_rows" in each["reason"] for each in small)


def test_rules_look_at_slices_at_gaps_and_at_costs(tmp_path):
    rules = [
        {"metric": "roc_auc", "slice": {"origin": "JFK"}, "min": 0.5}, {"metric": "roc_auc", "slice": {"hour": 7}, "max": 1.0},
        {"metric": "accuracy", "slice": {"origin": "SFO"}, "min": 0.1}, {"metric": "recall", "across": ["origin"], "max_gap": 1.0,
         "min_rows": 10}, {"metric": "model_bytes", "max": 1e9}, {"metric": "predict_ms", "max": 1e6},
    ]  # fmt: skip
    outcome, decided, _ = judged(tmp_path, {"gate": {"rules": rules}})
    assert [rule["verdict"] for rule in told(decided)["rules"]] == [
        "pass",
        "pass",
        "inconclusive",
        "pass",
        "pass",
        "pass",
    ]
    (gap,) = outcome.output["gaps"]
    assert {group["where"]["origin"] for group in gap["groups"]} == {"EWR", "JFK", "LGA"}
    values = [group["value"] for group in gap["groups"]]
    assert gap["value"] == pytest.approx(max(values) - min(values))
    assert told(decided)["rules"][2]["reason"] == "there are no rows"


def test_a_gap_of_more_groups_than_can_be_compared_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "MOST_COMPARED", 2)
    rules = [{"metric": "recall", "across": ["origin"], "max_gap": 1.0, "min_rows": 10}]
    outcome, decided, _ = judged(tmp_path, {"gate": {"rules": rules}})
    (gap,) = outcome.output["gaps"]
    assert (gap["value"], gap["groups"]) == (None, [])
    assert told(decided)["rules"][0]["verdict"] == "inconclusive"
    assert told(decided)["rules"][0]["reason"] == "3 groups have min_rows rows, and at most 2 are compared"


@pytest.mark.parametrize("spec", [
    {"gate": {"rules": [{"metric": "roc_auc", "slice": {"orign": "JFK"}, "min": 0.5}]}},
    {"gate": {"rules": [{"metric": "recall", "across": ["orign"], "max_gap": 0.5}]}},
    {"evaluation": {"slices": [{"columns": ["hour", "orign"]}]}},
])  # fmt: skip
def test_a_column_that_is_not_there_is_refused_before_anything_is_trained(tmp_path, spec):
    with pytest.raises(InvalidSpec) as refused:
        judged(tmp_path, spec, before=BEFORE[:5])
    (fault,) = refused.value.violations
    assert fault.code == "unknown_column"
    assert fault.pointer.startswith(("/gate/rules/0/", "/evaluation/slices/0/"))
    assert "origin" in fault.hint


def test_weights_count_in_every_part_of_the_evidence(tmp_path):
    plain, _, _ = judged(tmp_path / "plain")
    weighted, _, ctx = judged(tmp_path / "weighted", {"task": {"target": "late", "weight_column": "weight"}})
    assert weighted.metrics["test"]["accuracy"] != plain.metrics["test"]["accuracy"]
    report = json.loads(ctx.workspace.get("evaluation").read_text())
    assert np.sum(report["confusion"]["counts"]) > report["rows"]["test"], "rows count by their weights"


def test_verdict_and_evidence_do_not_depend_on_the_order_of_the_rows(tmp_path):
    frame = flights().assign(
        part=lambda rows: np.where(rows.index % 5 == 0, "test", np.where(rows.index % 5 == 1, "validation", "train"))
    )
    spec = {
        "split": {"method": "predefined", "column": "part"}, "training": {"algorithm": "linear"},
        "gate": {"judge_by": "low", "rules": [{"metric": "roc_auc", "min": 0.8}, {"metric": "f1", "slice": {"origin": "JFK"}, "min": 0.5}]},
    }  # fmt: skip
    told_of = []
    for name, order in (("one", frame.index), ("two", np.random.default_rng(1).permutation(frame.index))):
        ctx = make_context(tmp_path / name, {**SPEC, **spec}, table=frame.loc[order].reset_index(drop=True))
        ctx = chain(ctx, *BEFORE)[0]
        outcome = evaluate.run(ctx)
        told_of.append(
            (outcome.output, told(gate.run(replace(ctx, outputs={**ctx.outputs, "evaluate": outcome.output}))))
        )
    (_, one), (_, two) = told_of
    for first, second in zip(one["rules"], two["rules"], strict=True):
        assert first["verdict"] == second["verdict"]
        assert first["value"] == pytest.approx(second["value"], abs=2e-3)
        assert first["low"] == pytest.approx(second["low"], abs=5e-3)


@pytest.mark.parametrize(("task", "target"), [("regression", "distance"), ("multiclass", "origin")])
def test_every_task_has_its_curves_and_baselines(tmp_path, task, target):
    outcome, _, ctx = judged(tmp_path, {"task": {"target": target, "type": task}})
    report = json.loads(ctx.workspace.get("evaluation").read_text())
    assert set(report["baseline"]) == set(report["linear"]) == set(outcome.metrics["test"])
    assert set(report["curves"]) == (
        {"residuals", "distribution"} if task == "regression" else {"calibration", "distribution"}
    )


@pytest.mark.parametrize(("algorithm", "method"), [("lightgbm", "tree_shap"), ("linear", "permutation")])
def test_the_report_says_what_features_do(tmp_path, algorithm, method):
    _, _, ctx = judged(tmp_path, {"training": {"algorithm": algorithm, "max_iterations": 40}})
    said = json.loads(ctx.workspace.get("evaluation").read_text())["contributions"]
    assert said["method"] == method
    assert said["features"][0]["feature"] == "hour"
    if method == "tree_shap":
        example = said["examples"][0]
        assert abs(example["base"] + sum(example["contributions"].values()) - example["raw_score"]) < 1e-6
    else:
        assert said["features"][0]["loss"] > 0.05
        assert said["features"][-1]["loss"] < 0.02, "noise costs nothing"


def test_a_report_without_explanations_leaves_them_out(tmp_path):
    _, _, ctx = judged(tmp_path, {"evaluation": {"explain": False}})
    report = json.loads(ctx.workspace.get("evaluation").read_text())
    assert "contributions" not in report
    assert "importances" not in report

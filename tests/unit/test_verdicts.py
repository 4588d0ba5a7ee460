"""A verdict follows from the gate and the evidence: by the value or by the pessimistic end, and never by silence."""

from typing import Any

import pytest

from app import verdicts
from app.spec.decision import Gate

EVIDENCE: dict[str, Any] = {
    "rows": 1_000,
    "metrics": {
        "roc_auc": {"value": 0.80, "low": 0.78, "high": 0.82},
        "log_loss": {"value": 0.40, "low": 0.38, "high": 0.42},
        "f1": {"value": 0.5, "low": None, "high": None, "reason": "too few rows for an interval"},
        "mcc": {"value": None, "reason": "a class has no rows here", "low": None, "high": None},
    },
    "costs": {"model_bytes": 5_000.0, "predict_ms": 0.5},
    "champion": {
        "version": 3, "job_id": "job_1",
        "gains": {
            "roc_auc": {"value": 0.01, "low": 0.002, "high": 0.018, "other": 0.79},
            "log_loss": {"value": 0.001, "low": -0.004, "high": 0.006, "other": 0.401},
        },
    },
    "slices": [
        {"where": {"origin": "JFK"}, "rows": 400, "metrics": {"roc_auc": {"value": 0.7, "low": 0.66, "high": 0.74}},
         "champion": {"gains": {"roc_auc": {"value": -0.05, "low": -0.08, "high": -0.02, "other": 0.75}}}},
    ],
    "gaps": [
        {"columns": ["sex"], "metric": "recall", "min_rows": 100, "value": 0.08, "low": 0.02, "high": 0.14,
         "groups": [{"where": {"sex": "f"}, "rows": 480}, {"where": {"sex": "m"}, "rows": 520}]},
    ],
}  # fmt: skip


def one(rule: dict[str, Any], evidence: dict[str, Any] = EVIDENCE, **gate: Any) -> dict[str, Any]:
    found = verdicts.judged(Gate(rules=[rule], **gate), evidence)  # type: ignore[list-item]
    assert found["verdict"] == found["rules"][0]["verdict"]
    only: dict[str, Any] = found["rules"][0]
    return only


@pytest.mark.parametrize(("rule", "by_value", "by_low"), [
    ({"metric": "roc_auc", "min": 0.75}, "pass", "pass"),
    ({"metric": "roc_auc", "min": 0.79}, "pass", "inconclusive"),
    ({"metric": "roc_auc", "min": 0.81}, "fail", "inconclusive"),
    ({"metric": "roc_auc", "min": 0.83}, "fail", "fail"),
    ({"metric": "log_loss", "max": 0.45}, "pass", "pass"),
    ({"metric": "log_loss", "max": 0.41}, "pass", "inconclusive"),
    ({"metric": "log_loss", "max": 0.35}, "fail", "fail"),
    ({"metric": "roc_auc", "min": 0.7, "max": 0.81}, "pass", "inconclusive"),
    ({"metric": "roc_auc", "against": "champion", "min_gain": 0.0}, "pass", "pass"),
    ({"metric": "log_loss", "against": "champion", "min_gain": 0.0}, "pass", "inconclusive"),
    ({"metric": "log_loss", "against": "champion", "min_gain": -0.01}, "pass", "pass"),
    ({"metric": "roc_auc", "against": "champion", "min_gain": 0.02}, "fail", "fail"),
    ({"metric": "roc_auc", "slice": {"origin": "JFK"}, "min": 0.65}, "pass", "pass"),
    ({"metric": "roc_auc", "slice": {"origin": "JFK"}, "against": "champion", "min_gain": -0.01}, "fail", "fail"),
    ({"metric": "recall", "across": ["sex"], "max_gap": 0.2}, "pass", "pass"),
    ({"metric": "recall", "across": ["sex"], "max_gap": 0.1}, "pass", "inconclusive"),
    ({"metric": "recall", "across": ["sex"], "max_gap": 0.01}, "fail", "fail"),
    ({"metric": "model_bytes", "max": 6_000.0}, "pass", "pass"),
    ({"metric": "predict_ms", "max": 0.4}, "fail", "fail"),
    ({"metric": "f1", "min": 0.4}, "pass", "inconclusive"),
    ({"metric": "mcc", "min": 0.1}, "inconclusive", "inconclusive"),
    ({"metric": "precision", "min": 0.1}, "inconclusive", "inconclusive"),
    ({"metric": "roc_auc", "slice": {"origin": "LGA"}, "min": 0.1}, "inconclusive", "inconclusive"),
    ({"metric": "recall", "across": ["age"], "max_gap": 0.1}, "inconclusive", "inconclusive"),
])  # fmt: skip
def test_a_rule_is_judged_by_the_value_or_by_the_pessimistic_end(rule, by_value, by_low):
    assert one(rule)["verdict"] == by_value
    assert one(rule, judge_by="low")["verdict"] == by_low
    assert one({**rule, "judge_by": "low"})["verdict"] == by_low, "a rule may say so itself"
    assert one({**rule, "judge_by": "value"}, judge_by="low")["verdict"] == by_value


def test_what_does_not_pass_says_why_and_how_many_rows_would_decide():
    near = one({"metric": "roc_auc", "min": 0.79}, judge_by="low")
    assert near["reason"] == "the interval of roc_auc, 0.78 to 0.82, holds 0.79"
    assert near["rows_needed"] == 4_000, "half as wide an interval takes four times the rows"
    assert one({"metric": "roc_auc", "min": 0.80}, judge_by="low")["rows_needed"] is None, (
        "no number decides on the bound itself"
    )
    below = one({"metric": "roc_auc", "min": 0.805}, judge_by="low")
    assert below["rows_needed"] == pytest.approx(16_000, abs=2), "then it is the upper end that has to come down"
    failed = one({"metric": "roc_auc", "slice": {"origin": "JFK"}, "min": 0.9})
    assert failed["reason"] == "roc_auc where origin = JFK is 0.7, below 0.9"
    lost = one({"metric": "roc_auc", "against": "champion", "min_gain": 0.02})
    assert lost["reason"] == "the gain in roc_auc over the champion is 0.01, below 0.02"
    assert lost["champion"] == 0.79


def test_the_worst_verdict_of_a_rule_is_that_of_the_gate():
    good, open_, bad = (
        {"metric": "roc_auc", "min": 0.7},
        {"metric": "mcc", "min": 0.1},
        {"metric": "roc_auc", "min": 0.9},
    )
    for rules, expected in (([good], "pass"), ([good, open_], "inconclusive"), ([open_, bad], "fail"), ([], "pass")):
        assert verdicts.judged(Gate(rules=rules), EVIDENCE)["verdict"] == expected


@pytest.mark.parametrize(("gate", "verdict", "road"), [
    ({}, "pass", "pass"), ({"on_missing_champion": "review"}, "inconclusive", "review"),
    ({"on_missing_champion": "review", "on_inconclusive": "pass"}, "inconclusive", "review"),
])  # fmt: skip
def test_a_first_model_is_said_to_have_no_champion(gate, verdict, road):
    rule = {"metric": "roc_auc", "against": "champion", "min_gain": 0.0}
    asked = Gate(rules=[rule], **gate)
    found = verdicts.judged(asked, {**EVIDENCE, "champion": None})
    assert (found["verdict"], verdicts.road(asked, found)) == (verdict, road)
    assert found["rules"][0]["first"] is True
    assert "no champion yet" in found["rules"][0]["reason"]


def test_a_champion_that_cannot_answer_decides_nothing_unless_the_override_says_so():
    unfit = {**EVIDENCE, "champion": {"version": 3, "reason": "the data has no column 'speed' any more"}}
    rule = {"metric": "roc_auc", "against": "champion", "min_gain": 0.0}
    found = one(rule, unfit)
    assert found["verdict"] == "inconclusive"
    assert (
        found["reason"] == "version 3, the champion, cannot score these rows: the data has no column 'speed' any more"
    )
    overridden = one(rule, unfit, on_unfit_champion="pass")
    assert (overridden["verdict"], overridden["unfit"]) == ("pass", True)


@pytest.mark.parametrize(("rule", "gate", "road"), [
    ({"metric": "roc_auc", "min": 0.9}, {}, "review"), ({"metric": "roc_auc", "min": 0.9}, {"on_fail": "reject"}, "reject"),
    ({"metric": "mcc", "min": 0.1}, {}, "review"), ({"metric": "mcc", "min": 0.1}, {"on_inconclusive": "reject"}, "reject"),
    ({"metric": "mcc", "min": 0.1}, {"on_inconclusive": "pass", "on_fail": "reject"}, "pass"),
    ({"metric": "roc_auc", "min": 0.1}, {"on_fail": "reject", "on_inconclusive": "reject"}, "pass"),
])  # fmt: skip
def test_each_verdict_takes_the_road_that_the_gate_names(rule, gate, road):
    asked = Gate(rules=[rule], **gate)
    assert verdicts.road(asked, verdicts.judged(asked, EVIDENCE)) == road


def test_a_pass_within_the_noise_is_told():
    assert verdicts.near(one({"metric": "roc_auc", "min": 0.79}))
    assert verdicts.near(one({"metric": "log_loss", "against": "champion", "min_gain": 0.0}))
    assert verdicts.near(one({"metric": "recall", "across": ["sex"], "max_gap": 0.1}))
    assert not verdicts.near(one({"metric": "roc_auc", "min": 0.7}))
    assert not verdicts.near(one({"metric": "roc_auc", "min": 0.9}))
    assert not verdicts.near(one({"metric": "model_bytes", "max": 6_000.0}))


@pytest.mark.parametrize("rule", [
    {"metric": "roc_auc"}, {"metric": "roc_auc", "min_gain": 0.0}, {"metric": "roc_auc", "against": "champion"},
    {"metric": "roc_auc", "against": "champion", "min_gain": 0.0, "min": 0.5}, {"metric": "roc_auc", "max_gap": 0.1},
    {"metric": "roc_auc", "across": ["sex"]}, {"metric": "roc_auc", "across": ["sex"], "max_gap": -0.1},
    {"metric": "roc_auc", "across": ["sex"], "max_gap": 0.1, "slice": {"origin": "JFK"}},
    {"metric": "roc_auc", "min": 0.9, "max": 0.1}, {"metric": "model_bytes", "min": 10.0},
    {"metric": "predict_ms", "max": 1.0, "slice": {"origin": "JFK"}}, {"metric": "accuracy_of_mine", "min": 0.1},
    {"metric": "model_bytes", "against": "champion", "min_gain": 0.0},
    {"metric": "roc_auc", "min": 0.1, "judge_by": "high"}, {"metric": "roc_auc", "min": 0.1, "surprise": 1},
])  # fmt: skip
def test_a_rule_that_says_too_little_or_too_much_is_refused(rule):
    with pytest.raises(ValueError, match=r"rule|metric|take|go together|above|greater|permitted|Input|unknown|alone"):
        Gate(rules=[rule])


def test_a_value_that_is_as_good_as_its_limit_needs_no_number_of_rows():
    entry = {"value": 0.010000000000000009, "low": -0.01, "high": 0.03}
    assert verdicts.rows_needed(entry, 0.01, "min", 1_000) is None
    assert verdicts.rows_needed({**entry, "value": 0.02}, 0.01, "min", 1_000) == 9_000

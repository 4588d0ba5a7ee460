"""The gate's judgement: rules against what was measured, without measuring anything.

A verdict follows from the gate and the evidence alone, so any gate can be tried on any candidate of the past.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.spec.base import MAX_INTEGER
from app.spec.decision import LOWER_IS_BETTER, Gate, Rule

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
Entry = Mapping[str, Any]
"""`{"value", "low", "high"}`, each a number or None; with a `reason` where the value is None."""
UNMEASURED: Entry = {"value": None, "reason": "it was not measured"}


EVIDENCE = ("metrics", "champion", "slices", "gaps", "costs", "confidence")
"""What the output of the stage `evaluate` holds of it, beside `test_rows`."""


def evidence_of(evaluated: Mapping[str, Any]) -> dict[str, Any]:
    """What the gate judges, of the output of the stage `evaluate`."""
    return {"rows": evaluated["test_rows"], **{name: evaluated[name] for name in EVIDENCE}}


def judged(gate: Gate, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """`{verdict, rules}`: each rule with what was measured, its verdict and why, and the verdict of all.

    Args:
        evidence: As the evaluation puts it together: `metrics` by name, `rows`, `costs`, `slices`, `gaps` and `champion`.
    """
    rules = [judge(rule, gate, evidence) for rule in gate.rules]
    found = {rule["verdict"] for rule in rules}
    verdict = next((each for each in (FAIL, INCONCLUSIVE) if each in found), PASS)
    return {"verdict": verdict, "rules": rules}


def road(gate: Gate, verdict: Mapping[str, Any]) -> str:
    """Where a candidate with this verdict goes: `pass`, `review` or `reject`."""
    if verdict["verdict"] == FAIL:
        return gate.on_fail
    if verdict["verdict"] == INCONCLUSIVE:
        first = any(rule.get("first") for rule in verdict["rules"] if rule["verdict"] == INCONCLUSIVE)
        return "review" if first else gate.on_inconclusive
    return PASS


def judge(rule: Rule, gate: Gate, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The rule's own fields that are set, `value`, `low`, `high` as measured, its verdict, and a `reason` if it does not pass."""
    said = {
        name: value for name, value in rule.model_dump(mode="json").items()
        if value not in (None, {}, []) and (name != "min_rows" or rule.across)
    }  # fmt: skip
    said = {"min": None, "max": None, **said} if rule.kind == "bound" else said
    if rule.kind == "gain" and (told := _without_champion(gate, evidence.get("champion"))):
        return {**said, "value": None, "low": None, "high": None, **told}
    entry, rows = _measured(rule, evidence)
    shown = {**said, **{name: entry.get(name) for name in ("value", "low", "high")}}
    if "other" in entry:
        shown["champion"] = entry["other"]
    return {**shown, **_decided(rule, entry, by=rule.judge_by or gate.judge_by, rows=rows)}


def _without_champion(gate: Gate, champion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The verdict of a rule against a champion that is not there, or cannot answer; None where it can."""
    if champion is None:
        passes = gate.on_missing_champion == "pass"
        return {
            "verdict": PASS if passes else INCONCLUSIVE, "first": True,
            "reason": "the model has no champion yet, so there is nothing to compare with",
        }  # fmt: skip
    if champion.get("reason"):
        passes = gate.on_unfit_champion == "pass"
        return {
            "verdict": PASS if passes else INCONCLUSIVE, "unfit": True,
            "reason": f"version {champion['version']}, the champion, cannot score these rows: {champion['reason']}",
        }  # fmt: skip
    return None


def _measured(rule: Rule, evidence: Mapping[str, Any]) -> tuple[Entry, int | None]:
    """What the rule asks about, as it was measured, and on how many rows."""
    if rule.metric in evidence.get("costs", {}) and rule.kind == "bound":
        return {"value": evidence["costs"][rule.metric]}, None
    if rule.across:
        return _gap(rule, evidence.get("gaps", []))
    part: Mapping[str, Any] = evidence
    if rule.slice:
        found = next((each for each in evidence.get("slices", []) if each["where"] == rule.slice), None)
        if found is None:
            return UNMEASURED, None
        part = found
    if rule.kind == "gain":
        return (part.get("champion") or {}).get("gains", {}).get(rule.metric, UNMEASURED), part["rows"]
    return part["metrics"].get(rule.metric, UNMEASURED), part["rows"]


def _gap(rule: Rule, gaps: Sequence[Mapping[str, Any]]) -> tuple[Entry, int | None]:
    for each in gaps:
        if (each["columns"], each["metric"], each["min_rows"]) == (rule.across, rule.metric, rule.min_rows):
            return each, sum(group["rows"] for group in each["groups"])
    return UNMEASURED, None


def _decided(rule: Rule, entry: Entry, *, by: str, rows: int | None) -> dict[str, Any]:
    if entry.get("value") is None:
        return {"verdict": INCONCLUSIVE, "reason": entry.get("reason", "it has no value")}
    bounds = list(_bounds(rule))
    failed = next((each for each in bounds if not _meets(entry["value"], *each)), None)
    name = subject(rule.model_dump(mode="json"))
    if by == "value" or "low" not in entry:  # what is counted or timed has no interval
        return {"verdict": PASS} if failed is None else _no(name, entry["value"], *failed)
    for limit, side in bounds:
        worse, better = (entry["low"], entry["high"]) if side == "min" else (entry["high"], entry["low"])
        if worse is None or better is None:
            return {
                "verdict": INCONCLUSIVE,
                "reason": f"{name} has no interval: {entry.get('reason', 'it was not made')}",
            }
        if not _meets(better, limit, side):
            return _no(name, entry["value"], limit, side)
        if not _meets(worse, limit, side):
            return {
                "verdict": INCONCLUSIVE,
                "reason": f"the interval of {name}, {_shown(entry['low'])} to {_shown(entry['high'])}, holds {_shown(limit)}",
                "rows_needed": rows_needed(entry, limit, side, rows),
            }
    return {"verdict": PASS}


def _bounds(rule: Rule) -> Iterator[tuple[float, str]]:
    if rule.kind == "gain" and rule.min_gain is not None:
        yield rule.min_gain, "min"
    elif rule.kind == "gap" and rule.max_gap is not None:
        yield rule.max_gap, "max"
    else:
        yield from ((limit, side) for side, limit in (("min", rule.min), ("max", rule.max)) if limit is not None)


def _meets(value: float, limit: float, side: str) -> bool:
    return value >= limit if side == "min" else value <= limit


def _no(name: str, value: float, limit: float, side: str) -> dict[str, Any]:
    where = "below" if side == "min" else "above"
    return {"verdict": FAIL, "reason": f"{name} is {_shown(value)}, {where} {_shown(limit)}"}


def rows_needed(entry: Entry, limit: float, side: str, rows: int | None) -> int | None:
    """How many test rows would decide, were the value to stay: an interval shrinks as the root of the rows grows.

    None where no number of rows that can be told would, because the value is the limit itself, or as good as that.
    """
    value, met = float(entry["value"]), _meets(float(entry["value"]), limit, side)
    margin = abs(value - limit)
    end = entry["low"] if (side == "min") == met else entry["high"]
    if rows is None or margin == 0.0 or end is None:
        return None
    needed = rows * (abs(float(end) - value) / margin) ** 2
    return max(rows + 1, math.ceil(needed)) if needed <= MAX_INTEGER else None


def near(rule: Mapping[str, Any]) -> bool:
    """Whether a judged rule passes although its interval crosses the bound."""
    if rule["verdict"] != PASS or rule.get("low") is None or rule.get("high") is None:
        return False
    low, high = float(rule["low"]), float(rule["high"])
    crossed = [rule[name] for name in ("min", "min_gain") if rule.get(name) is not None and low < rule[name]]
    return bool(crossed) or any(rule.get(name) is not None and high > rule[name] for name in ("max", "max_gap"))


def no_better(metric: str, value: float, other: float) -> bool:
    """Whether `value` is no better than `other`."""
    return value >= other if metric in LOWER_IS_BETTER else value <= other


def subject(rule: Mapping[str, Any]) -> str:
    """What a judged rule bounds, in words."""
    if rule.get("across"):
        return f"the gap of {rule['metric']} across {', '.join(rule['across'])}"
    name = f"the gain in {rule['metric']} over the champion" if rule.get("against") else str(rule["metric"])
    where = ", ".join(f"{column} = {value}" for column, value in rule.get("slice", {}).items())
    return f"{name} where {where}" if where else name


def wanted(rule: Mapping[str, Any]) -> str:
    """The bounds of a judged rule, in words."""
    sides = {"min": "at least", "min_gain": "at least", "max": "at most", "max_gap": "at most"}
    return " and ".join(f"{words} {_shown(rule[name])}" for name, words in sides.items() if rule.get(name) is not None)


def _shown(value: float) -> str:
    return f"{value:.6g}"

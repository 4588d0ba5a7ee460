"""Gate: the test metrics against the caller's rules; a missing metric never passes."""

from typing import Any

from app.spec.decision import LOWER_IS_BETTER, Rule
from workers.context import Context, Done, Refused, Warned


def run(ctx: Context) -> Done | Refused:
    """Judges each rule; fact `gate` is `{verdict, rules, warnings}`. A failed rule refuses the candidate."""
    measured = ctx.outputs["evaluate"]["metrics"]
    judged = [judge(rule, measured.get(rule.metric)) for rule in ctx.spec.gate.rules]
    warnings = tuple(_warnings(ctx, measured, judged))
    verdict = "pass" if all(entry["verdict"] == "pass" for entry in judged) else "fail"
    gate = {"verdict": verdict, "rules": judged, "warnings": [warned.message for warned in warnings]}
    failed = [entry for entry in judged if entry["verdict"] != "pass"]
    done = Done(
        summary={"verdict": verdict, "rules": len(judged), "failed": len(failed)}, output=gate, warnings=warnings,
        facts={"gate": gate},
    )  # fmt: skip
    if verdict == "pass":
        return done
    return Refused(done, road=ctx.spec.gate.on_fail, evidence={"gate": gate, "metrics": measured})


def judge(rule: Rule, entry: Any) -> dict[str, Any]:
    """The rule with what was measured and its verdict, `pass`, `fail` or `inconclusive`."""
    entry = entry or {"value": None, "reason": "the metric was not measured"}
    value = entry["value"]
    judged = {
        "metric": rule.metric, "min": rule.min, "max": rule.max, "value": value, "low": entry.get("low"),
        "high": entry.get("high"),
    }  # fmt: skip
    if value is None:
        return {**judged, "verdict": "inconclusive", "reason": entry.get("reason", "the metric has no value")}
    if rule.min is not None and value < rule.min:
        return {**judged, "verdict": "fail", "reason": f"{rule.metric} is {value:.6g}, below {rule.min:.6g}"}
    if rule.max is not None and value > rule.max:
        return {**judged, "verdict": "fail", "reason": f"{rule.metric} is {value:.6g}, above {rule.max:.6g}"}
    return {**judged, "verdict": "pass"}


def _warnings(ctx: Context, measured: Any, judged: list[dict[str, Any]]) -> list[Warned]:
    found = []
    if not judged:
        found.append(Warned("no_rules", "The gate has no rules, so every model passes.", hint="Add gate.rules."))
    found.extend(
        Warned(
            "within_noise",
            f"{entry['metric']} passes, but its interval {entry['low']:.6g} to {entry['high']:.6g} crosses the bound.",
        )
        for entry in judged
        if entry["verdict"] == "pass" and _near(entry)
    )
    metric = ctx.outputs["train"]["metric"]
    value, guessed = (part.get(metric, {}).get("value") for part in (measured, ctx.outputs["evaluate"]["baseline"]))
    if value is not None and guessed is not None and _no_better(metric, value, guessed):
        found.append(
            Warned("no_better_than_guessing", f"{metric} is {value:.6g}; the best constant has {guessed:.6g}.")
        )
    return found


def _near(entry: dict[str, Any]) -> bool:
    below = entry["min"] is not None and entry["low"] is not None and entry["low"] < entry["min"]
    above = entry["max"] is not None and entry["high"] is not None and entry["high"] > entry["max"]
    return below or above


def _no_better(metric: str, value: float, guessed: float) -> bool:
    return value >= guessed if metric in LOWER_IS_BETTER else value <= guessed

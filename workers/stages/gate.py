"""Gate: what was measured against the caller's rules; what was not measured never passes."""

from collections.abc import Iterator, Mapping
from typing import Any

from app import verdicts
from workers.context import Context, Done, Refused, Warned


def run(ctx: Context) -> Done | Refused:
    """Judges each rule; fact `gate` is `{verdict, rules, warnings}`.

    A rule that fails, or that the rows cannot decide, refuses the candidate as `gate.on_fail` and `gate.on_inconclusive` say.
    """
    evidence = verdicts.evidence_of(ctx.outputs["evaluate"])
    found = verdicts.judged(ctx.spec.gate, evidence)
    warnings = tuple(_warnings(ctx, evidence, found))
    gate = {**found, "judge_by": ctx.spec.gate.judge_by, "warnings": [warned.message for warned in warnings]}
    counted = {each: sum(rule["verdict"] == each for rule in found["rules"]) for each in ("fail", "inconclusive")}
    summary = {
        "verdict": found["verdict"], "rules": len(found["rules"]), "failed": counted["fail"],
        "inconclusive": counted["inconclusive"],
    }  # fmt: skip
    done = Done(summary=summary, output=gate, warnings=warnings, facts={"gate": gate})
    road = verdicts.road(ctx.spec.gate, found)
    if road == verdicts.PASS:
        return done
    return Refused(done, road=road, evidence={"gate": gate, **evidence})


def _warnings(ctx: Context, evidence: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Warned]:
    if not found["rules"]:
        yield Warned("no_rules", "The gate has no rules, so every model passes.", hint="Add gate.rules.")
    for rule in found["rules"]:
        if rule.get("first") or rule.get("unfit"):
            code = "no_champion" if rule.get("first") else "unfit_champion"
            yield Warned(code, f"A rule on {rule['metric']} against the champion was not judged: {rule['reason']}.")
        elif verdicts.near(rule):
            yield Warned(
                "within_noise",
                f"{rule['metric']} passes, but its interval {rule['low']:.6g} to {rule['high']:.6g} crosses the bound.",
                hint="Set gate.judge_by to low to have the whole interval pass.",
            )
    if found["verdict"] == verdicts.INCONCLUSIVE and verdicts.road(ctx.spec.gate, found) == verdicts.PASS:
        yield Warned("inconclusive", "The test rows do not decide; gate.on_inconclusive lets the model through.")
    yield from _no_better(ctx, evidence)


def _no_better(ctx: Context, evidence: Mapping[str, Any]) -> Iterator[Warned]:
    metric, said = ctx.outputs["train"]["metric"], ctx.outputs["evaluate"]
    value = evidence["metrics"].get(metric, {}).get("value")
    for name, code, what in (
        ("baseline", "no_better_than_guessing", "the best constant"),
        ("linear", "no_better_than_linear", "a linear model"),
    ):
        other = said.get(name, {}).get(metric, {}).get("value")
        if value is not None and other is not None and verdicts.no_better(metric, value, other):
            yield Warned(code, f"{metric} is {value:.6g}; {what} has {other:.6g}.")
            return

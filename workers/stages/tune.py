"""Tune: asks for trials, then chooses among them and the train stage's fit, and fits what is chosen again."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import InvalidSpec
from trainhouse_loader.models import ensemble
from trainhouse_loader.models.finish import Finish
from workers.context import Context, Done, FanOut, Skipped, Warned
from workers.fitting.choosing import Judged, chosen, finish_for, judged, only_trained
from workers.fitting.lanes import finals
from workers.fitting.refit import Final
from workers.fitting.rows import forget
from workers.search.facts import facts_of
from workers.search.insight import insight
from workers.search.plan import Plan, planned

STATES = ("complete", "pruned", "failed", "lost")
WHY_NOT = {
    "none": "tuning.strategy is none", "auto": "there is no budget to search in: neither tuning.max_trials nor tuning.max_seconds is set",
}  # fmt: skip
"""By strategy, why nothing is searched."""
UNTIMELY = frozenset({"no_time", "timed_out"})


def run(ctx: Context) -> Done | FanOut:
    """Without trials: asks for them, where the plan has any. With trials: puts the chosen `model` and `search` (JSON).

    Output: `{source: "train" | "trial" | "ensemble", number, params, iterations, value, metric, metrics, spread,
    folds, refit, members}`. Value, metrics and spread are those on rows that no member had learned from; `number` is
    the trial of the heaviest member.

    Raises:
        InvalidSpec: `constraints_unmet`.
        MachineError, DeadlineExceeded, Cancelled, LeaseLost: see `workers.fitting.lanes.finals`.
    """
    plan, trained = planned(ctx.spec, facts_of(ctx.outputs)), ctx.outputs["train"]
    searched = plan.strategy != "none"
    if searched and not ctx.trials and not ctx.search.get("ended"):
        return FanOut(trials=plan.trials, parallel=plan.parallel, minimize=plan.minimize)
    if not searched and not plan.refit and not trained["folds"]:
        return _skipped(ctx, trained)
    members = finals(ctx, chosen(ctx, plan=plan), plan=plan)
    weighted = tuple((final.contender, final.weight) for final in members)
    worth, finish = judged(ctx, weighted), finish_for(ctx, weighted)
    output = told(members, worth, metric=trained["metric"], folds=trained["folds"])
    path = ctx.workspace.scratch / "model"
    ensemble.write([member for final in members for member in final.packed], path, finish=finish)
    ctx.workspace.put("model", path, ensemble.MEDIA_TYPE)
    learned = insight(ctx.spec, facts_of(ctx.outputs), ctx.trials)
    _put_search(ctx, {**learned, "chosen": dict(output)})
    forget()  # nothing is fitted from here on
    return Done(
        summary=_summary(ctx, plan, output), output=output, warnings=tuple(_warnings(ctx, plan, output)),
        metrics={"validation": worth.metrics}, facts={"best_trial": output["number"], "importances": learned["importances"]},
    )  # fmt: skip


def _skipped(ctx: Context, trained: Mapping[str, Any]) -> Skipped:
    """The train stage's model goes on, finished where the spec asks for it; raises `constraints_unmet`, as a search does."""
    if not ctx.spec.tuning.constraints.hold(trained["facts"]):
        raise InvalidSpec(
            "The model does not keep to tuning.constraints.", code="constraints_unmet",
            hint="Raise the bounds, train a smaller model, or give tuning.max_trials to search among smaller ones.",
        )  # fmt: skip
    finish = finish_for(ctx, (only_trained(ctx),))
    path = ctx.workspace.get("model_train")
    if finish != Finish():
        members, path = ensemble.read(path), ctx.workspace.scratch / "model"
        ensemble.write(members, path, finish=finish)
    ctx.workspace.put("model", path, ensemble.MEDIA_TYPE)
    kept = {name: trained[name] for name in ("params", "iterations", "value", "metric", "metrics", "folds")}
    return Skipped(
        summary={"strategy": "none"},
        output={"source": "train", "number": None, **kept, "spread": None, "refit": False, "members": []},
        facts={"best_trial": None}, reason=WHY_NOT[ctx.spec.tuning.strategy],
    )  # fmt: skip


def told(members: Sequence[Final], worth: Judged, *, metric: str, folds: int) -> dict[str, Any]:
    """What was chosen, as JSON."""
    first = members[0]
    alone = len(members) == 1
    source = "ensemble" if not alone else "train" if first.contender.number is None else "trial"
    return {
        "source": source, "number": first.contender.number, "params": dict(first.contender.candidate.params) if alone else {},
        "iterations": sum(member.iterations for final in members for member in final.packed), "value": worth.value, "metric": metric,
        "metrics": {name: dict(entry) for name, entry in worth.metrics.items()}, "spread": worth.spread,
        "folds": folds, "refit": all(final.rounds is not None for final in members),
        "members": [final.document() for final in members],
    }  # fmt: skip


def _summary(ctx: Context, plan: Plan, output: Mapping[str, Any]) -> dict[str, Any]:
    counts = {state: sum(trial.status == state for trial in ctx.trials) for state in STATES}
    return {
        "strategy": plan.strategy, "trials": len(ctx.trials), **counts, "ended_by": ctx.search.get("ended_by"), "metric": output["metric"],
        "trained_value": ctx.outputs["train"]["value"], "best_trial": output["number"], "value": output["value"],
        "spread": output["spread"], "folds": output["folds"], "source": output["source"], "refit": output["refit"],
        "members": len(output["members"]),
    }  # fmt: skip


def _put_search(ctx: Context, document: Mapping[str, Any]) -> None:
    path = ctx.workspace.scratch / "search.json"
    path.write_text(json.dumps(document, allow_nan=False, sort_keys=True), encoding="utf-8")
    ctx.workspace.put("search", path, "application/json")


def _warnings(ctx: Context, plan: Plan, output: Mapping[str, Any]) -> list[Warned]:
    found = []
    searched = plan.strategy != "none"
    if searched and not any(trial.status == "complete" for trial in ctx.trials):
        found.append(Warned("no_trial_completed", "No trial completed; the fit of the train stage goes on.",
                            hint="See the trials' errors."))  # fmt: skip
    elif searched and output["source"] == "train":
        found.append(
            Warned("search_did_not_help", "No trial was better than the fit of training.params, which goes on.")
        )
    late = [member for member in output["members"] if member["kept_for"] in UNTIMELY]
    if late:
        found.append(Warned(
            "budget_left_no_refit", f"{len(late)} of {len(output['members'])} models were not fitted again on "
            "all rows that may teach: there was no time left.", hint="Raise tuning.max_seconds or resources.max_seconds.",
        ))  # fmt: skip
    broken = sum(member["kept_for"] == "failed" for member in output["members"])
    if broken:
        found.append(Warned(
            "refit_failed", f"{broken} of {len(output['members'])} models could not be fitted again on all rows that "
            "may teach: the fits broke. The search's own models answer.", hint="See the worker's log.",
        ))  # fmt: skip
    return found

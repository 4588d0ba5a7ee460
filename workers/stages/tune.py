"""Tune: asks for trials, then picks the best of them and the train stage's fit."""

from typing import Any

from workers.context import Context, Done, FanOut, Skipped, TrialResult, Warned
from workers.search.facts import facts_of
from workers.search.plan import planned
from workers.trainers import ensemble


def run(ctx: Context) -> Done | FanOut:
    """Without trials: asks for them. With trials: puts the chosen `model`, outputs what it is.

    Output: `{source: "train" | "trial", number, params, iterations, value, metric}`.
    """
    plan = planned(ctx.spec, facts_of(ctx.outputs))
    trained = ctx.outputs["train"]
    if plan.strategy == "none":
        _put_trained(ctx)
        return Skipped(
            summary={"strategy": "none"}, output=_as_trained(trained), facts={"best_trial": None},
            reason="tuning.strategy is none",
        )  # fmt: skip
    if not ctx.trials and not ctx.search.get("ended"):
        return FanOut(trials=plan.trials, parallel=plan.parallel, minimize=plan.minimize)
    best = best_of(ctx.trials, minimize=plan.minimize)
    counts = {
        status: sum(trial.status == status for trial in ctx.trials)
        for status in ("complete", "pruned", "failed", "lost")
    }
    summary: dict[str, Any] = {
        "strategy": plan.strategy, "trials": len(ctx.trials), **counts, "metric": plan.metric,
        "trained_value": trained["value"],
    }  # fmt: skip
    if best is None or _beats(trained["value"], best.value, minimize=plan.minimize):
        _put_trained(ctx)
        summary.update(best_trial=None, value=trained["value"])
        return Done(
            summary=summary, output=_as_trained(trained), facts={"best_trial": None}, warnings=_why_trained(counts["complete"])
        )  # fmt: skip
    return _chosen(ctx, best, summary)


def best_of(trials: tuple[TrialResult, ...], *, minimize: bool) -> TrialResult | None:
    """The complete trial with the best value whose model was kept; of equal ones, the lowest number."""
    whole = [trial for trial in trials if trial.status == "complete" and trial.value is not None and trial.model]
    return min(whole, key=lambda trial: (_loss(trial.value, minimize=minimize), trial.number), default=None)


def _loss(value: float | None, *, minimize: bool) -> float:
    if value is None:
        return float("inf")
    return value if minimize else -value


def _beats(trained: float | None, value: float | None, *, minimize: bool) -> bool:
    return _loss(trained, minimize=minimize) < _loss(value, minimize=minimize)


def _put_trained(ctx: Context) -> None:
    ctx.workspace.put("model", ctx.workspace.get("model_train"), ensemble.MEDIA_TYPE)


def _as_trained(trained: Any) -> dict[str, Any]:
    chosen = {name: trained[name] for name in ("params", "iterations", "value", "metric")}
    return {"source": "train", "number": None, **chosen}


def _why_trained(complete: int) -> tuple[Warned, ...]:
    if complete == 0:
        return (
            Warned(
                "no_trial_completed",
                "No trial completed; the model of the train stage goes on.",
                hint="See the trials' errors.",
            ),
        )
    return (Warned("search_did_not_help", "No trial was better than the fit of training.params, which goes on."),)


def _chosen(ctx: Context, best: TrialResult, summary: dict[str, Any]) -> Done:
    if best.model is None:
        raise ValueError("the best trial has no model")
    ctx.workspace.put("model", ctx.workspace.fetch(best.model), ensemble.MEDIA_TYPE)
    return Done(
        summary={**summary, "best_trial": best.number, "value": best.value},
        output={
            "source": "trial", "number": best.number, "params": dict(best.params), "iterations": best.iterations,
            "value": best.value, "metric": summary["metric"],
        },
        facts={"best_trial": best.number},
    )  # fmt: skip

"""What a search found out: which parameters mattered, how each algorithm did, and how the best grew."""

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
import structlog
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from app.spec.job import JobSpec
from workers.context import TrialResult
from workers.search import auto
from workers.search.facts import Facts
from workers.search.outcomes import BEYOND, Judge
from workers.search.plan import planned
from workers.search.space import Space

log = structlog.get_logger()

FEWEST_TRIALS = 10
"""With fewer, what looks important is chance."""
GOOD = 0.25
"""The share of the trials that importances tell from the others."""
MOST_POINTS = 200
DIGITS = 6


def insight(spec: JobSpec, facts: Facts, trials: Sequence[TrialResult]) -> dict[str, Any]:
    """JSON about the ended trials: `best`, `algorithms`, `importances` and `best_so_far`; no NaN, no infinity.

    `best_so_far` holds (seconds of fitting, value) pairs, one for each trial that was better than all before it.
    """
    plan = planned(spec, facts)
    judge = Judge(plan.minimize, spec.tuning.constraints)
    ordered = sorted(trials, key=lambda trial: trial.number)
    best, space = judge.best(ordered), auto.space_of_search(spec, facts)
    return {
        "strategy": plan.strategy, "metric": plan.metric, "minimize": plan.minimize,
        "trials": {name: sum(trial.status == name for trial in ordered) for name in ("complete", "pruned", "failed", "lost")},
        "beyond_constraints": sum(judge.excess(trial.facts) > 0 for trial in ordered if trial.status == "complete"),
        "best": None if best is None else {"number": best.number, "value": best.value, "params": dict(best.params)},
        "algorithms": _algorithms(space, judge, ordered),
        "importances": importances(space, judge, ordered),
        "best_so_far": _best_so_far(judge, ordered),
    }  # fmt: skip


def importances(space: Space, judge: Judge, trials: Sequence[TrialResult]) -> dict[str, float]:
    """By parameter, its share in being among the best quarter of the trials, the largest first; they add up to 1.

    PED-ANOVA (Watanabe et al., 2023) with conditional parameters each judged where it was searched. Where several
    algorithms were, a parameter is named `algorithm.parameter`. Empty, where the trials are too few to say, or where the
    library breaks: the model is chosen, and is not lost for what would only be told of it.
    """
    try:
        rows = [row for trial in trials if (row := _row(space, judge, trial)) is not None]
        return _shares(rows) if len(rows) >= FEWEST_TRIALS else {}
    except Exception:
        log.exception("importances_broke")
        return {}


def _shares(rows: Sequence[FrozenTrial]) -> dict[str, float]:
    study = optuna.create_study()
    study.add_trials(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(target_quantile=GOOD)
        )
    return {name: round(share, DIGITS) for name, share in found.items() if share == share}  # noqa: PLR0124  # not NaN


def _row(space: Space, judge: Judge, trial: TrialResult) -> FrozenTrial | None:
    loss, branch = judge.loss(trial), space.branch_of(trial.params)
    values = branch.inside(trial.params) if branch is not None else None
    if branch is None or values is None or loss >= BEYOND:
        return None
    several = len(space.branches) > 1
    prefix = f"{branch.algorithm}." if several else ""
    params = {prefix + name: value for name, value in values.items()}
    distributions: dict[str, BaseDistribution] = {
        prefix + axis.name: axis.distribution for axis in branch.axes if axis.name in values
    }
    if several:
        params["algorithm"] = branch.algorithm
        distributions["algorithm"] = CategoricalDistribution([each.algorithm for each in space.branches])
    return create_trial(value=loss, params=params, distributions=distributions)


def _algorithms(space: Space, judge: Judge, trials: Sequence[TrialResult]) -> dict[str, dict[str, Any]]:
    """By algorithm, how many trials it had and the best of them."""
    found: dict[str, dict[str, Any]] = {}
    for branch in space.branches:
        own = [trial for trial in trials if space.branch_of(trial.params) is branch]
        best = judge.best(own)
        if own:
            found[branch.algorithm] = {"trials": len(own), "best": None if best is None else best.value}
    return found


def _best_so_far(judge: Judge, trials: Sequence[TrialResult]) -> list[list[float]]:
    seconds, least, found = 0.0, BEYOND, []
    for trial in trials:
        seconds += trial.duration_seconds or 0.0
        loss = judge.loss(trial)
        if loss < least and trial.value is not None:
            least = loss
            found.append([round(seconds, 3), trial.value])
    step = max(1, -(-len(found) // MOST_POINTS))
    return [point for place, point in enumerate(found) if place % step == 0 or place == len(found) - 1]

"""Strategy `auto`: a portfolio first, then earlier jobs' settings, then TPE over the algorithms that did well."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from statistics import median
from typing import Any

from app.spec.job import JobSpec
from workers.context import TrialResult
from workers.search.facts import Facts
from workers.search.outcomes import BEYOND, Judge
from workers.search.plan import planned, strategy_of
from workers.search.portfolio import (
    HASTE,
    LARGEST_SHARE,
    PORTFOLIO,
    REACH,
    SECONDS,
    SECONDS_PER_TREE,
    SHARES,
    Setting,
)
from workers.search.space import Space, space_of
from workers.trainers import TRAINERS, available

Params = Mapping[str, Any]
LEAST_PACE, MOST_PACE = 0.25, 8.0
FIRST_TRIALS = 12


def space_of_search(spec: JobSpec, facts: Facts) -> Space:
    """The space of the search that `spec` asks for; under strategy `auto` of several algorithms, where none is named."""
    named = "algorithm" in spec.tuning.space or spec.training.algorithm != "auto" or bool(spec.training.params)
    if strategy_of(spec) != "auto" or named:
        return space_of(spec, facts)
    objective = spec.training.objective if facts.task == "regression" else "auto"
    able = [name for name, trainer in TRAINERS.items() if available(name) and objective in trainer.objectives]
    return space_of(spec, facts, able)


def firsts(spec: JobSpec, facts: Facts, space: Space, history: Sequence[TrialResult]) -> list[dict[str, Any]]:
    """The portfolio as parameters of trials inside `space`, in order; without what would take too much of the budget."""
    searched = {branch.algorithm for branch in space.branches}
    fits = max(1, planned(spec, facts).folds)
    rough = [
        (settled(space, each), fits * seconds_of(each, facts))
        for each in PORTFOLIO[facts.task]
        if each.algorithm in searched
    ]
    timed = spec.tuning.max_seconds is not None and spec.reproducibility.mode != "deterministic"
    pace = _pace(rough, history) if timed else 1.0
    budget = (spec.tuning.max_seconds or spec.resources.max_seconds) / pace
    kept = [each for each in rough if each[1] <= LARGEST_SHARE * budget]
    own = [each for each in rough if space.branch_of(each[0]) is space.branches[0]]
    if not any(each in kept for each in own):
        # A fit that its deadline cuts short is still a model, and of boosters mostly a better one than a quick other.
        kept = [*sorted(own, key=itemgetter(1))[:1], *kept]
    if sum(seconds for _params, seconds in kept) > HASTE * budget:
        kept.sort(key=itemgetter(1))
    found: list[dict[str, Any]] = []
    for params, _seconds in kept:
        if params not in found:
            found.append(params)
    return found


def settled(space: Space, setting: Setting) -> dict[str, Any]:
    """The trial's parameters of `setting`, the nearest that `space` has."""
    branch = next(branch for branch in space.branches if branch.algorithm == setting.algorithm)
    return space.params(branch, branch.nearest(setting.params))


def seconds_of(setting: Setting, facts: Facts) -> float:
    """What one fit of `setting` would take, roughly, on one thread."""
    outputs = facts.classes if facts.task == "multiclass" and not setting.algorithm.endswith(("forest", "trees")) else 1
    of_cells = SECONDS[setting.algorithm] * facts.rows * max(1, facts.features)
    return (SECONDS_PER_TREE + of_cells) * setting.trees * outputs


def _pace(rough: Sequence[tuple[Params, float]], history: Sequence[TrialResult]) -> float:
    """How many times their estimate the portfolio's trials took so far."""
    paces = [
        trial.duration_seconds / seconds
        for params, seconds in rough
        for trial in history
        if trial.duration_seconds and trial.params == params
    ]
    return min(MOST_PACE, max(LEAST_PACE, median(paces))) if paces else 1.0


def survivors(space: Space, judge: Judge, history: Sequence[TrialResult]) -> list[str]:
    """The algorithms worth searching further, the best first.

    An algorithm is, where its best is within REACH of the way from the best trial to the median of the first trials,
    which are the portfolio's: later ones crowd around the best, and would shut out all but one.
    """
    best: dict[str, float] = {}
    early: list[float] = []
    for trial in sorted(history, key=lambda trial: trial.number):
        loss, branch = judge.loss(trial), space.branch_of(trial.params)
        if branch is not None and loss < BEYOND:
            best[branch.algorithm] = min(loss, best.get(branch.algorithm, loss))
            early.append(loss)
    if not best:
        return [branch.algorithm for branch in (space.branches if history else space.branches[:1])]
    least = min(best.values())
    bound = least + REACH * max(0.0, median(early[:FIRST_TRIALS]) - least)
    ranked = sorted(best, key=lambda name: best[name])
    return [name for name in ranked if best[name] <= bound or name == ranked[0]][: len(SHARES)]


def turn_of(names: Sequence[str], share: float) -> str:
    """Whose turn it is at `share`, a number from 0 to 1."""
    weights = SHARES[: len(names)] if len(names) <= len(SHARES) else (1.0,) * len(names)
    left = share * sum(weights)
    for name, weight in zip(names, weights, strict=True):
        left -= weight
        if left < 0:
            return name
    return names[-1]

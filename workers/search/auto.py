"""Strategy `auto`: a portfolio first, then earlier jobs' settings, then TPE over the algorithms that did well."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from statistics import median
from typing import Any

from app.spec.job import JobSpec
from workers.context import TrialResult
from workers.cores import WIDE_CELLS
from workers.search.facts import Facts
from workers.search.outcomes import BEYOND, Judge
from workers.search.plan import planned, strategy_of
from workers.search.portfolio import (
    LARGEST_SHARE,
    LONGEST_SHARE,
    REACH,
    SECONDS,
    SECONDS_PER_TREE,
    SHARES,
    SIDE,
    SIDE_SHARE,
    SPEED_UP,
    WHERE_NOTHING_ENDS,
    Setting,
    portfolio,
)
from workers.search.space import Space, space_of
from workers.trainers import TRAINERS, available

Params = Mapping[str, Any]
LEAST_PACE, MOST_PACE = 0.25, 8.0
FIRST_TRIALS = 12
ENOUGH_TRIALS = 5
"""Before so many have ended no algorithm is taken to be behind."""


def space_of_search(spec: JobSpec, facts: Facts) -> Space:
    """The space of the search that `spec` asks for; under strategy `auto` of several algorithms, where none is named."""
    named = "algorithm" in spec.tuning.space or spec.training.algorithm != "auto" or bool(spec.training.params)
    if strategy_of(spec) != "auto" or named:
        return space_of(spec, facts)
    objective = spec.training.objective if facts.task == "regression" else "auto"
    # see workers.exporting.unexportable
    without = {"catboost"} if "onnx" in spec.registration.exports and facts.categorical else set()
    able = [name for name, trainer in TRAINERS.items()
            if available(name) and objective in trainer.objectives and name not in without]  # fmt: skip
    return space_of(spec, facts, able)


def firsts(spec: JobSpec, facts: Facts, space: Space, history: Sequence[TrialResult]) -> list[dict[str, Any]]:
    """The portfolio as parameters of trials inside `space`, in order.

    Without what would take too much of the budget, and without what is left of algorithms that are far behind.
    """
    rough = _rough(spec, facts, space)
    kept = [setting for setting, seconds in rough if _affordable(spec, setting, seconds, _paces(rough, space, history))]
    own = space.branches[0].algorithm
    if not any(setting.algorithm == own for setting in kept) and any(setting.algorithm == own for setting, _ in rough):
        # A fit that its deadline cuts short is still a model, and of boosters mostly a better one than a quick other.
        cheap = min((pair for pair in rough if pair[0].algorithm == own), key=itemgetter(1))[0]
        hasty = [setting for setting in WHERE_NOTHING_ENDS if setting.algorithm == own]
        kept = [*(hasty or [cheap]), *kept]
    behind = _behind(space, Judge(planned(spec, facts).minimize, spec.tuning.constraints), history)
    found: list[dict[str, Any]] = []
    for setting in kept:
        params = settled(space, setting)
        if params not in found and setting.algorithm not in behind:
            found.append(params)
    return found


def _rough(spec: JobSpec, facts: Facts, space: Space) -> list[tuple[Setting, float]]:
    """(setting, seconds that it would take) of all that the space has the algorithms for."""
    searched = {branch.algorithm for branch in space.branches}
    fits = max(1, planned(spec, facts).folds)
    losses = facts.losses if spec.training.objective == "auto" else ()
    settings = portfolio(facts.rows, losses)
    return [(each, fits * seconds_of(each, facts)) for each in settings if each.algorithm in searched]


def timed(spec: JobSpec) -> bool:
    """Whether what is tried may depend on how long things take."""
    return spec.tuning.max_seconds is not None and spec.reproducibility.mode != "deterministic"


def _affordable(spec: JobSpec, setting: Setting, seconds: float, paces: Mapping[str, float]) -> bool:
    pace = paces.get(setting.algorithm, paces.get("", 1.0)) if timed(spec) else 1.0
    share = SIDE_SHARE if setting.algorithm in SIDE else LARGEST_SHARE
    return seconds * pace <= share * (spec.tuning.max_seconds or spec.resources.max_seconds)


def longest_seconds(spec: JobSpec, facts: Facts) -> float | None:
    """After so many seconds a trial is ended, so that others have their turn; None where no fit would get far by then."""
    if strategy_of(spec) != "auto" or not timed(spec) or spec.tuning.max_seconds is None:
        return None
    space = space_of_search(spec, facts)
    own = [pair for pair in _rough(spec, facts, space) if pair[0].algorithm == space.branches[0].algorithm]
    if not any(_affordable(spec, setting, seconds, {}) for setting, seconds in own):
        return None
    return LONGEST_SHARE * spec.tuning.max_seconds


def settled(space: Space, setting: Setting) -> dict[str, Any]:
    """The trial's parameters of `setting`, but for those that the caller has fixed."""
    branch = next(branch for branch in space.branches if branch.algorithm == setting.algorithm)
    own = {name: value for name, value in setting.params.items() if name not in branch.base}
    return space.params(branch, {**branch.nearest(setting.params), **own})


def seconds_of(setting: Setting, facts: Facts) -> float:
    """What one fit of `setting` would take, roughly."""
    outputs = facts.classes if facts.task == "multiclass" and not setting.algorithm.endswith(("forest", "trees")) else 1
    cells = facts.rows * max(1, facts.features)
    faster = SPEED_UP if cells > WIDE_CELLS else 1.0
    return (SECONDS_PER_TREE + SECONDS[setting.algorithm] * cells) * setting.trees * outputs / faster


def _paces(rough: Sequence[tuple[Setting, float]], space: Space, history: Sequence[TrialResult]) -> dict[str, float]:
    """By algorithm, how many times their estimate the portfolio's trials took so far; of all together under ""."""
    found: dict[str, list[float]] = {}
    for setting, seconds in rough:
        params = settled(space, setting)
        for trial in history:
            took = trial.facts.get("fit_seconds", trial.duration_seconds)
            if took and trial.params == params:
                found.setdefault(setting.algorithm, []).append(took / seconds)
                found.setdefault("", []).append(took / seconds)
    return {name: min(MOST_PACE, max(LEAST_PACE, median(each))) for name, each in found.items()}


def _behind(space: Space, judge: Judge, history: Sequence[TrialResult]) -> set[str]:
    """The algorithms that were tried, and are not worth another setting of the portfolio."""
    if len(history) < ENOUGH_TRIALS:
        return set()
    tried = {branch.algorithm for trial in history if (branch := space.branch_of(trial.params)) is not None}
    return tried - set(survivors(space, judge, history, most=len(tried)))


def survivors(space: Space, judge: Judge, history: Sequence[TrialResult], *, most: int = len(SHARES)) -> list[str]:
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
    return [name for name in ranked if best[name] <= bound or name == ranked[0]][:most]


def costs(space: Space, names: Sequence[str], history: Sequence[TrialResult]) -> list[float]:
    """The seconds that a trial of each algorithm usually takes."""
    took: dict[str, list[float]] = {}
    for trial in history:
        branch = space.branch_of(trial.params)
        if branch is not None and trial.duration_seconds and trial.status == "complete":
            took.setdefault(branch.algorithm, []).append(trial.duration_seconds)
    return [median(took[name]) if name in took else 1.0 for name in names]


def turn_of(names: Sequence[str], share: float, costs: Sequence[float] = ()) -> str:
    """Whose turn it is at `share`, a number from 0 to 1.

    The algorithms, the best first, get parts of the time like SHARES; `costs` are what a trial of each takes.
    """
    weights = SHARES[: len(names)] if len(names) <= len(SHARES) else (1.0,) * len(names)
    weights = tuple(weight / cost for weight, cost in zip(weights, costs or (1.0,) * len(names), strict=True))
    left = share * sum(weights)
    for name, weight in zip(names, weights, strict=True):
        left -= weight
        if left < 0:
            return name
    return names[-1]

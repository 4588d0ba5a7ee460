"""The search: how many trials, in which direction, and what the next one should try."""

import copy
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from app.spec.job import JobSpec
from app.spec.modelling import Dimension, grid_points, grid_values
from workers.context import TrialResult
from workers.measures.metrics import lower_is_better, metric_of
from workers.terms import TaskType
from workers.trainers import TRAINERS, algorithm_of

DEFAULT_TRIALS = 40
STARTUP_TRIALS = 8
LONG_AGO = dt.datetime(2000, 1, 1)  # noqa: DTZ001  # Optuna compares naive times; ours mean nothing

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Plan:
    """What a search will do.

    Attributes:
        strategy: `none`, `grid`, `random` or `bayesian`; never `auto`.
        trials: How many; 0 where the strategy is `none`.
        parallel: How many at a time.
        minimize: Whether a lower value of `metric` is better.
        metric: The metric on the validation part; `auto` as long as the task is unknown.
    """

    strategy: str
    trials: int
    parallel: int
    minimize: bool
    metric: str


def planned(spec: JobSpec, task: TaskType | None = None) -> Plan:
    """The search that `spec` asks for; `task` is the resolved task, where it is known already."""
    tuning = spec.tuning
    strategy = tuning.strategy
    if strategy == "auto":
        strategy = "none" if tuning.max_trials is None and tuning.max_seconds is None else "bayesian"
    trials = DEFAULT_TRIALS if tuning.max_trials is None else tuning.max_trials
    if strategy == "grid":
        points = grid_points(tuning.space)
        trials = points if tuning.max_trials is None else min(points, tuning.max_trials)
    if strategy == "none":
        trials = 0
    known: TaskType | None = task if task is not None or spec.task.type == "auto" else spec.task.type
    metric = tuning.metric if known is None else metric_of(tuning.metric, known)
    return Plan(
        strategy=strategy, trials=trials, parallel=min(tuning.max_parallel, max(1, trials)),
        minimize=lower_is_better(metric), metric=metric,
    )  # fmt: skip


def space_of(spec: JobSpec, task: TaskType) -> Mapping[str, Dimension]:
    """The caller's search space, or the algorithm's own without the parameters that `training.params` fixes."""
    if spec.tuning.space:
        return spec.tuning.space
    own = TRAINERS[algorithm_of(spec.training.algorithm)].space(task)
    return {name: dimension for name, dimension in own.items() if name not in spec.training.params}


def suggest(
    spec: JobSpec,
    *,
    number: int,
    history: Sequence[TrialResult],
    running: Sequence[Mapping[str, Any]],
    seed: int,
    task: TaskType,
) -> dict[str, Any]:
    """The parameters of trial `number`: `training.params` with the searched ones laid over them.

    A pure function: the same arguments give the same parameters, in any process.

    Args:
        history: The ended trials, in any order.
        running: Parameters of the trials that run now.

    Raises:
        IndexError: a grid has no point `number`.
    """
    plan, space = planned(spec, task), space_of(spec, task)
    if plan.strategy == "grid":
        return {**spec.training.params, **grid_point(space, number)}
    portfolio = [] if spec.tuning.space or plan.strategy == "random" else _portfolio(spec, task)
    if number < len(portfolio):
        return {**spec.training.params, **portfolio[number]}
    if not space:
        return dict(spec.training.params)
    distributions = {name: distribution_of(dimension) for name, dimension in space.items()}
    sampler = _sampler(plan.strategy, _seed_of(seed, number))
    remembered = _remembered(history, running, distributions) if plan.strategy == "bayesian" else []
    study = _study(sampler, remembered, minimize=plan.minimize)
    found = study.ask(fixed_distributions=distributions).params
    return {**spec.training.params, **{name: _plain(found[name]) for name in space}}


def _portfolio(spec: JobSpec, task: TaskType) -> list[dict[str, Any]]:
    space = space_of(spec, task)
    trainer = TRAINERS[algorithm_of(spec.training.algorithm)]
    settings = [{name: value for name, value in each.items() if name in space} for each in trainer.portfolio]
    return [each for each in settings if each]


def grid_point(space: Mapping[str, Dimension], number: int) -> dict[str, Any]:
    """Point `number` of the grid, the last dimension turning fastest.

    Raises:
        IndexError: the grid has fewer points.
    """
    if not 0 <= number < grid_points(dict(space)):
        raise IndexError(f"the grid has no point {number}")
    point: dict[str, Any] = {}
    for name, dimension in reversed(list(space.items())):
        values = grid_values(dimension)
        number, at = divmod(number, len(values))
        point[name] = values[at]
    return {name: point[name] for name in space}


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """`dimension` in Optuna's terms."""
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if dimension.type == "int":
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(dimension.step or 1))
    step = dimension.step
    # Optuna warns when the step does not divide the range; the last whole step is what it would use.
    top = high if step is None else low + math.floor((high - low) / step + 1e-9) * step
    return FloatDistribution(low, max(low, top), log=dimension.log, step=step)


def _seed_of(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _sampler(strategy: str, seed: int) -> BaseSampler:
    if strategy == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True)


class _Row(FrozenTrial):
    """A trial as a row tells it; Optuna's storage copies deeply, which for 500 rows takes longer than the asking."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> "_Row":
        return copy.copy(self)


def _row(
    state: TrialState, params: dict[str, Any], distributions: dict[str, BaseDistribution], value: float | None = None
) -> _Row:  # fmt: skip
    return _Row(
        number=0, trial_id=0, state=state, value=value, params=params, distributions=distributions,
        intermediate_values={}, user_attrs={}, system_attrs={}, datetime_start=LONG_AGO,
        datetime_complete=LONG_AGO if state.is_finished() else None,
    )  # fmt: skip


def _study(sampler: BaseSampler, trials: Sequence[FrozenTrial], *, minimize: bool) -> optuna.Study:
    study = optuna.create_study(sampler=sampler, direction="minimize" if minimize else "maximize")
    study.add_trials(trials)
    return study


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _remembered(
    history: Sequence[TrialResult], running: Sequence[Mapping[str, Any]], distributions: dict[str, BaseDistribution]
) -> list[_Row]:
    """Rows as Optuna's trials; those whose parameters lie outside the space are left out."""
    kept = []
    for trial in sorted(history, key=lambda each: each.number):
        if trial.status not in {"complete", "pruned"} or trial.value is None or not math.isfinite(trial.value):
            continue
        params = _inside(trial.params, distributions)
        if params is not None:
            kept.append(_row(TrialState.COMPLETE, params, distributions, trial.value))
    for given in sorted(running, key=lambda each: sorted((name, repr(value)) for name, value in each.items())):
        params = _inside(given, distributions)
        if params is not None:
            kept.append(_row(TrialState.RUNNING, params, distributions))
    return kept


def _inside(given: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> dict[str, Any] | None:
    params: dict[str, Any] = {}
    for name, distribution in distributions.items():
        if name not in given:
            return None
        try:
            held = distribution._contains(distribution.to_internal_repr(given[name]))  # noqa: SLF001  # has no public form
        except ValueError:
            return None
        if not held:
            return None
        params[name] = given[name]
    return params

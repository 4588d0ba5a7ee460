"""What the next trial should try, from the rows of those that ended and those that run."""

import copy
import datetime as dt
import math
from collections.abc import Mapping, Sequence
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
from workers.search.facts import Facts
from workers.search.plan import planned
from workers.trainers import TRAINERS, algorithm_of

STARTUP_TRIALS = 8
PORTFOLIO: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "lightgbm": (
        {"learning_rate": 0.05, "num_leaves": 31, "min_child_samples": 20, "colsample_bytree": 0.5,
         "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": False},
        {"learning_rate": 0.08, "num_leaves": 127, "min_child_samples": 40, "colsample_bytree": 0.5,
         "reg_alpha": 1e-3, "reg_lambda": 5.0, "extra_trees": False},
        {"learning_rate": 0.06, "num_leaves": 12, "min_child_samples": 10, "colsample_bytree": 0.4,
         "reg_alpha": 0.1, "reg_lambda": 3.0, "extra_trees": False},
        {"learning_rate": 0.05, "num_leaves": 63, "min_child_samples": 100, "colsample_bytree": 0.4,
         "reg_alpha": 1.0, "reg_lambda": 10.0, "extra_trees": False},
        {"learning_rate": 0.1, "num_leaves": 63, "min_child_samples": 20, "colsample_bytree": 0.8,
         "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": True},
    ),
    "linear": ({"C": 0.1, "alpha": 0.1}, {"C": 10.0, "alpha": 10.0}),
}  # fmt: skip
"""By algorithm, settings that did well on many tables; a search of the default space tries them first."""
LONG_AGO = dt.datetime(2000, 1, 1)  # noqa: DTZ001  # Optuna compares naive times; ours mean nothing

optuna.logging.set_verbosity(optuna.logging.WARNING)


def space_of(spec: JobSpec, facts: Facts) -> Mapping[str, Dimension]:
    """The caller's search space, or the algorithm's own without the parameters that `training.params` fixes."""
    if spec.tuning.space:
        return spec.tuning.space
    own = TRAINERS[algorithm_of(spec.training.algorithm)].space(facts.task, facts.rows)
    return {name: dimension for name, dimension in own.items() if name not in spec.training.params}


def suggest(
    spec: JobSpec,
    facts: Facts,
    *,
    number: int,
    history: Sequence[TrialResult],
    running: Sequence[Mapping[str, Any]],
    warm: Sequence[Mapping[str, Any]] = (),  # noqa: ARG001
) -> dict[str, Any]:
    """The parameters of trial `number`: `training.params` with the searched ones laid over them.

    A pure function: the same arguments give the same parameters, in any process.

    Args:
        history: The ended trials, in any order.
        running: Parameters of the trials that run now.

    Raises:
        IndexError: a grid has no point `number`.
    """
    plan, space = planned(spec, facts), space_of(spec, facts)
    if plan.strategy == "grid":
        return {**spec.training.params, **grid_point(space, number)}
    portfolio = [] if spec.tuning.space or plan.strategy == "random" else _portfolio(spec, facts)
    if number < len(portfolio):
        return {**spec.training.params, **portfolio[number]}
    if not space:
        return dict(spec.training.params)
    distributions = {name: distribution_of(dimension) for name, dimension in space.items()}
    sampler = _sampler(plan.strategy, _seed_of(spec.reproducibility.seed, number))
    remembered = _remembered(history, running, distributions) if plan.strategy == "bayesian" else []
    study = _study(sampler, remembered, minimize=plan.minimize)
    found = study.ask(fixed_distributions=distributions).params
    return {**spec.training.params, **{name: _plain(found[name]) for name in space}}


def _portfolio(spec: JobSpec, facts: Facts) -> list[dict[str, Any]]:
    space = space_of(spec, facts)
    known = PORTFOLIO.get(algorithm_of(spec.training.algorithm), ())
    settings = [{name: value for name, value in each.items() if name in space} for each in known]
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

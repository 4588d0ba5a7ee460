"""The space of a search: for each algorithm its axes, the conditions between them, and what is fixed."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from app.spec.algorithms import PARAMS
from app.spec.job import JobSpec
from app.spec.modelling import Dimension, dimensions_of, holds, parents_of
from app.spec.spaces import LOSSES
from workers.search.facts import Facts
from workers.trainers import TRAINERS, algorithm_of

SLACK = 1e-6
"""Of a step: so far may a number lie beside one and still count as standing on it."""


@dataclass(frozen=True)
class Axis:
    """One parameter of one algorithm; searched where each parent named by `when` has one of its values."""

    name: str
    distribution: BaseDistribution
    when: Mapping[str, tuple[Any, ...]]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition is met by `values`, which hold the parents."""
        return holds(self.when, values)


@dataclass(frozen=True)
class Branch:
    """One algorithm of the search: its fixed parameters and its axes, parents before those that depend on them."""

    algorithm: str
    base: Mapping[str, Any]
    axes: tuple[Axis, ...]

    def groups(self) -> Iterator[tuple[Axis, ...]]:
        """The axes by condition: those of one group are searched together or not at all."""
        found: dict[tuple[Any, ...], list[Axis]] = {}
        for axis in self.axes:
            found.setdefault(tuple(axis.when.items()), []).append(axis)
        return (tuple(group) for group in found.values())

    def inside(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """The searched part of `params`; None where a searched one is missing, or outside its range."""
        values: dict[str, Any] = {}
        for axis in self.axes:
            if not axis.holds(values):
                continue
            if axis.name not in params or not contains(axis.distribution, params[axis.name]):
                return None
            values[axis.name] = params[axis.name]
        return values

    def nearest(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The point of the branch nearest to `params`, of which those left out have their default."""
        given = {**PARAMS[self.algorithm]().model_dump(), **self.base, **params}
        values: dict[str, Any] = {}
        for axis in self.axes:
            if axis.holds(values):
                values[axis.name] = nearest_to(axis.distribution, given.get(axis.name))
        return values


@dataclass(frozen=True)
class Space:
    """All branches of a search; `named` says whether the parameters of a trial tell their algorithm."""

    branches: tuple[Branch, ...]
    named: bool

    def branch_of(self, params: Mapping[str, Any]) -> Branch | None:
        """The branch that `params` belong to; None where their algorithm is not searched."""
        if not self.named:
            return self.branches[0] if "algorithm" not in params else None
        return next((branch for branch in self.branches if branch.algorithm == params.get("algorithm")), None)

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Whether `params` are a point of the space."""
        branch = self.branch_of(params)
        return branch is not None and branch.inside(params) is not None

    def params(self, branch: Branch, values: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's parameters: the fixed ones with `values` laid over them, and the algorithm where it is searched."""
        chosen = {"algorithm": branch.algorithm} if self.named else {}
        return {**chosen, **branch.base, **values}


def space_of(spec: JobSpec, facts: Facts, algorithms: Sequence[str] | None = None) -> Space:
    """The caller's search space, or the algorithms' own without the parameters that `training.params` fixes.

    Args:
        algorithms: Those to search; left out, those that the spec names.
    """
    names = list(algorithms or spec.searched_algorithms())
    own = algorithm_of(spec.training.algorithm)
    return Space(
        tuple(_branch(spec, facts, name, base=spec.training.params if name == own else {}) for name in names),
        named=len(names) > 1 or "algorithm" in spec.tuning.space,
    )


def _branch(spec: JobSpec, facts: Facts, algorithm: str, *, base: Mapping[str, Any]) -> Branch:
    dimensions = dimensions_of(spec.tuning.space, algorithm)
    if not set(spec.tuning.space) - {"algorithm"}:
        own = {**TRAINERS[algorithm].space(facts.task, facts.rows), **_losses(spec, facts, algorithm)}
        dimensions = dimensions_of({name: each for name, each in own.items() if name not in base}, algorithm)
    axes = (_axis(name, dimension) for name, dimension in dimensions.items())
    return Branch(algorithm, dict(base), tuple(axes))


def _losses(spec: JobSpec, facts: Facts, algorithm: str) -> dict[str, Dimension]:
    """The dimension `loss`, where the numbers to predict are such that others than the squared error may learn more."""
    choices = [loss for loss in LOSSES.get(algorithm, ()) if loss in facts.losses]
    if len(choices) < 2 or spec.training.objective != "auto":
        return {}
    return {"loss": Dimension(type="categorical", choices=[*choices])}


def _axis(name: str, dimension: Dimension) -> Axis:
    when = {parent: tuple(values) for parent, values in parents_of(dimension).items()}
    return Axis(name, distribution_of(dimension), when)


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """`dimension` in Optuna's terms."""
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low, high, step = dimension.low or 0.0, dimension.high or 0.0, dimension.step
    top = high if step is None else _last(low, high, step)
    if dimension.type == "int":
        return IntDistribution(int(low), int(top), log=dimension.log, step=int(step or 1))
    with warnings.catch_warnings():  # its test of divisibility counts digits that a sum of floats does not have
        warnings.simplefilter("ignore")
        return FloatDistribution(low, max(low, top), log=dimension.log, step=step)


def _last(low: float, high: float, step: float) -> float:
    """The last whole step of the range, in decimals: of a sum of floats Optuna would see another digit, and fall short."""
    steps = math.floor((high - low) / step + 1e-9)
    return min(high, float(Decimal(str(low)) + steps * Decimal(str(step))))


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether `value` is one that `distribution` may give."""
    if isinstance(distribution, CategoricalDistribution):
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in distribution.choices)  # fmt: skip
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        return False
    if not distribution.low <= value <= distribution.high:
        return False
    steps = 0.0 if distribution.step is None else (value - distribution.low) / distribution.step
    return abs(steps - round(steps)) < SLACK


def nearest_to(distribution: BaseDistribution, value: Any) -> Any:
    """The value of `distribution` nearest to `value`; where there is no near, the middle, or the first choice."""
    if isinstance(distribution, CategoricalDistribution):
        return value if contains(distribution, value) else distribution.choices[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return at(distribution, 0.5)
    if isinstance(distribution, IntDistribution):
        steps = round((value - distribution.low) / distribution.step)
        return max(distribution.low, min(distribution.high, distribution.low + steps * distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    return (
        max(distribution.low, min(distribution.high, value)) if isinstance(distribution, FloatDistribution) else value
    )


def relaxed(distribution: BaseDistribution) -> BaseDistribution:
    """The range of numbers that `distribution` counts through in steps, half a step wider at each end; else itself.

    Optuna integrates every kernel over every step, which for many steps takes longer than some fits.
    """
    if isinstance(distribution, CategoricalDistribution) or distribution.single():
        return distribution
    if not isinstance(distribution, IntDistribution | FloatDistribution) or distribution.step is None:
        return distribution
    half = distribution.step / 2
    return FloatDistribution(distribution.low - half, distribution.high + half, log=distribution.log)


def at(distribution: BaseDistribution, share: float) -> Any:
    """The value that lies at `share` (from 0 up to 1) of `distribution`, each value having its equal part."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    if isinstance(distribution, IntDistribution):
        return _whole_at(distribution, share)
    if not isinstance(distribution, FloatDistribution):
        raise TypeError(type(distribution).__name__)
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None:
        count = math.floor((high - low) / step + 1e-9) + 1
        return min(high, low + min(int(share * count), count - 1) * step)
    if distribution.log:
        return min(high, max(low, math.exp(math.log(low) + share * (math.log(high) - math.log(low)))))
    return low + share * (high - low)


def _whole_at(distribution: IntDistribution, share: float) -> int:
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        ends = math.log(low - 0.5), math.log(high + 0.5)
        return min(high, max(low, round(math.exp(ends[0] + share * (ends[1] - ends[0])))))
    count = (high - low) // step + 1
    return low + min(int(share * count), count - 1) * step

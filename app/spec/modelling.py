"""The spec's modelling half: the single fit, and the search over its parameters."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from app.spec.algorithms import PARAMS, Algorithm, Objective
from app.spec.base import MAX_PARALLEL, MAX_TRIALS, Column, Count, Finite, JobId, Part, Scalar, misfit

MOST_TOLD = 10**18
"""A count of points above this is told as being above it."""
SLACK = Fraction(1, 10**9)
"""Of a step, so that a range ends where its decimals say."""

ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


class Training(Part):
    """The single fit that the search starts from."""

    algorithm: Literal["auto"] | Algorithm = "auto"
    params: dict[Annotated[str, Field(max_length=64)], Scalar] = Field(default={}, max_length=64)
    early_stopping_rounds: Annotated[int, Field(ge=1, le=10_000)] | None = 50
    max_iterations: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    effort: Literal["auto", "full"] = "auto"
    """`auto` gives a fit of very many rows and classes fewer rounds than `max_iterations`, so that it ends in minutes."""
    class_weight: Literal["balanced"] | None = None
    """`balanced`: the rows of each class weigh as much together as those of any other. Not for numbers."""
    objective: Objective = "auto"
    """What a model of numbers minimises: squared error, or the deviance of counts, a quantile, or Huber's loss. Named, it
    makes the task a regression where `task.type` is `auto`."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The quantile that objective `quantile` predicts."""
    huber_delta: Annotated[float, Field(gt=0, le=1e12)] = 1.0
    """Where Huber's loss turns from squares to absolute errors, in units of the target's standard deviation."""
    calibrate: bool = False
    """Whether probabilities are calibrated on validation rows: by a sigmoid for two classes, by a temperature for more."""
    tune_threshold: Literal["f1", "accuracy", "balanced_accuracy", "mcc"] | None = None
    """Of two classes, from which probability the second is predicted: what makes this metric best on validation rows."""
    monotone: dict[Column, Literal["increasing", "decreasing"]] = Field(default={}, max_length=1_000)
    """Columns of numbers that the prediction may only rise, or only fall, with."""


class Dimension(Part):
    """One parameter to search: a range of numbers or a list of choices."""

    type: Literal["int", "float", "categorical"]
    low: Finite | None = None
    high: Finite | None = None
    step: Finite | None = None
    log: bool = False
    choices: list[Scalar] | None = Field(default=None, min_length=1, max_length=1_000)
    when: dict[ParameterName, list[Scalar]] = Field(default={}, max_length=8)
    """Searched only where each of these other dimensions, all categorical, has one of the values."""

    @model_validator(mode="after")
    def makes_sense(self) -> "Dimension":
        """A range has ordered ends and a legal scale; a choice has choices."""
        if self.type == "categorical":
            if self.choices is None or self.low is not None or self.high is not None:
                raise ValueError("categorical takes choices, and neither low nor high")
            return self
        if self.choices is not None or self.low is None or self.high is None:
            raise ValueError(f"{self.type} takes low and high, and no choices")
        if self.low > self.high:
            raise ValueError("low is above high")
        if self.log and self.low <= 0:
            raise ValueError("log needs low above 0")
        if self.step is not None and (self.step <= 0 or self.log):
            raise ValueError("step must be above 0, and does not go with log")
        if self.type == "int" and any(
            bound is not None and bound != int(bound) for bound in (self.low, self.high, self.step)
        ):
            raise ValueError("int takes whole numbers for low, high and step")
        return self

    def ends(self) -> Iterator[tuple[Any, *tuple[str | int, ...]]]:
        """Each choice, or both ends of the range, followed by where it stands in the dimension."""
        if self.choices is not None:
            yield from ((choice, "choices", place) for place, choice in enumerate(self.choices))
        else:
            yield from ((self.low, "low"), (self.high, "high"))


class Constraints(Part):
    """What the chosen model must keep to; trials beyond a bound are complete, but never chosen."""

    max_model_bytes: Count | None = None
    max_predict_ms: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Milliseconds to predict one row, the median of several tries."""

    @property
    def bounds(self) -> dict[str, float]:
        """By fact of a fit, the most that it may be."""
        given = {"model_bytes": self.max_model_bytes, "predict_ms": self.max_predict_ms}
        return {name: bound for name, bound in given.items() if bound is not None}

    def hold(self, facts: Mapping[str, Any]) -> bool:
        """Whether a model of which `facts` are known keeps to the bounds; what is not known was not asked for."""
        return all((facts.get(name) or 0.0) <= bound for name, bound in self.bounds.items())


class Tuning(Part):
    """The search for better parameters."""

    strategy: Literal["auto", "none", "grid", "random", "bayesian"] = "auto"
    """`auto`: planned from the data's size when a budget (`max_trials` or `max_seconds`) is given, otherwise none."""
    sampler: Literal["auto", "uniform", "sobol", "tpe", "gp"] = "auto"
    """How `random` draws (`uniform` or `sobol`), and what `bayesian` learns with (`tpe` or `gp`)."""
    metric: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = "auto"
    space: dict[ParameterName, Dimension] = Field(default={}, max_length=64)
    max_trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    max_parallel: Annotated[int, Field(ge=1, le=MAX_PARALLEL)] = 4
    max_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    trial_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    patience: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    pruner: Literal["auto", "median", "hyperband", "none"] = "auto"
    warm_start: Literal["auto", "none"] | Annotated[list[JobId], Field(min_length=1, max_length=20)] = "auto"
    """Jobs whose best parameters are tried first; `auto`: the same model's earlier jobs, then jobs with like data."""
    ensemble: Literal["auto"] | Annotated[int, Field(ge=1, le=16)] = "auto"
    """The most models that answer together; `auto`: what pays under strategy `auto`, and 1 otherwise."""
    folds: Literal["auto"] | Annotated[int, Field(ge=0, le=20)] = "auto"
    """Folds of the train and validation rows that every trial is scored over; 0: the validation part alone."""
    constraints: Constraints = Constraints()

    @model_validator(mode="after")
    def fits_together(self) -> "Tuning":
        """A sampler is one of the strategy's, folds are none or several, and conditions name choices of the space."""
        samplers = {"random": {"uniform", "sobol"}, "bayesian": {"tpe", "gp"}}.get(self.strategy, set())
        if self.sampler != "auto" and self.sampler not in samplers:
            raise misfit(f"sampler {self.sampler} does not go with strategy {self.strategy}", "sampler")
        if self.folds == 1:
            raise misfit("folds takes auto, 0, or 2 and more", "folds")
        for name, dimension in self.space.items():
            for parent, values in dimension.when.items():
                choices = self.space[parent].choices if parent in self.space and parent != name else None
                why = None
                if choices is None:
                    why = f"space.{name}.when names {parent}, which is no other categorical dimension"
                elif self.space[parent].when:
                    why = f"space.{name}.when names {parent}, which itself has a condition"
                elif not all(value in choices for value in values):
                    why = f"space.{name}.when.{parent} has values that are no choices of {parent}"
                if why is not None:
                    raise misfit(why, "space", name, "when", parent)
        return self

    @model_validator(mode="after")
    def grid_has_a_space(self) -> "Tuning":
        """A grid is made of finite dimensions that the caller names."""
        if self.strategy != "grid":
            return self
        if not self.space:
            raise misfit("strategy grid needs space", "space")
        for name, dimension in self.space.items():
            if dimension.type == "float" and dimension.step is None:
                raise misfit(f"strategy grid needs a step or choices for {name}", "space", name, "step")
        points = grid_points(self.space)
        if points > MAX_TRIALS:
            conditional = any(dimension.when for dimension in self.space.values())
            told = f"{points:,}" if points < MOST_TOLD else f"over {MOST_TOLD:,}"
            count = f"{told} points{' or more' if conditional else ''}"
            raise misfit(f"the grid has {count}; at most {MAX_TRIALS:,} are allowed", "space")
        return self


def dimensions_of(space: Mapping[str, Dimension], algorithm: str) -> dict[str, Dimension]:
    """The dimensions of `space` that belong to `algorithm`, those with a condition last.

    One belongs where it is a parameter of the algorithm, its condition lets the algorithm through, and its other
    parents belong too.
    """
    fields = PARAMS[algorithm].model_fields if algorithm in PARAMS else {}
    found = {
        name: dimension
        for name, dimension in space.items()
        if name in fields and algorithm in dimension.when.get("algorithm", [algorithm])
    }
    whole = {name: each for name, each in found.items() if all(parent in found for parent in parents_of(each))}
    return dict(sorted(whole.items(), key=lambda item: bool(parents_of(item[1]))))


def parents_of(dimension: Dimension) -> dict[str, list[Any]]:
    """The condition of `dimension`, without what it says of the algorithm."""
    return {name: values for name, values in dimension.when.items() if name != "algorithm"}


def grid_points(space: Mapping[str, Dimension]) -> int:
    """How many points the grid over `space` has; at least so many, where its conditions have over MAX_TRIALS cases."""
    if "algorithm" not in space:
        return _points(space)
    return sum(_points(dimensions_of(space, str(name))) for name in space["algorithm"].choices or [])


def _points(space: Mapping[str, Dimension]) -> int:
    parents = {parent for dimension in space.values() for parent in parents_of(dimension)}
    plain = [name for name, dimension in space.items() if not parents_of(dimension) and name not in parents]
    total = math.prod(grid_count(space[name]) for name in plain)
    cases = math.prod(grid_count(space[name]) for name in parents)
    if cases > MAX_TRIALS:
        return total * cases
    joined = {name: dimension for name, dimension in space.items() if parents_of(dimension)}
    return total * sum(
        math.prod(grid_count(each) for each in joined.values() if holds(parents_of(each), case))
        for case in _walk([(name, space[name]) for name in parents], {})
    )


def grid(space: Mapping[str, Dimension]) -> Iterator[dict[str, Any]]:
    """The points of the grid over `space`: by algorithm, the last dimension turning fastest, conditions last."""
    if "algorithm" not in space:
        ordered = sorted(space.items(), key=lambda item: bool(parents_of(item[1])))
        yield from _walk(ordered, {})
        return
    for name in space["algorithm"].choices or []:
        yield from _walk(list(dimensions_of(space, str(name)).items()), {"algorithm": name})


def _walk(dimensions: Sequence[tuple[str, Dimension]], point: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not dimensions:
        yield point
        return
    (name, dimension), *rest = dimensions
    if not holds(parents_of(dimension), point):
        yield from _walk(rest, point)
        return
    for value in grid_values(dimension):
        yield from _walk(rest, {**point, name: value})


def holds(when: Mapping[str, Sequence[Any]], values: Mapping[str, Any]) -> bool:
    """Whether `values` meet the condition `when`."""
    return all(parent in values and values[parent] in chosen for parent, chosen in when.items())


def grid_count(dimension: Dimension) -> int:
    """How many values one dimension of a grid has; none is made for it."""
    if dimension.choices is not None:
        return len(dimension.choices)
    low, high, step = dimension.low or 0.0, dimension.high or 0.0, dimension.step or 1.0
    if dimension.type == "int":
        return (int(high) - int(low)) // int(step) + 1
    return int((Fraction(high) - Fraction(low)) / Fraction(step) + SLACK) + 1


def grid_values(dimension: Dimension) -> Sequence[Any]:
    """The values of one dimension of a grid, in order."""
    if dimension.choices is not None:
        return dimension.choices
    low, high, step = dimension.low or 0.0, dimension.high or 0.0, dimension.step or 1.0
    if dimension.type == "int":
        return range(int(low), int(high) + 1, int(step))
    return [min(high, low + index * step) for index in range(grid_count(dimension))]


__all__ = [
    "PARAMS",
    "Algorithm",
    "Column",
    "Constraints",
    "Dimension",
    "Training",
    "Tuning",
    "dimensions_of",
    "grid",
    "grid_count",
    "grid_points",
    "grid_values",
    "holds",
    "parents_of",
]

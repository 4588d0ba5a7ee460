"""The spec's modelling half: the algorithm, its parameters, and the search over them."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from app.spec.base import MAX_PARALLEL, MAX_TRIALS, Column, Finite, Part, Scalar

Algorithm = Literal["lightgbm", "linear"]
ParameterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class LightgbmParams(Part):
    """LightGBM's parameters that a caller may set; none reaches a file or the network."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    num_leaves: Annotated[int, Field(ge=2, le=4_096)] = 31
    max_depth: Annotated[int, Field(ge=-1, le=64)] = -1
    min_child_samples: Annotated[int, Field(ge=1, le=100_000)] = 20
    min_child_weight: Annotated[float, Field(ge=0, le=1e6)] = 1e-3
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    subsample_freq: Annotated[int, Field(ge=0, le=100)] = 0
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = 1.0
    reg_alpha: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    reg_lambda: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    min_split_gain: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    max_bin: Annotated[int, Field(ge=2, le=1_023)] = 255
    extra_trees: bool = False
    cat_smooth: Annotated[float, Field(ge=0, le=1e6)] = 10.0
    cat_l2: Annotated[float, Field(ge=0, le=1e6)] = 10.0
    path_smooth: Annotated[float, Field(ge=0, le=1e6)] = 0.0


class LinearParams(Part):
    """Parameters of the linear trainer: logistic regression for classes, ridge or elastic net for numbers."""

    C: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Inverse strength of regularisation, for classes."""
    alpha: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """Strength of regularisation, for numbers."""
    l1_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0


PARAMS: dict[str, type[Part]] = {"lightgbm": LightgbmParams, "linear": LinearParams}


class Training(Part):
    """The single fit that the search starts from."""

    algorithm: Literal["auto"] | Algorithm = "auto"
    params: dict[Annotated[str, Field(max_length=64)], Scalar] = Field(default={}, max_length=64)
    early_stopping_rounds: Annotated[int, Field(ge=1, le=10_000)] | None = 50
    max_iterations: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    effort: Literal["auto", "full"] = "auto"
    """`auto` gives a fit of very many rows and classes fewer rounds than `max_iterations`, so that it ends in minutes."""
    class_weight: Literal["balanced"] | None = None


class Dimension(Part):
    """One parameter to search: a range of numbers or a list of choices."""

    type: Literal["int", "float", "categorical"]
    low: Finite | None = None
    high: Finite | None = None
    step: Finite | None = None
    log: bool = False
    choices: list[Scalar] | None = Field(default=None, min_length=1, max_length=1_000)

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


class Tuning(Part):
    """The search for better parameters."""

    strategy: Literal["auto", "none", "grid", "random", "bayesian"] = "auto"
    """`auto`: Bayesian when a budget (`max_trials` or `max_seconds`) is given, otherwise none."""
    metric: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = "auto"
    space: dict[ParameterName, Dimension] = Field(default={}, max_length=64)
    max_trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    max_parallel: Annotated[int, Field(ge=1, le=MAX_PARALLEL)] = 4
    max_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    trial_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    patience: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    pruner: Literal["auto", "median", "hyperband", "none"] = "auto"

    @model_validator(mode="after")
    def grid_has_a_space(self) -> "Tuning":
        """A grid is made of finite dimensions that the caller names."""
        if self.strategy != "grid":
            return self
        if not self.space:
            raise ValueError("strategy grid needs space")
        for name, dimension in self.space.items():
            if dimension.type == "float" and dimension.step is None:
                raise ValueError(f"strategy grid needs a step or choices for {name}")
        if grid_points(self.space) > MAX_TRIALS:
            raise ValueError(f"the grid has {grid_points(self.space):,} points; at most {MAX_TRIALS:,} are allowed")
        return self


def grid_points(space: dict[str, Dimension]) -> int:
    """How many points the grid over `space` has."""
    total = 1
    for dimension in space.values():
        total *= len(grid_values(dimension))
    return total


def grid_values(dimension: Dimension) -> list[Any] | range:
    """The values of one dimension of a grid, in order; a range stands for itself so that counting is cheap."""
    if dimension.choices is not None:
        return dimension.choices
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if dimension.type == "int":
        return range(int(low), int(high) + 1, int(dimension.step or 1))
    step = dimension.step or 1.0
    count = int((high - low) / step + 1e-9) + 1
    if count > MAX_TRIALS:
        return range(count)
    return [low + index * step for index in range(count)]


__all__ = [
    "PARAMS",
    "Algorithm",
    "Column",
    "Dimension",
    "LightgbmParams",
    "LinearParams",
    "Training",
    "Tuning",
    "grid_points",
    "grid_values",
]

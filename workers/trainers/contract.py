"""What every trainer promises: one way to fit, to predict, to save and to load."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog

from app.errors import InvalidSpec, TrainerFailed
from app.spec.modelling import Dimension
from trainhouse_loader.models.fitted import Fitted, Floats, Format, Indices
from trainhouse_loader.terms import TaskType
from workers.matrix.prepared import Prepared

log = structlog.get_logger()

OnIteration = Callable[[int, float], None]
"""Called with (iteration from 1, validation value); whatever it raises ends the fit and reaches the caller."""
SaveTo = Callable[[Path], None]
Offer = Callable[[int, SaveTo], None]
"""Called between iterations with (iterations done, how to write all of the model so far); mostly it does nothing."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Which rows of a matrix a fit learns from, and which it is watched on.

    Attributes:
        name: Tells the folds of one matrix apart: equal names mean equal rows.
        train: Positions of the rows that are learned from, ascending.
        validation: Positions of the rows that decide when to stop, ascending; None: the fit takes all its iterations.
    """

    name: str
    train: Indices
    validation: Indices | None

    @classmethod
    def of_parts(cls, data: Prepared) -> "Fold":
        """The train part, watched on the validation part."""
        return cls(
            name="parts", train=np.flatnonzero(data.where("train")), validation=np.flatnonzero(data.where("validation"))
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a fit gives, beside the rows.

    Attributes:
        params: As `app.spec.algorithms.PARAMS` of the algorithm allows; left out, its defaults.
        seed: Of every random choice.
        max_iterations: Boosting rounds, trees or solver steps, at the most.
        early_stopping_rounds: Iterations without a better validation value after which the fit ends; None: never.
        deterministic: Whether the same fit must give the same bytes.
        objective: `auto`, `poisson`, `quantile` or `huber`.
        quantile: What objective `quantile` predicts.
        huber_delta: Where Huber's loss turns, in standard deviations of the target.
        class_weight: `balanced` or None.
        monotone: By feature name, 1 where the prediction may only rise with it, -1 where it may only fall.
        metric: What the search optimises; the trainer watches the nearest measure it has.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    max_iterations: int = 2_000
    early_stopping_rounds: int | None = 50
    deterministic: bool = False
    objective: str = "auto"
    quantile: float = 0.5
    huber_delta: float = 1.0
    class_weight: str | None = None
    monotone: Mapping[str, int] = field(default_factory=dict)
    metric: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Company:
    """What goes along with a fit without changing what it aims at.

    Attributes:
        threads: The most threads to start; BLAS and OpenMP are bounded by the caller (`workers.threads`).
        deadline: Reading of `time.monotonic()` at which the fit ends with the model it has by then.
        on_iteration: See OnIteration.
        offer: See Offer; a long fit is saved through it.
        resume: A model of the same recipe and rows that `offer` had saved; the fit goes on from there.
    """

    threads: int = 1
    deadline: float = math.inf
    on_iteration: OnIteration = lambda _iteration, _value: None
    offer: Offer = lambda _iteration, _save: None
    resume: Path | None = None


class Trainer(Format, Protocol):
    """One algorithm. It takes the matrix as it is: codes of categories, NaN for what is missing, numbers of any scale.

    Attributes:
        objectives: Those of `Recipe.objective` that it knows for regression.
    """

    objectives: frozenset[str]

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:
        """The default search space of `task` on `rows` training rows, by parameter name."""
        ...

    def rises(self, data: Prepared, fold: Fold, recipe: Recipe) -> bool:
        """Whether the validation value that such a fit is watched by is better the higher it is."""
        ...

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> Fitted:
        """Fits on the train rows of `fold`; its validation rows, where it has any, decide when to stop.

        Raises:
            InvalidSpec: the parameters do not go together, or do not go with the data.
            InvalidData: the target is none that the objective can learn.
            TrainerFailed: the library broke.
            MachineError: it is not installed.
        """
        ...


def fold_weights(data: Prepared, rows: Indices) -> Floats | None:
    """(rows,) The rows' own weights, or None."""
    return None if data.weight is None else data.weight[rows]


def train_weights(data: Prepared, fold: Fold, class_weight: str | None) -> Floats | None:
    """(train rows,) weights: the rows' own, times n / (classes × rows of the class) where balanced; None if all 1."""
    own = fold_weights(data, fold.train)
    if class_weight != "balanced" or not data.classes:
        return own
    labels = data.y[fold.train].astype(np.int64)
    counts = np.bincount(labels, minlength=len(data.classes))
    balance = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    weights: Floats = balance[labels] if own is None else balance[labels] * own
    return weights


def directions(data: Prepared, recipe: Recipe) -> list[int]:
    """(features,) 1, -1 or 0: how the prediction may move with each feature.

    Raises:
        InvalidSpec: a name is no feature of numbers, or the task has several classes.
    """
    found = [0] * len(data.feature_names)
    for name, way in recipe.monotone.items():
        if name not in data.feature_names or data.feature_names.index(name) in data.categorical:
            raise InvalidSpec(
                f"training.monotone names {name!r}, which is no feature of numbers.", code="not_monotone",
                hint="Name columns of numbers that are not excluded, embedded or encoded otherwise.",
            )  # fmt: skip
        found[data.feature_names.index(name)] = way
    if recipe.monotone and data.task == "multiclass":
        raise InvalidSpec("training.monotone is for binary and regression tasks.", code="not_monotone")
    return found


def broken(library: str, error: Exception) -> TrainerFailed:
    """What is raised in place of a library's own `error`, which may name values of the data and stays in the log."""
    log.error("trainer_broke", library=library, exc_info=error)
    return TrainerFailed(f"{library} broke with {type(error).__name__}; the worker's log has the trace.")

"""What every trainer promises: one way to fit, to predict, to save and to load."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from app.spec.modelling import Dimension
from workers.matrix.prepared import Prepared
from workers.terms import TaskType

Floats = npt.NDArray[np.float64]
OnIteration = Callable[[int, float], None]
"""Called with (iteration from 1, validation value); whatever it raises ends the fit and reaches the caller."""


@dataclass(frozen=True, kw_only=True)
class Fitted(ABC):
    """A trained model, able to predict and to be written as text.

    Attributes:
        iterations: Boosting rounds or solver steps that the model holds.
        timed_out: Whether the fit was cut short by its deadline.
    """

    iterations: int
    timed_out: bool = False

    @abstractmethod
    def predict(self, x: Floats) -> Floats:
        """(rows,) numbers for regression, otherwise (rows, classes) probabilities, for `x` (rows, features)."""

    @abstractmethod
    def importances(self, x: Floats) -> Floats:
        """(features,) shares that add up to 1, or zeros where no feature matters; `x` (rows, features) is a sample."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes the model to `path` as text, the same bytes for the same model."""


class Trainer(Protocol):
    """One algorithm.

    Attributes:
        filename: The name of a saved model inside a bundle.
        tolerance: By how much predictions of a reloaded model may differ from those of the fitted one.
        portfolio: Settings that did well on many tables; a search of the default space tries them first.
    """

    filename: str
    tolerance: float
    portfolio: tuple[Mapping[str, Any], ...]

    def space(self, task: TaskType) -> Mapping[str, Dimension]:
        """The default search space of `task`, by parameter name."""
        ...

    def fit(  # noqa: PLR0913  # the one place where everything a fit depends on is named
        self,
        data: Prepared,
        params: Mapping[str, Any],
        *,
        seed: int,
        threads: int,
        max_iterations: int,
        early_stopping_rounds: int | None,
        deterministic: bool,
        class_weight: str | None,
        on_iteration: OnIteration,
        deadline: float,
        metric: str = "auto",
    ) -> Fitted:
        """Fits on the train part of `data`; the validation part decides when to stop.

        Args:
            params: As `app.spec.modelling.PARAMS` of this algorithm allows; left out, its defaults.
            threads: The most threads to start; BLAS is bounded by the caller (`workers.threads`).
            deadline: Reading of `time.monotonic()` at which the fit ends with the model it has by then.
            metric: What the search optimises; the trainer watches the nearest measure it has.

        Raises:
            InvalidSpec: the parameters do not go together.
            MachineError: the library failed.
        """
        ...

    def load(self, path: Path, *, threads: int = 1) -> Fitted:
        """The model that `save` wrote to `path`; it predicts with `threads` threads.

        Raises:
            DigestMismatch: the file is no model.
        """
        ...


def train_weights(data: Prepared, class_weight: str | None) -> Floats | None:
    """(train rows,) weights: the rows' own, times n / (classes × rows of the class) where balanced; None if all 1."""
    chosen = data.where("train")
    own = None if data.weight is None else data.weight[chosen]
    if class_weight != "balanced" or not data.classes:
        return own
    labels = data.y[chosen].astype(np.int64)
    counts = np.bincount(labels, minlength=len(data.classes))
    balance = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    weights: Floats = balance[labels] if own is None else balance[labels] * own
    return weights

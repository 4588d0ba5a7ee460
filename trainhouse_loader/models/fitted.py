"""What every model promises: to predict, to say what matters to it, and to be written and read."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Fitted(ABC):
    """A trained model, able to predict and to be written.

    Attributes:
        iterations: Boosting rounds, trees or solver steps that the model holds.
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

    def contributions(self, x: Floats) -> Floats | None:  # noqa: ARG002  # most models have none
        """What each feature adds to the raw score of each row of `x` (rows, features), exactly, or None where none are known.

        (rows, features + 1) for numbers and two classes, otherwise (rows, classes, features + 1); the last is where all
        begin, and they add up to the raw score: the number or its logarithm, the log odds, the logits. For trees these are
        Shapley values (Lundberg et al., 2020, https://doi.org/10.1038/s42256-019-0138-9).
        """
        return None

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes the model to `path`, the same bytes for the same model."""


class Format(Protocol):
    """How models of one algorithm are kept in files.

    Attributes:
        filename: The name of a saved model inside a bundle.
        tolerance: By how much predictions of a reloaded model may differ from those of the fitted one.
    """

    filename: str
    tolerance: float

    def load(self, path: Path, *, threads: int = 1) -> Fitted:
        """The model that `save` wrote to `path`; it predicts with `threads` threads.

        Raises:
            DigestMismatch: the file is no model.
            MachineError: `extra_missing`, its library is not installed.
        """
        ...

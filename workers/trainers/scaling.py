"""Columns of numbers brought to one scale, for models to which their size matters."""

import math

import numpy as np

from app.errors import InvalidData
from trainhouse_loader.models.fitted import Floats


def standard_target(y: Floats, weight: Floats | None) -> tuple[Floats, float, float]:
    """((rows,) targets of mean 0 and deviation 1, what was taken off, what they were divided by then)."""
    unit = float(np.abs(y).max()) or 1.0
    small = y / unit
    centre = float(np.average(small, weights=weight))
    spread = math.sqrt(float(np.average((small - centre) ** 2, weights=weight)))
    spread = spread if spread > 1e-12 else 1.0
    return (small - centre) / spread, centre * unit, spread * unit


def not_negative(y: Floats, loss: str = "poisson") -> None:
    """Nothing, where every number of `y` is one that `loss` knows: from 0 on, or above 0 for `gamma`.

    Raises:
        InvalidData: `negative_target`.
    """
    if (y < 0).any() or (loss == "gamma" and (y == 0).any()):
        kind = "numbers that are 0 or less" if loss == "gamma" else "negative numbers"
        raise InvalidData(
            f"The target has {kind}, which {loss} cannot learn.", code="negative_target",
            hint="Choose another objective or loss.",
        )  # fmt: skip


def counted_target(y: Floats, weight: Floats | None) -> tuple[Floats, float]:
    """((rows,) targets of mean 1, what they were divided by).

    Raises:
        InvalidData: `negative_target`, where a target is below 0.
    """
    not_negative(y)
    mean = float(np.average(y, weights=weight)) or 1.0
    return y / mean, mean


def class_shares(y: Floats, weight: Floats | None, classes: int) -> Floats:
    """(classes,) Weighted shares of the classes; one without rows counts as half a row."""
    shares = np.bincount(y.astype(np.int64), weight, minlength=classes) + 0.5
    found: Floats = shares / shares.sum()
    return found

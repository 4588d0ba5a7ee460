"""What models of boosting libraries share."""

import importlib
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from trainhouse_loader.errors import MachineError
from trainhouse_loader.models.fitted import Floats

LOGARITHMIC = frozenset({"poisson", "tweedie", "gamma"})
"""Losses whose models predict the logarithm of the mean."""
LARGEST = float(np.finfo(np.float32).max)


def library(name: str) -> Any:
    """The module `name` of an extra.

    Raises:
        MachineError: `extra_missing`, it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MachineError(
            f"The package {name} is not installed, which models of {name} need.", code="extra_missing",
            hint=f"pip install 'trainhouse[{name}]' where models are trained, 'trainhouse-loader[{name}]' where they are opened",
        ) from error  # fmt: skip


def answered(raw: Floats, classes: int, *, logarithmic: bool) -> Floats:
    """What raw scores say: (rows,) numbers, or (rows, classes) probabilities.

    Args:
        raw: (rows,) numbers, their logarithms or log odds, or (rows, classes) logits.
        classes: 0 for regression.
        logarithmic: Whether numbers are logarithms.
    """
    if classes == 0:
        return np.exp(raw) if logarithmic else raw
    if classes == 2:
        positive: Floats = expit(raw)
        return np.column_stack((1.0 - positive, positive))
    found: Floats = softmax(raw, axis=1)
    return found


def narrowed(x: Floats) -> Any:
    """(rows, features) `x` as float32, with what is beyond its range at the range's ends."""
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    return np.clip(narrow, -LARGEST, LARGEST, out=narrow)


def shares(gains: Floats) -> Floats:
    """`gains` as shares that add up to 1, or zeros."""
    total = gains.sum()
    return gains / total if total > 0 else np.zeros_like(gains)

"""Predictions as callers see them: the same columns in the evaluation's file and from a bundle."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainhouse_loader.terms import TaskType

Floats = npt.NDArray[np.float64]


def chosen_classes(p: Floats, threshold: float = 0.5) -> npt.NDArray[np.int64]:
    """(rows,) the most probable class of `p` (rows, classes); of two, the second from a probability of `threshold` on."""
    if p.shape[1] == 2:
        return (p[:, 1] >= threshold).astype(np.int64)
    return p.argmax(axis=1)


def columns_of(
    task: TaskType, classes: Sequence[str], p: Floats, *, threshold: float = 0.5
) -> dict[str, npt.NDArray[Any]]:
    """`prediction`, and for classes `probability:<class>` of each, sorted as text.

    Args:
        p: (rows,) numbers for regression, otherwise (rows, classes) probabilities.
        threshold: Of two classes, the probability from which the second is predicted.
    """
    if task == "regression":
        return {"prediction": p}
    names = np.asarray(classes, dtype=object)
    found: dict[str, npt.NDArray[Any]] = {"prediction": names[chosen_classes(p, threshold)]}
    for index in sorted(range(len(classes)), key=lambda each: classes[each]):
        found[f"probability:{classes[index]}"] = p[:, index]
    return found

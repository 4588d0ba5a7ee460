"""What texts say of the target: linear scores of their n-grams."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trainhouse_loader.encoding import texts

Floats = npt.NDArray[np.float64]
Model = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""(n-grams, scores) coefficients, (scores,) intercepts."""


def scores(counts: Any, state: Mapping[str, Any]) -> Floats:
    """(texts, scores) of (texts, HASH_FEATURES) counts; the intercept where no n-gram is known."""
    x = texts.weighed(texts.known(counts, state["used"]), state["idf"])
    return scored(x, (state["coefficients"], state["intercepts"]))


def scored(x: Any, model: Model) -> Floats:
    """(texts, scores) of weighed counts `x` (texts, n-grams)."""
    found: Floats = x @ model[0].astype(np.float64) + model[1]
    return found

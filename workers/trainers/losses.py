"""What linear models minimise: for each row the loss of its raw prediction, and the slope of that loss."""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import expit

from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.linear import MOST_LOG
from trainhouse_loader.terms import TaskType
from workers.trainers.contract import Recipe

Loss = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""From (rows,) targets and (rows, outputs) raw predictions to (rows,) losses and (rows, outputs) slopes."""


def _logistic(y: Floats, raw: Floats) -> tuple[Floats, Floats]:
    score = raw[:, 0]
    return np.logaddexp(0.0, score) - y * score, (expit(score) - y)[:, None]


def _softmax(y: Floats, raw: Floats) -> tuple[Floats, Floats]:
    own = (y.astype(np.int64), np.arange(len(y)))
    flat = np.ascontiguousarray(raw.T)  # (outputs, rows): what is summed over few classes is fast this way round
    flat -= flat.max(axis=0)
    loss = -flat[own]
    np.exp(flat, out=flat)
    total = flat.sum(axis=0)
    flat /= total
    flat[own] -= 1.0
    return loss + np.log(total), flat.T


def _squared(y: Floats, raw: Floats) -> tuple[Floats, Floats]:
    error = raw[:, 0] - y
    return 0.5 * error**2, error[:, None]


def _huber(y: Floats, raw: Floats, delta: float) -> tuple[Floats, Floats]:
    """Huber (1964), https://doi.org/10.1214/aoms/1177703732."""
    error = raw[:, 0] - y
    slope = np.clip(error, -delta, delta)
    return slope * (error - 0.5 * slope), slope[:, None]


def _pinball(y: Floats, raw: Floats, quantile: float, width: float) -> tuple[Floats, Floats]:
    """The check function, smoothed over `width`: Zheng (2011), https://doi.org/10.1007/s13042-011-0031-2."""
    short = y - raw[:, 0]
    slope = expit(-short / width) - quantile
    return quantile * short + width * np.logaddexp(0.0, -short / width), slope[:, None]


def _poisson(y: Floats, raw: Floats) -> tuple[Floats, Floats]:
    score = raw[:, 0]
    mean = np.exp(np.minimum(score, MOST_LOG))
    return mean * (1.0 + np.maximum(score - MOST_LOG, 0.0)) - y * score, (mean - y)[:, None]


SMOOTHINGS = (0.5, 0.1, 0.02)
"""Widths of the smoothed check function, in deviations of the target, each solved from where the last one ended."""


def losses(task: TaskType, recipe: Recipe) -> list[Loss]:
    """The losses to minimise one after the other; the last one is meant, those before lead to it."""
    if task != "regression":
        return [_logistic if task == "binary" else _softmax]
    if recipe.objective == "quantile":
        return [partial(_pinball, quantile=recipe.quantile, width=width) for width in SMOOTHINGS]
    if recipe.objective == "huber":
        return [partial(_huber, delta=recipe.huber_delta)]
    return [_poisson if recipe.objective == "poisson" else _squared]

"""What is done to the answers of a model after its fit: probabilities are calibrated, and a threshold decides.

Both are learned from validation rows, as the search's models predicted them; the test rows play no part.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logsumexp, xlogy

Floats = npt.NDArray[np.float64]

TINY = 1e-15
MOST_THRESHOLDS = 999
TEMPERATURES = (-3.0, 3.0)
"""Of the logarithm of the temperature, the least and the most."""


@dataclass(frozen=True)
class Finish:
    """How the answers of a model of classes are finished; as it stands, they are left alone.

    Attributes:
        method: `sigmoid` for two classes, `temperature` for more, or `none`.
        slope: What log odds, or logarithms of probabilities, are multiplied by.
        shift: What is added to log odds.
        threshold: The probability of the second of two classes from which it is predicted.
    """

    method: str = "none"
    slope: float = 1.0
    shift: float = 0.0
    threshold: float = 0.5

    def calibrated(self, p: Floats) -> Floats:
        """(rows, classes) calibrated probabilities for `p` (rows, classes); numbers stay as they are."""
        if self.method == "none":
            return p
        if self.method == "sigmoid":
            positive: Floats = expit(self.slope * _log_odds(p[:, 1]) + self.shift)
            return np.column_stack((1.0 - positive, positive))
        return _tempered(p, self.slope)

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> "Finish":
        """What `document` gave; without one, what leaves answers alone."""
        return cls(**document) if document else cls()


def _log_odds(p: Floats) -> Floats:
    inside = np.clip(p, TINY, 1.0 - TINY)
    found: Floats = np.log(inside) - np.log1p(-inside)
    return found


def _tempered(p: Floats, slope: float) -> Floats:
    logs = slope * np.log(np.clip(p, TINY, 1.0))
    found: Floats = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    return found


def calibration(y: Floats, p: Floats, weights: Floats | None = None) -> Finish:
    """What makes the probabilities `p` (rows, classes) fit the classes `y` (rows,) best, keeping their order.

    Two classes: a sigmoid of the log odds, with Platt's targets (Platt, 1999); more: one temperature (Guo et al., 2017,
    https://arxiv.org/abs/1706.04599). Where neither helps, answers are left alone.
    """
    counts = np.ones(len(y)) if weights is None else weights
    if p.shape[1] > 2:
        own = y.astype(np.int64)

        def loss(log_slope: float) -> float:
            chances = np.take_along_axis(_tempered(p, float(np.exp(log_slope))), own[:, None], axis=1)[:, 0]
            return float(-(counts * np.log(np.clip(chances, TINY, 1.0))).sum() / counts.sum())

        found = minimize_scalar(loss, bounds=TEMPERATURES, method="bounded", options={"xatol": 1e-6})
        return Finish("temperature", slope=float(np.exp(found.x))) if found.fun < loss(0.0) else Finish()
    odds, positives = _log_odds(p[:, 1]), float((counts * (y == 1)).sum())
    negatives = float(counts.sum()) - positives
    target = np.where(y == 1, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))

    def both(line: Floats) -> tuple[float, Floats]:
        said = expit(line[0] * odds + line[1])
        off = counts * (said - target) / counts.sum()
        value = -(counts * (xlogy(target, said) + xlogy(1.0 - target, 1.0 - said))).sum() / counts.sum()
        return float(value), np.array([(off * odds).sum(), off.sum()])

    fit = minimize(both, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    slope, shift = (float(each) for each in fit.x)
    helps = slope > 0 and np.isfinite(fit.fun) and fit.fun < both(np.array([1.0, 0.0]))[0]
    return Finish("sigmoid", slope, shift) if helps else Finish()


def thresholds(p: Floats) -> Floats:
    """The thresholds worth trying for probabilities `p` (rows,) of the second class: between neighbours, and 0.5."""
    known = np.unique(np.quantile(p, np.linspace(0, 1, MOST_THRESHOLDS + 1), method="nearest"))
    return np.unique(np.r_[0.5, (known[1:] + known[:-1]) / 2.0])

"""What is done to the answers of a model after its fit: probabilities are calibrated, and a threshold decides."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logsumexp

Floats = npt.NDArray[np.float64]
TINY = 1e-15


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
            positive: Floats = expit(self.slope * log_odds(p[:, 1]) + self.shift)
            return np.column_stack((1.0 - positive, positive))
        return tempered(p, self.slope)

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> "Finish":
        """What `document` gave; without one, what leaves answers alone."""
        return cls(**document) if document else cls()


def log_odds(p: Floats) -> Floats:
    """(rows,) of probabilities `p` (rows,), none of them endless."""
    inside = np.clip(p, TINY, 1.0 - TINY)
    found: Floats = np.log(inside) - np.log1p(-inside)
    return found


def tempered(p: Floats, slope: float) -> Floats:
    """(rows, classes) probabilities `p` to the power of `slope`, adding up to 1 again."""
    logs = slope * np.log(np.clip(p, TINY, 1.0))
    found: Floats = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    return found

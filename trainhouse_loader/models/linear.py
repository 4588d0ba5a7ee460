"""Linear models: sums over a design, and what they say."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from trainhouse_loader.errors import DigestMismatch
from trainhouse_loader.models.design import Design
from trainhouse_loader.models.fitted import Fitted, Floats

MOST_LOG = 30.0
"""The exponential goes on as a straight line from here, so that no step of the solver overflows."""
FORMAT = "trainhouse-linear-2"


@dataclass(frozen=True, kw_only=True)
class LinearFitted(Fitted):
    """`coefficients` is (outputs, columns of the design), `intercepts` (outputs,); one output for two classes or none.

    Attributes:
        classes: 0 for regression.
        counts: Whether the sum is the logarithm of the prediction.
        centre: Added to a number after it was multiplied by `scale`; both are those of the training target.
        scale: See `centre`.
    """

    design: Design
    coefficients: Floats
    intercepts: Floats
    classes: int
    counts: bool = False
    centre: float = 0.0
    scale: float = 1.0

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`."""
        return self.answer(self.design.sums(x, self.coefficients) + self.intercepts)

    def answer(self, raw: Floats) -> Floats:
        """What sums (rows, outputs) with their intercepts say."""
        if self.classes == 2:
            positive: Floats = expit(raw[:, 0])
            return np.column_stack((1.0 - positive, positive))
        if self.classes:
            found: Floats = softmax(raw, axis=1)
            return found
        number = np.exp(np.clip(raw[:, 0], -MOST_LOG, MOST_LOG)) if self.counts else raw[:, 0]
        return self.centre + self.scale * number

    def importances(self, x: Floats) -> Floats:
        """Shares of the deviation that each feature gives the sums over `x`."""
        return self.design.shares(x, self.coefficients)

    def save(self, path: Path) -> None:
        """JSON whose numbers read back as the same floats."""
        document = {
            "format": FORMAT, "classes": self.classes, "iterations": self.iterations, "counts": self.counts,
            "centre": self.centre, "scale": self.scale, "intercepts": self.intercepts.tolist(),
            "coefficients": self.coefficients.tolist(), "design": self.design.state(),
        }  # fmt: skip
        path.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8", newline="\n")


def _restored(document: dict[str, Any]) -> LinearFitted:
    found = LinearFitted(
        iterations=int(document["iterations"]), classes=int(document["classes"]), counts=bool(document["counts"]),
        centre=float(document["centre"]), scale=float(document["scale"]), design=Design.restored(document["design"]),
        coefficients=np.asarray(document["coefficients"], dtype=np.float64),
        intercepts=np.asarray(document["intercepts"], dtype=np.float64),
    )  # fmt: skip
    shape = (len(found.intercepts), found.design.width)
    if document["format"] != FORMAT or found.coefficients.shape != shape:
        raise ValueError("the coefficients are not those of the design")
    return found


class LinearFormat:
    """See `Format`."""

    filename = "model.json"
    tolerance = 0.0

    def load(self, path: Path, *, threads: int = 1) -> LinearFitted:  # noqa: ARG002  # one thread is enough
        """See `Format.load`."""
        try:
            return _restored(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise DigestMismatch("The file is no linear model.") from error

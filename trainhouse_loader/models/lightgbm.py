"""Models of LightGBM."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainhouse_loader.errors import DigestMismatch
from trainhouse_loader.models.fitted import Fitted, Floats
from trainhouse_loader.models.libraries import LOGARITHMIC, answered, library, shares

THREADS_LINE = re.compile(r"^\[num_threads: .*\]\n", re.MULTILINE)
OBJECTIVE_LINE = re.compile(r"^objective=(\w+)", re.MULTILINE)


HEAD, TAIL = "tree\n", "\nend of parameters\n"


TREES_AT_A_TIME = 64
"""Trees that a batch of rows walks through together: so many stay in the processor's cache, which halves the time."""


@dataclass(frozen=True, kw_only=True)
class LightgbmFitted(Fitted):
    """A booster; `classes` is 0 for regression, and where it is `logarithmic` its raw answers are logarithms."""

    booster: Any
    classes: int
    logarithmic: bool = False
    threads: int = 1

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`."""
        raw: Floats = np.zeros(len(x) if self.classes <= 2 else (len(x), self.classes))
        step = max(1, TREES_AT_A_TIME // max(1, self.classes))
        for start in range(0, self.iterations, step):
            raw += self.booster.predict(
                x, start_iteration=start, num_iteration=min(step, self.iterations - start), raw_score=True,
                num_threads=self.threads, validate_features=False,
            )  # fmt: skip
        return answered(raw, self.classes, logarithmic=self.logarithmic)

    def importances(self, x: Floats) -> Floats:  # noqa: ARG002  # trees know without
        """Shares of the total gain; `x` is not needed."""
        return shares(self.booster.feature_importance("gain", iteration=self.iterations).astype(np.float64))

    def contributions(self, x: Floats) -> Floats:
        """See `Fitted.contributions`."""
        found = np.asarray(self.booster.predict(
            x, num_iteration=self.iterations, pred_contrib=True, num_threads=self.threads, validate_features=False
        ))  # fmt: skip
        return found if self.classes <= 2 else found.reshape(len(x), self.classes, x.shape[1] + 1)

    def save(self, path: Path) -> None:
        """LightGBM's model text, without the number of threads."""
        text = self.booster.model_to_string(num_iteration=self.iterations)
        path.write_text(THREADS_LINE.sub("", text), encoding="utf-8", newline="\n")


def parsed(text: str) -> Any:
    """The booster that LightGBM wrote as `text`; over half a text its reader would end the process.

    Raises:
        ValueError, LightGBMError: the text is none, or only the beginning of one.
    """
    if not text.startswith(HEAD) or TAIL not in text:
        raise ValueError("no whole model")
    return library("lightgbm").Booster(model_str=text)


class LightgbmFormat:
    """See `Format`."""

    filename = "model.txt"
    tolerance = 0.0

    def load(self, path: Path, *, threads: int = 1) -> LightgbmFitted:
        """See `Format.load`."""
        try:
            text = path.read_text(encoding="utf-8")
            booster = parsed(text)
        except (library("lightgbm").basic.LightGBMError, ValueError) as error:
            raise DigestMismatch("The file is no LightGBM model.") from error
        objective = OBJECTIVE_LINE.search(text)
        kind = objective.group(1) if objective else ""
        classes = {"binary": 2, "multiclass": booster.num_model_per_iteration()}.get(kind, 0)
        return LightgbmFitted(
            iterations=booster.current_iteration(), booster=booster, classes=classes, logarithmic=kind in LOGARITHMIC,
            threads=threads,
        )  # fmt: skip

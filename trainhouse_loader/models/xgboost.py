"""Models of XGBoost, which is an extra."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainhouse_loader.errors import DigestMismatch
from trainhouse_loader.models.fitted import Fitted, Floats
from trainhouse_loader.models.libraries import library, narrowed, shares

HEAD, TAIL = b"{L", b"}"
"""How a model in universal binary JSON begins and ends; XGBoost's reader may end the process over anything else."""


@dataclass(frozen=True, kw_only=True)
class XgboostFitted(Fitted):
    """A booster; `classes` is 0 for regression."""

    booster: Any
    classes: int

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`."""
        found: Floats = self.booster.inplace_predict(narrowed(x), validate_features=False).astype(np.float64)
        if self.classes == 2:
            return np.column_stack((1.0 - found, found))
        return found / found.sum(axis=1, keepdims=True) if self.classes else found

    def importances(self, x: Floats) -> Floats:
        """Shares of the total gain; `x` (rows, features) gives their number."""
        gains = np.zeros(x.shape[1])
        for name, gain in self.booster.get_score(importance_type="total_gain").items():
            gains[int(name[1:])] = gain
        return shares(gains)

    def contributions(self, x: Floats) -> Floats:
        """See `Fitted.contributions`."""
        library = sys.modules["xgboost"]  # there since the booster is
        rows = library.DMatrix(narrowed(x), feature_types=self.booster.feature_types, enable_categorical=True)
        found: Floats = self.booster.predict(rows, pred_contribs=True, validate_features=False).astype(np.float64)
        return found

    def save(self, path: Path) -> None:
        """XGBoost's universal binary JSON, which knows nothing of threads."""
        path.write_bytes(self.booster.save_raw("ubj"))


def read(booster: Any, path: Path) -> None:
    """Lets `booster` be the model in `path`.

    Raises:
        DigestMismatch: the file is none.
    """
    content = path.read_bytes()
    if not (content.startswith(HEAD) and content.endswith(TAIL)):
        raise DigestMismatch("The file is no XGBoost model.")
    try:
        booster.load_model(bytearray(content))
    except ValueError as error:  # XGBoostError is one
        raise DigestMismatch("The file is no XGBoost model.") from error


class XgboostFormat:
    """See `Format`."""

    filename = "model.ubj"
    tolerance = 0.0

    def load(self, path: Path, *, threads: int = 1) -> XgboostFitted:
        """See `Format.load`."""
        booster = library("xgboost").Booster({"nthread": threads})
        read(booster, path)
        kind = booster.save_config()
        classes = 2 if '"binary:logistic"' in kind else 0
        if '"multi:softprob"' in kind:
            classes = booster.inplace_predict(np.zeros((1, booster.num_features()), np.float32)).shape[1]
        return XgboostFitted(iterations=booster.num_boosted_rounds(), booster=booster, classes=classes)

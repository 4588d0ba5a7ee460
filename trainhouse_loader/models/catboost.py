"""Models of CatBoost, which is an extra."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainhouse_loader.errors import DigestMismatch
from trainhouse_loader.models.fitted import Fitted, Floats
from trainhouse_loader.models.libraries import answered, library, narrowed, shares

ABOUT = "trainhouse"
OF_THE_FORMAT = frozenset({"class_params", ABOUT})
"""What a written model says beside its trees; times, threads and paths are left out."""


@dataclass(frozen=True, kw_only=True)
class CatboostFitted(Fitted):
    """A CatBoost model.

    Attributes:
        classes: 0 for regression.
        logarithmic: Whether its raw answers are logarithms.
        categorical: Columns that hold codes.
    """

    model: Any
    classes: int
    logarithmic: bool
    categorical: tuple[int, ...]
    threads: int = 1

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`."""
        rows = pool(x, self.categorical, threads=self.threads)
        raw: Floats = np.asarray(self.model.predict(rows, thread_count=self.threads), dtype=np.float64)
        return answered(raw, self.classes, logarithmic=self.logarithmic)

    def importances(self, x: Floats) -> Floats:  # noqa: ARG002  # trees know without
        """Shares of how much predictions move when a feature does, in CatBoost's own measure; `x` is not needed."""
        return shares(np.asarray(self.model.get_feature_importance(type="PredictionValuesChange"), dtype=np.float64))

    def contributions(self, x: Floats) -> Floats:
        """See `Fitted.contributions`."""
        rows = pool(x, self.categorical, threads=self.threads)
        found = self.model.get_feature_importance(rows, type="ShapValues", thread_count=self.threads)
        return np.asarray(found, dtype=np.float64)

    def save(self, path: Path) -> None:
        """CatBoost's binary format with no more beside the trees than it takes to predict."""
        about = self.model.get_metadata()
        for name in [name for name in about.keys() if name not in OF_THE_FORMAT]:  # noqa: SIM118  # no mapping
            del about[name]
        about[ABOUT] = json.dumps([self.classes, self.logarithmic, list(self.categorical)])
        self.model.save_model(str(path), format="cbm")


def pool(x: Floats, categorical: tuple[int, ...], *, threads: int, **more: Any) -> Any:
    """`x` (rows, features) as CatBoost takes it: codes as categories, a missing one as a category of its own."""
    rows: Any = narrowed(x)
    if categorical:
        rows = pd.DataFrame(rows, copy=False)
        for column in categorical:
            codes = np.nan_to_num(x[:, column], nan=-1.0).astype(np.int64) + 1
            names = pd.Index([str(code) for code in range(-1, codes.max(initial=0))])
            rows[column] = pd.Categorical.from_codes(codes, categories=names)
    return library("catboost").Pool(rows, cat_features=list(categorical), thread_count=threads, **more)


class CatboostFormat:
    """See `Format`."""

    filename = "model.cbm"
    tolerance = 0.0

    def load(self, path: Path, *, threads: int = 1) -> CatboostFitted:
        """See `Format.load`."""
        catboost = library("catboost")
        try:
            model = catboost.CatBoost().load_model(str(path), format="cbm")
            classes, logarithmic, categorical = json.loads(dict(model.get_metadata().items())[ABOUT])
        except (catboost.CatBoostError, KeyError, ValueError) as error:
            raise DigestMismatch("The file is no CatBoost model.") from error
        return CatboostFitted(
            iterations=model.tree_count_, model=model, classes=classes, logarithmic=logarithmic,
            categorical=tuple(categorical), threads=threads,
        )  # fmt: skip

"""A table's file as the matrix that trainers take, without a service: for benchmarks of fits and searches alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from trainhouse_loader.terms import TaskType
from workers.matrix.prepared import Prepared

SHARES = (0.70, 0.15, 0.15)
FEW_LABELS = 20


def matrix_of(path: Path, target: str, *, seed: int) -> Prepared:
    """The rows of `path` (CSV or Parquet) in parts drawn at random; texts become codes, as `transform` gives them."""
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    table = table[table[target].notna()]
    y, classes = _target(table.pop(target))
    columns: Mapping[str, np.ndarray] = {str(name): _numbers(table[name]) for name in table.columns}
    texts = [place for place, name in enumerate(table.columns) if not pd.api.types.is_numeric_dtype(table[name])]
    part = np.random.default_rng(seed).choice(3, size=len(y), p=SHARES).astype(np.int8)
    return Prepared(
        x=np.column_stack(list(columns.values())), y=y, weight=None, part=part, row=np.arange(len(y)),
        feature_names=tuple(columns), categorical=tuple(texts), task=task_of(classes), classes=classes,
    )  # fmt: skip


def task_of(classes: tuple[str, ...]) -> TaskType:
    """What kind of task a target of these classes makes."""
    if not classes:
        return "regression"
    return "binary" if len(classes) == 2 else "multiclass"


def _target(column: "pd.Series[float]") -> tuple[np.ndarray, tuple[str, ...]]:
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > FEW_LABELS:
        return column.to_numpy(dtype=np.float64), ()
    codes, labels = pd.factorize(column, sort=True)
    return codes.astype(np.float64), tuple(map(str, labels))


def _numbers(column: "pd.Series[float]") -> np.ndarray:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    codes = pd.factorize(column, sort=True)[0].astype(np.float64)
    return np.where(codes < 0, np.nan, codes)

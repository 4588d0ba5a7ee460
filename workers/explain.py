"""What a report says of a model besides its metrics: curves, importances, and what guessing would score."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.spec.modelling import Training
from workers.matrix.prepared import Prepared
from workers.measures.scoring import scores
from workers.terms import TaskType
from workers.trainers.ensemble import Ensemble

Floats = npt.NDArray[np.float64]
CURVE_POINTS = 200
SAMPLE_ROWS = 10_000
MOST_IMPORTANCES = 100


def curves(y: Floats, probability: Floats) -> dict[str, list[list[float]]]:
    """ROC as [false positive rate, true positive rate] and precision-recall as [recall, precision].

    At most `CURVE_POINTS` points each; empty where one class is missing.

    Args:
        y: (rows,) 0 or 1.
        probability: (rows,) of class 1.
    """
    positives, negatives = float((y == 1).sum()), float((y == 0).sum())
    if not positives or not negatives:
        return {"roc": [], "precision_recall": []}
    order = np.argsort(-probability, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(probability[order]) != 0, True])
    hits = np.cumsum(y[order] == 1)[last]
    alarms = last + 1 - hits
    roc = np.column_stack((np.r_[0.0, alarms / negatives], np.r_[0.0, hits / positives]))
    precision_recall = np.column_stack((hits / positives, hits / (last + 1)))
    return {"roc": _thinned(roc), "precision_recall": _thinned(precision_recall)}


def _thinned(points: Floats) -> list[list[float]]:
    chosen = np.unique(np.linspace(0, len(points) - 1, min(CURVE_POINTS, len(points))).round().astype(int))
    return [[float(x), float(y)] for x, y in points[chosen]]


def importances(fitted: Ensemble, data: Prepared) -> list[dict[str, Any]]:
    """Features by falling importance, as `{"feature", "share"}`; at most `MOST_IMPORTANCES`, none without a share."""
    shares = fitted.importances(data.x[np.flatnonzero(data.where("train"))[:SAMPLE_ROWS]])
    order = sorted(range(len(shares)), key=lambda index: (-shares[index], index))
    return [
        {"feature": data.feature_names[index], "share": float(shares[index])}
        for index in order[:MOST_IMPORTANCES]
        if shares[index] > 0
    ]


def guess(task: TaskType, y: Floats, *, classes: int, rows: int, quantile: float | None = None) -> Floats:
    """What the best constant predicts for `rows` rows: the shares of the classes, or the mean of `y` (rows,).

    With a `quantile` it is that of `y`, which is best where quantiles (or absolute errors, by the median) count.
    """
    if task == "regression":
        return np.full(rows, y.mean() if quantile is None else np.quantile(y, quantile))
    shares = np.bincount(y.astype(np.int64), minlength=classes) / len(y)
    return np.tile(shares, (rows, 1))


def baseline(data: Prepared, names: Sequence[str], training: Training) -> dict[str, dict[str, Any]]:
    """Test metrics of the best constant of the train part for the objective of `training`."""
    held = data.y[data.where("test")]
    quantile = {"quantile": training.quantile, "huber": 0.5}.get(training.objective)
    learned = data.y[data.where("train")]
    constant = guess(data.task, learned, classes=len(data.classes), rows=len(held), quantile=quantile)
    return scores(data.task, held, constant, names=names, quantile=training.quantile)

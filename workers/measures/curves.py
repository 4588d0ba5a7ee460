"""What a report draws of a model's predictions on held-out rows; never more than `POINTS` points a curve."""

from typing import Any

import numpy as np
import numpy.typing as npt

from workers.measures.samples import Floats, Rows

POINTS = 200
BINS = 40
CALIBRATION_BINS = 20
Points = list[list[float]]


def of_rows(rows: Rows) -> dict[str, Any]:
    """The curves that the task has, by name; see the functions of this module. Empty where there are no rows."""
    if not len(rows):
        return {}
    if rows.task == "regression":
        return {"residuals": residuals(rows), "distribution": distribution_of_numbers(rows)}
    if rows.task == "multiclass":
        return {"calibration": calibration_of_choice(rows), "distribution": distribution_of_confidence(rows)}
    own, weights = rows.labels == 1, _weights(rows)
    if not weights[own].any() or not weights[~own].any():
        return {"distribution": distribution(rows)}
    return {
        **ranked(rows), "thresholds": thresholds(rows), "calibration": calibration(rows), "distribution": distribution(rows),
    }  # fmt: skip


def _weights(rows: Rows) -> Floats:
    return np.ones(len(rows)) if rows.weights is None else rows.weights


def ranked(rows: Rows) -> dict[str, Points]:
    """`roc` as [false, true positive rate], `precision_recall` as [recall, precision], `gain` as [share of rows, of positives].

    Rows come by falling probability of the second class of two.
    """
    score, own, weights = rows.p[:, 1], rows.labels == 1, _weights(rows)
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    hits = np.cumsum((weights * own)[order])[last]
    every = np.cumsum(weights[order])[last]
    alarms = every - hits
    recall = hits / hits[-1]
    precision = np.divide(hits, every, out=np.ones_like(hits), where=every > 0)
    start = [[0.0, 0.0]]
    return {
        "roc": _thinned(np.vstack([start, np.column_stack((alarms / alarms[-1], recall))])),
        "precision_recall": _thinned(np.column_stack((recall, precision))),
        "gain": _thinned(np.vstack([start, np.column_stack((every / every[-1], recall))])),
    }


def thresholds(rows: Rows) -> list[dict[str, float]]:
    """The confusion matrix where the second class of two is predicted from `threshold` on, by rising threshold."""
    score, own, weights = rows.p[:, 1], rows.labels == 1, _weights(rows)
    levels = np.unique(np.quantile(score, np.linspace(0, 1, POINTS - 1), method="nearest"))
    levels = np.unique(np.r_[levels, 0.5])
    order = np.argsort(score, kind="stable")
    below = np.searchsorted(score[order], levels, side="left")
    missed, spared = (np.r_[0.0, np.cumsum((weights * part)[order])] for part in (own, ~own))
    return [
        {
            "threshold": float(level), "true_positives": float(missed[-1] - missed[place]), "false_negatives": float(missed[place]),
            "false_positives": float(spared[-1] - spared[place]), "true_negatives": float(spared[place]),
        }
        for level, place in zip(levels, below, strict=True)
    ]  # fmt: skip


def calibration(rows: Rows) -> Points:
    """[mean predicted probability, share that is of the second class, weight of the rows], by bins of equally many rows."""
    return _reliability(rows.p[:, 1], rows.labels == 1, _weights(rows))


def calibration_of_choice(rows: Rows) -> Points:
    """As `calibration`, of the class that is predicted: its probability, and how often it is the right one."""
    return _reliability(rows.p.max(axis=1), rows.predicted == rows.labels, _weights(rows))


def _reliability(score: Floats, hit: npt.NDArray[np.bool_], weights: Floats) -> Points:
    edges = np.unique(np.quantile(score, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, score, side="left")
    count = len(edges) + 1
    held = np.bincount(bins, weights, count)
    kept = held > 0
    said = np.bincount(bins, weights * score, count)[kept] / held[kept]
    was = np.bincount(bins, weights * hit, count)[kept] / held[kept]
    return _points(np.column_stack((said, was, held[kept])))


def distribution(rows: Rows) -> dict[str, list[float]]:
    """`edges` of the probability of the second class of two, and the weight of the rows between them, by true class."""
    edges = np.linspace(0, 1, BINS + 1)
    weights = _weights(rows)
    found = {"edges": edges.tolist()}
    for name, own in (("negatives", rows.labels == 0), ("positives", rows.labels == 1)):
        found[name] = np.histogram(rows.p[own, 1], edges, weights=weights[own])[0].tolist()
    return found


def distribution_of_confidence(rows: Rows) -> dict[str, list[float]]:
    """`edges` of the highest probability of a row, and the weight of the rows between them, `right` and `wrong`."""
    edges, score, weights = np.linspace(0, 1, BINS + 1), rows.p.max(axis=1), _weights(rows)
    right = rows.predicted == rows.labels
    return {
        "edges": edges.tolist(), "right": np.histogram(score[right], edges, weights=weights[right])[0].tolist(),
        "wrong": np.histogram(score[~right], edges, weights=weights[~right])[0].tolist(),
    }  # fmt: skip


def distribution_of_numbers(rows: Rows) -> dict[str, list[float]]:
    """`edges`, and the weight of the rows whose target and whose prediction lie between them."""
    both = np.r_[rows.y, rows.p]
    low, high = float(both.min()), float(both.max())
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    weights = _weights(rows)
    return {
        "edges": edges.tolist(), "targets": np.histogram(rows.y, edges, weights=weights)[0].tolist(),
        "predictions": np.histogram(rows.p, edges, weights=weights)[0].tolist(),
    }  # fmt: skip


def residuals(rows: Rows) -> Points:
    """[mean prediction, mean, 10 % and 90 % quantile of target less prediction], by bins of equally many rows, by rising prediction."""
    order = np.argsort(rows.p, kind="stable")
    parts = [part for part in np.array_split(order, min(BINS, len(order))) if len(part)]
    missed = -rows.error
    return [
        [float(rows.p[part].mean()), float(missed[part].mean()), *map(float, np.quantile(missed[part], [0.1, 0.9]))]
        for part in parts
    ]


def _thinned(points: Floats) -> Points:
    chosen = np.unique(np.linspace(0, len(points) - 1, min(POINTS, len(points))).round().astype(int))
    return _points(points[chosen])


def _points(points: Floats) -> Points:
    return [[float(each) for each in point] for point in points]

"""Metrics under scikit-learn's names and with its values, each one function of weighted samples of rows."""

from collections.abc import Callable, Iterable

import numpy as np
from scipy.special import xlogy

from app.spec.decision import CLASSIFICATION_METRICS, LOWER_IS_BETTER, REGRESSION_METRICS
from trainhouse_loader.terms import TaskType
from workers.measures.samples import Floats, Ranked, Rows, Sample

DEFAULT_METRIC: dict[TaskType, str] = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
OF_OBJECTIVE = {"poisson": "mean_poisson_deviance", "quantile": "mean_pinball_loss", "huber": "mae"}
"""What `auto` stands for where the model of numbers minimises something else than squared errors."""
USUAL_METRICS: dict[TaskType, tuple[str, ...]] = {
    "binary": ("accuracy", "average_precision", "balanced_accuracy", "brier", "f1", "log_loss", "mcc", "precision",
               "recall", "roc_auc"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "log_loss", "mcc", "precision", "recall", "roc_auc"),
    "regression": ("mae", "mape", "median_absolute_error", "r2", "rmse"),
}  # fmt: skip
ROUNDING = 1e-12
"""A variance below this share of the mean square is none, but what sums of floats leave of it."""


class Undefined(Exception):
    """A metric has no value on these rows; the text says why."""


def _ranks(of_one: Callable[[Ranked], Floats]) -> Callable[[Sample], Floats]:
    """The metric of the second class of two, or the mean over classes, each against the rest."""

    def measure(sample: Sample) -> Floats:
        count = sample.rows.p.shape[1]
        if sample.rows.missing_class:
            raise Undefined("a class has no rows here")
        classes = [1] if count == 2 else range(count)
        found: Floats = np.mean([of_one(sample.ranked(klass)) for klass in classes], axis=0)
        return found

    return measure


def _roc_auc(ranked: Ranked) -> Floats:
    """Area under the curve as the share of pairs in the right order, equal scores counting half (Hanley, McNeil, 1982)."""
    higher = (ranked.above + ranked.reached) / 2.0
    found: Floats = 1.0 - (ranked.own * higher).sum(axis=1) / (ranked.own_sums[:, -1] * ranked.other_sums[:, -1])
    return found


def _average_precision(ranked: Ranked) -> Floats:
    precision = _shares(ranked.hits, ranked.hits + ranked.reached)
    found: Floats = (ranked.own * precision).sum(axis=1) / ranked.own_sums[:, -1]
    return found


def _accuracy(sample: Sample) -> Floats:
    found: Floats = np.trace(sample.cells, axis1=1, axis2=2) / sample.total
    return found


def _shares(above: Floats, below: Floats) -> Floats:
    """`above / below`, 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _balanced_accuracy(sample: Sample) -> Floats:
    binary = sample.rows.task == "binary"
    if binary and sample.rows.missing_class:  # the recall of the other one alone says nothing of balance
        raise Undefined("a class has no rows here")
    support = sample.cells.sum(axis=2)
    recall = _shares(np.diagonal(sample.cells, axis1=1, axis2=2).astype(np.float64), support)
    found: Floats = recall.sum(axis=1) / (support > 0).sum(axis=1)
    return np.where((support > 0).all(axis=1), found, np.nan) if binary else found


def _of_classes(
    of_cells: Callable[[Floats, Floats, Floats], Floats], *, of_support: bool = False
) -> Callable[[Sample], Floats]:
    """The metric of the second class of two, or its mean over the classes that occur or are predicted.

    Args:
        of_support: Without rows of the second class of two it has no value: nothing could be found, or missed.
    """

    def measure(sample: Sample) -> Floats:
        hit = np.diagonal(sample.cells, axis1=1, axis2=2).astype(np.float64)
        support, named = sample.cells.sum(axis=2), sample.cells.sum(axis=1)
        each = of_cells(hit, support, named)
        if each.shape[1] == 2 and sample.rows.task == "binary":
            if of_support and not (sample.rows.labels == 1).any():
                raise Undefined("the class that is looked for has no rows here")
            return np.where(support[:, 1] > 0, each[:, 1], np.nan) if of_support else each[:, 1]
        occurs = (support + named) > 0
        found: Floats = np.where(occurs, each, 0).sum(axis=1) / occurs.sum(axis=1)
        return found

    return measure


def _mcc(sample: Sample) -> Floats:
    """Gorodkin (2004), https://doi.org/10.1016/j.compbiolchem.2004.09.006."""
    cells = sample.cells
    total, hit = cells.sum(axis=(1, 2)), np.trace(cells, axis1=1, axis2=2)
    true, named = cells.sum(axis=2), cells.sum(axis=1)
    above = hit * total - (true * named).sum(axis=1)
    below = np.sqrt((total**2 - (named**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1)))
    return _shares(above.astype(np.float64), below.astype(np.float64))


def _log_losses(rows: Rows) -> Floats:
    p = rows.p / rows.p.sum(axis=1, keepdims=True)
    own = np.take_along_axis(p, rows.labels[:, None], axis=1)[:, 0]
    tiny = float(np.finfo(np.float64).eps)
    found: Floats = -np.log(np.clip(own, tiny, 1 - tiny))
    return found


def _brier_losses(rows: Rows) -> Floats:
    p, labels = rows.p, rows.labels
    if p.shape[1] == 2:
        found: Floats = (p[:, 1] - labels) ** 2
        return found
    hot = np.zeros_like(p)
    hot[np.arange(len(labels)), labels] = 1.0
    apart: Floats = ((p - hot) ** 2).sum(axis=1)
    return apart


def _squares(rows: Rows) -> Floats:
    return rows.error**2


def _sizes(rows: Rows) -> Floats:
    return np.abs(rows.error)


def _shares_of_target(rows: Rows) -> Floats:
    return np.abs(rows.error) / np.maximum(np.abs(rows.y), np.finfo(np.float64).eps)


def _centred(rows: Rows) -> Floats:
    return rows.y - rows.y.mean()


def _centred_squares(rows: Rows) -> Floats:
    return rows.once(_centred) ** 2


def _r2(sample: Sample) -> Floats:
    if np.ptp(sample.rows.y) == 0.0:
        raise Undefined("the target is constant here")
    squares = sample.mean(_centred_squares)
    spread = squares - sample.mean(_centred) ** 2
    known = np.where(spread > ROUNDING * squares, spread, np.nan)  # rows drawn again may have one target only
    return 1.0 - sample.mean(_squares) / known


def _poisson_deviances(rows: Rows) -> Floats:
    y, p = rows.y, rows.p
    if (y < 0).any():
        raise Undefined("a target is below 0")
    if (p <= 0).any():
        raise Undefined("a prediction is not above 0")
    found: Floats = 2.0 * (xlogy(y, y / p) - y + p)
    return found


def _pinball_losses(rows: Rows) -> Floats:
    """Koenker and Bassett (1978), https://doi.org/10.2307/1913643."""
    short = -rows.error
    return np.maximum(rows.quantile * short, (rows.quantile - 1.0) * short)


def _median_absolute_error(sample: Sample) -> Floats:
    """The weighted median; where half the weight lies between two rows, the middle between them."""
    order, sizes = sample.rows.by_error
    reached = np.cumsum(np.take(sample.weights, order, axis=1, mode="clip"), axis=1)
    half = sample.total[:, None] / 2.0
    lower = np.minimum((reached < half).sum(axis=1), len(sizes) - 1)
    upper = np.minimum((reached <= half).sum(axis=1), len(sizes) - 1)
    found: Floats = (sizes[lower] + sizes[upper]) / 2.0
    return found


METRICS: dict[str, Callable[[Sample], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _of_classes(lambda hit, support, named: _shares(2 * hit, support + named), of_support=True),
    "precision": _of_classes(lambda hit, _support, named: _shares(hit, named)),
    "recall": _of_classes(lambda hit, support, _named: _shares(hit, support), of_support=True),
    "mcc": _mcc,
    "log_loss": lambda sample: sample.mean(_log_losses),
    "brier": lambda sample: sample.mean(_brier_losses),
    "roc_auc": _ranks(_roc_auc),
    "average_precision": _ranks(_average_precision),
    "rmse": lambda sample: np.sqrt(sample.mean(_squares)),
    "mae": lambda sample: sample.mean(_sizes),
    "mape": lambda sample: sample.mean(_shares_of_target),
    "r2": _r2,
    "median_absolute_error": _median_absolute_error,
    "mean_poisson_deviance": lambda sample: sample.mean(_poisson_deviances),
    "mean_pinball_loss": lambda sample: sample.mean(_pinball_losses),
}


def metric_of(name: str, task: TaskType, objective: str = "auto") -> str:
    """`name`; for `auto` the metric that a model of `task` with `objective` is judged by."""
    if name != "auto":
        return name
    return OF_OBJECTIVE.get(objective, DEFAULT_METRIC[task]) if task == "regression" else DEFAULT_METRIC[task]


def lower_is_better(name: str) -> bool:
    """Whether a smaller value of the metric is the better one."""
    return name in LOWER_IS_BETTER


def fitting(task: TaskType) -> frozenset[str]:
    """The metrics that a task of this kind can have."""
    return REGRESSION_METRICS if task == "regression" else CLASSIFICATION_METRICS


def names_for(task: TaskType, asked: Iterable[str]) -> list[str]:
    """The usual metrics of `task` and those of `asked` that fit it, sorted."""
    return sorted({*USUAL_METRICS[task], *fitting(task).intersection(asked)})

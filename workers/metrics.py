"""Metrics under scikit-learn's names, each as one function of weighted rows, so that a bootstrap is one more call.

Values agree with scikit-learn's. Intervals are the percentile bootstrap of Efron (1979): rows are drawn again through
Poisson(1) weights (Hanley & MacGibbon 2006), confusion matrices directly from their multinomial distribution.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from app.spec.decision import CLASSIFICATION_METRICS, LOWER_IS_BETTER, METRIC_NAMES, REGRESSION_METRICS
from workers.answers import chosen_classes
from workers.prepared import TaskType

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.floating[Any]]

DEFAULT_METRIC: dict[TaskType, str] = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
USUAL_METRICS: dict[TaskType, tuple[str, ...]] = {
    "binary": ("accuracy", "average_precision", "balanced_accuracy", "brier", "f1", "log_loss", "mcc", "precision",
               "recall", "roc_auc"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "log_loss", "mcc", "precision", "recall", "roc_auc"),
    "regression": ("mae", "mape", "median_absolute_error", "r2", "rmse"),
}  # fmt: skip

RESAMPLES = 500
FEWEST_RESAMPLES = 100
LEVEL = 0.95
CELLS_BUDGET = 60_000_000
"""Weights drawn for one metric, at the most; with more rows there are fewer resamples."""
CHUNK_CELLS = 2_000_000
MOST_CLASSES = 50


class Undefined(Exception):
    """A metric has no value on these rows; the text says why."""


@dataclass(frozen=True)
class Rows:
    """Targets and predictions of some rows.

    Attributes:
        task: What is predicted.
        y: (rows,) class index or number.
        p: (rows, classes) probabilities, or (rows,) numbers.
    """

    task: TaskType
    y: Floats
    p: Floats

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """(rows,) class indices."""
        return self.y.astype(np.int64)

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(rows,) the class that is predicted."""
        return chosen_classes(self.p)

    @cached_property
    def cells(self) -> npt.NDArray[np.int64]:
        """(classes, classes) confusion matrix; rows are true classes."""
        count = self.p.shape[1]
        flat = np.bincount(self.labels * count + self.predicted, minlength=count * count)
        return flat.reshape(count, count)

    @cached_property
    def error(self) -> Floats:
        """(rows,) prediction less target."""
        return self.p - self.y


@dataclass(frozen=True)
class Sample:
    """`rows`, weighted several times over: each line of `weights` (samples, rows) is one sample.

    Attributes:
        cells: (samples, classes, classes) confusion matrices of the samples; empty for regression.
    """

    rows: Rows
    weights: Weights
    cells: Floats

    @cached_property
    def total(self) -> Floats:
        """(samples,) sums of weights."""
        return self.weights.sum(axis=1, dtype=np.float64)

    def mean(self, values: Floats) -> Floats:
        """(samples,) weighted means of `values` (rows,)."""
        return (self.weights @ values.astype(self.weights.dtype)).astype(np.float64) / self.total

    def median(self, values: Floats) -> Floats:
        """(samples,) weighted medians of `values` (rows,); the plain median for a single sample."""
        if len(self.weights) == 1:
            return np.array([np.median(values)])
        order = np.argsort(values)
        reached = np.cumsum(self.weights[:, order], axis=1) >= self.total[:, None] / 2
        found: Floats = values[order][reached.argmax(axis=1)]
        return found

    def ranked(self, klass: int) -> tuple[Floats, Floats]:
        """Two (samples, distinct scores): weights of rows of `klass` and of others, by falling score for `klass`."""
        score = self.rows.p[:, klass]
        order = np.argsort(-score, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])
        weights = self.weights[:, order]
        own = np.where(self.rows.labels[order] == klass, weights, 0)
        other = weights - own
        if len(starts) < len(order):
            own, other = np.add.reduceat(own, starts, axis=1), np.add.reduceat(other, starts, axis=1)
        return own.astype(np.float64), other.astype(np.float64)


def _ranks(of_one: Callable[[Floats, Floats], Floats]) -> Callable[[Sample], Floats]:
    """The metric of the second class of two, or the mean over classes, each against the rest."""

    def measure(sample: Sample) -> Floats:
        count = sample.rows.p.shape[1]
        if len(np.unique(sample.rows.labels)) < count:
            raise Undefined("a class has no rows here")
        classes = [1] if count == 2 else range(count)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.mean([of_one(*sample.ranked(klass)) for klass in classes], axis=0)

    return measure


def _roc_auc(own: Floats, other: Floats) -> Floats:
    below = other.sum(axis=1, keepdims=True) - np.cumsum(other, axis=1) + other / 2
    found: Floats = (own * below).sum(axis=1) / (own.sum(axis=1) * other.sum(axis=1))
    return found


def _average_precision(own: Floats, other: Floats) -> Floats:
    hits = np.cumsum(own, axis=1)
    alarms = hits + np.cumsum(other, axis=1)
    precision = np.divide(hits, alarms, out=np.zeros_like(hits), where=alarms > 0)
    found: Floats = (own * precision).sum(axis=1) / own.sum(axis=1)
    return found


def _accuracy(sample: Sample) -> Floats:
    found: Floats = np.trace(sample.cells, axis1=1, axis2=2) / sample.cells.sum(axis=(1, 2))
    return found


def _shares(above: Floats, below: Floats) -> Floats:
    """`above / below`, 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _balanced_accuracy(sample: Sample) -> Floats:
    support = sample.cells.sum(axis=2)
    recall = _shares(np.diagonal(sample.cells, axis1=1, axis2=2).astype(np.float64), support)
    found: Floats = recall.sum(axis=1) / (support > 0).sum(axis=1)
    return found


def _of_classes(of_cells: Callable[[Floats, Floats, Floats], Floats]) -> Callable[[Sample], Floats]:
    """The metric of the second class of two, or its mean over the classes that occur or are predicted."""

    def measure(sample: Sample) -> Floats:
        hit = np.diagonal(sample.cells, axis1=1, axis2=2).astype(np.float64)
        support, named = sample.cells.sum(axis=2), sample.cells.sum(axis=1)
        each = of_cells(hit, support, named)
        if each.shape[1] == 2 and sample.rows.task == "binary":
            return each[:, 1]
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


def _log_loss(sample: Sample) -> Floats:
    p = sample.rows.p / sample.rows.p.sum(axis=1, keepdims=True)
    own = np.take_along_axis(p, sample.rows.labels[:, None], axis=1)[:, 0]
    tiny = float(np.finfo(np.float64).eps)
    return sample.mean(-np.log(np.clip(own, tiny, 1 - tiny)))


def _brier(sample: Sample) -> Floats:
    p, labels = sample.rows.p, sample.rows.labels
    if p.shape[1] == 2:
        return sample.mean((p[:, 1] - labels) ** 2)
    hot = np.zeros_like(p)
    hot[np.arange(len(labels)), labels] = 1.0
    return sample.mean(((p - hot) ** 2).sum(axis=1))


def _r2(sample: Sample) -> Floats:
    y = sample.rows.y - sample.rows.y.mean()
    spread = sample.mean(y**2) - sample.mean(y) ** 2
    if not np.all(y == 0.0):
        with np.errstate(invalid="ignore", divide="ignore"):
            return 1.0 - sample.mean(sample.rows.error**2) / spread
    raise Undefined("the target is constant here")


def _mape(sample: Sample) -> Floats:
    size = np.maximum(np.abs(sample.rows.y), np.finfo(np.float64).eps)
    return sample.mean(np.abs(sample.rows.error) / size)


METRICS: dict[str, Callable[[Sample], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _of_classes(lambda hit, support, named: _shares(2 * hit, support + named)),
    "precision": _of_classes(lambda hit, _support, named: _shares(hit, named)),
    "recall": _of_classes(lambda hit, support, _named: _shares(hit, support)),
    "mcc": _mcc,
    "log_loss": _log_loss,
    "brier": _brier,
    "roc_auc": _ranks(_roc_auc),
    "average_precision": _ranks(_average_precision),
    "rmse": lambda sample: np.sqrt(sample.mean(sample.rows.error**2)),
    "mae": lambda sample: sample.mean(np.abs(sample.rows.error)),
    "mape": _mape,
    "r2": _r2,
    "median_absolute_error": lambda sample: sample.median(np.abs(sample.rows.error)),
}
COUNTED = frozenset({"accuracy", "balanced_accuracy", "f1", "precision", "recall", "mcc"})
"""Functions of the confusion matrix alone: their resamples need no rows."""


def metric_of(name: str, task: TaskType) -> str:
    """`name`, or the default metric of `task` for `auto`."""
    return DEFAULT_METRIC[task] if name == "auto" else name


def lower_is_better(name: str) -> bool:
    """Whether a smaller value of the metric is the better one."""
    return name in LOWER_IS_BETTER


def names_for(task: TaskType, asked: Iterable[str]) -> list[str]:
    """The usual metrics of `task` and those of `asked` that fit it, sorted."""
    fitting = REGRESSION_METRICS if task == "regression" else CLASSIFICATION_METRICS
    return sorted({*USUAL_METRICS[task], *(name for name in asked if name in fitting)})


def scores(
    task: TaskType, y: Floats, p: Floats, *, names: Sequence[str], intervals: bool = False, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """By name: `{"value": v}`, with `low` and `high` of the 95 % interval where `intervals`.

    What cannot be computed is None, with a `reason`; nothing here is NaN or infinite.

    Args:
        y: (rows,) class index or number.
        p: (rows, classes) probabilities or (rows,) numbers.
    """
    found: dict[str, dict[str, Any]] = {}
    rows = Rows(task, y, p)
    for name in names:
        resolved = metric_of(name, task)
        found[name] = _value(rows, resolved)
        if intervals:
            found[name].update(_interval(rows, resolved, found[name]["value"], seed))
    return found


def _value(rows: Rows, name: str) -> dict[str, Any]:
    if len(rows.y) == 0:
        return {"value": None, "reason": "there are no rows"}
    if not np.isfinite(rows.p).all():
        return {"value": None, "reason": "a prediction is not a finite number"}
    cells = rows.cells[None].astype(np.float64) if rows.task != "regression" else np.empty((1, 0, 0))
    try:
        value = float(METRICS[name](Sample(rows, np.ones((1, len(rows.y))), cells))[0])
    except Undefined as reason:
        return {"value": None, "reason": str(reason)}
    return {"value": value} if np.isfinite(value) else {"value": None, "reason": "the value is not finite"}


def _interval(rows: Rows, name: str, value: float | None, seed: int) -> Mapping[str, Any]:
    if value is None:
        return {"low": None, "high": None}
    classes = rows.p.shape[1] if rows.p.ndim == 2 else 1
    if classes > MOST_CLASSES:
        return {"low": None, "high": None, "reason": f"no interval with more than {MOST_CLASSES} classes"}
    passes = classes if name in {"roc_auc", "average_precision"} and classes > 2 else 1
    affordable = CELLS_BUDGET // max(1, len(rows.y) * passes)
    resamples = RESAMPLES if name in COUNTED else min(RESAMPLES, max(FEWEST_RESAMPLES, affordable))
    drawn = resampled(rows, name, resamples=resamples, seed=seed)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < resamples / 2:
        return {"low": None, "high": None, "reason": "too few rows for an interval"}
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": min(float(low), value), "high": max(float(high), value)}


def resampled(rows: Rows, name: str, *, resamples: int, seed: int) -> Floats:
    """(resamples,) values of the metric on rows drawn again, in chunks of bounded memory; NaN where undefined."""
    random = np.random.Generator(np.random.SFC64([seed, sorted(METRIC_NAMES).index(name)]))
    if name in COUNTED:
        total = int(rows.cells.sum())
        shape = (resamples, *rows.cells.shape)
        cells = random.multinomial(total, rows.cells.ravel() / total, size=resamples).reshape(shape)
        return METRICS[name](Sample(rows, np.empty((resamples, 0)), cells.astype(np.float64)))
    count = len(rows.y)
    step = max(1, CHUNK_CELLS // count)
    parts = []
    for start in range(0, resamples, step):
        weights = poisson_weights(random, min(step, resamples - start), count)
        parts.append(METRICS[name](Sample(rows, weights, np.empty((0, 0, 0)))))
    return np.concatenate(parts)


def poisson_weights(random: np.random.Generator, samples: int, rows: int) -> npt.NDArray[np.float32]:
    """(samples, rows) draws from Poisson(1), looked up from 16 random bits each."""
    bits = np.frombuffer(random.bytes(samples * rows * 2), dtype=np.uint16)
    return _POISSON[bits].reshape(samples, rows)


def _poisson_table() -> npt.NDArray[np.float32]:
    chances = np.exp(-1.0) / np.cumprod(np.r_[1.0, np.arange(1.0, 9.0)])
    edges = np.cumsum(chances)
    found: npt.NDArray[np.float32] = np.searchsorted(edges, (np.arange(65_536) + 0.5) / 65_536).astype(np.float32)
    return found


_POISSON = _poisson_table()

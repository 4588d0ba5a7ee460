"""Rows with their predictions, and weighted samples of them: what every metric is computed from."""

import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from workers.measures.answers import chosen_classes
from workers.terms import TaskType

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Rows:
    """Targets and predictions of some rows.

    Attributes:
        task: What is predicted.
        y: (rows,) class index or number.
        p: (rows, classes) probabilities, or (rows,) numbers.
        quantile: Which one `p` is meant to be, where a metric asks.
        bins: How many distinct scores to tell apart where rows are ranked.
    """

    task: TaskType
    y: Floats
    p: Floats
    quantile: float = 0.5
    bins: int = sys.maxsize
    kept: dict[int, Any] = field(default_factory=dict, repr=False)

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

    @cached_property
    def by_error(self) -> tuple[Any, Floats]:
        """The grouping of rows by absolute error, and the (groups,) medians of those errors."""
        size = np.abs(self.error)
        groups = _grouped(size, self.bins)
        order = np.lexsort((size, groups))
        last = np.flatnonzero(np.r_[np.diff(groups[order]) != 0, True])
        middle = (np.r_[0, last[:-1] + 1] + last) // 2
        return _indicator(groups, int(groups.max()) + 1), size[order][middle]

    def ranking(self, klass: int) -> Any:
        """(2 × groups, rows) indicator: of `klass` and not, each by groups of falling score for `klass`."""
        if klass not in self.kept:
            groups = _grouped(-self.p[:, klass], self.bins)
            count = int(groups.max()) + 1
            self.kept[klass] = _indicator(groups + count * (self.labels != klass), 2 * count)
        return self.kept[klass]


def _grouped(values: Floats, most: int) -> npt.NDArray[np.int64]:
    """(rows,) group of each value, from 0 for the smallest; equal values share one, and there are at most `most`."""
    distinct, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) <= most:
        return places.reshape(-1)
    before = np.cumsum(counts) - counts
    _, groups = np.unique(before * most // len(values), return_inverse=True)
    found: npt.NDArray[np.int64] = groups.reshape(-1)[places.reshape(-1)]
    return found


def _indicator(groups: npt.NDArray[np.int64], count: int) -> Any:
    ones = np.ones(len(groups), dtype=np.float32)
    return csr_array((ones, (groups, np.arange(len(groups)))), shape=(count, len(groups)))


@dataclass(frozen=True)
class Sample:
    """`rows`, weighted several times over: each column of `weights` (rows, samples) is one sample.

    Attributes:
        cells: (samples, classes, classes) confusion matrices of the samples; empty for regression.
    """

    rows: Rows
    weights: Weights
    cells: Floats

    @cached_property
    def total(self) -> Floats:
        """(samples,) sums of weights."""
        return self.weights.sum(axis=0, dtype=np.float64)

    def mean(self, values: Floats) -> Floats:
        """(samples,) weighted means of `values` (rows,)."""
        return (values.astype(self.weights.dtype) @ self.weights).astype(np.float64) / self.total

    def ranked(self, klass: int) -> tuple[Floats, Floats]:
        """Two (samples, groups): weights of the rows of `klass` and of others, by falling score for `klass`."""
        sums = (self.rows.ranking(klass) @ self.weights).T.astype(np.float64)
        half = sums.shape[1] // 2
        return sums[:, :half], sums[:, half:]

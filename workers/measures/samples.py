"""Rows with their predictions, and weighted samples of them: what every metric is computed from."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trainhouse_loader.answers import chosen_classes
from trainhouse_loader.terms import TaskType

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Rows:
    """Targets and predictions of some rows.

    Attributes:
        task: What is predicted.
        y: (rows,) class index or number.
        p: (rows, classes) probabilities, or (rows,) numbers.
        quantile: Which one `p` is meant to be, where a metric asks.
        weights: (rows,) how much each row counts; None where all count alike.
        threshold: Of two classes, the probability from which the second is predicted.
    """

    task: TaskType
    y: Floats
    p: Floats
    quantile: float = 0.5
    weights: Floats | None = None
    threshold: float = 0.5
    kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.y)

    def taken(self, places: npt.NDArray[Any]) -> "Rows":
        """The rows that a mask or positions (n,) name, in that order."""
        weights = None if self.weights is None else self.weights[places]
        return replace(self, y=self.y[places], p=self.p[places], weights=weights, kept={})

    def once(self, of_rows: Callable[["Rows"], Floats]) -> Floats:
        """What `of_rows` gives for these rows, computed at the first call."""
        if of_rows not in self.kept:
            self.kept[of_rows] = of_rows(self)
        found: Floats = self.kept[of_rows]
        return found

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """(rows,) class indices."""
        return self.y.astype(np.int64)

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(rows,) the class that is predicted."""
        return chosen_classes(self.p, self.threshold)

    @cached_property
    def named(self) -> tuple[int, int]:
        """How many rows of the second class are predicted to be of it, and how many others."""
        named, own = self.predicted == 1, self.labels == 1
        return int(np.count_nonzero(named & own)), int(np.count_nonzero(named & ~own))

    @cached_property
    def missing_class(self) -> bool:
        """Whether a class has no rows."""
        return len(np.unique(self.labels)) < self.p.shape[1]

    @cached_property
    def by_cell(self) -> "Grouping":
        """The rows by the cell of the confusion matrix, true class before predicted, that they fall into."""
        return Grouping.of(self.labels * self.p.shape[1] + self.predicted)

    @cached_property
    def error(self) -> Floats:
        """(rows,) prediction less target."""
        return self.p - self.y

    @cached_property
    def by_error(self) -> tuple[Places, Floats]:
        """(rows,) the order by absolute error, and those errors in it."""
        size = np.abs(self.error)
        order = np.argsort(size, kind="stable")
        return order, size[order]

    def ranking(self, klass: int) -> "Ranking":
        """The rows by falling score for `klass`."""
        if klass not in self.kept:
            self.kept[klass] = Ranking.of(self.p[:, klass], self.labels == klass)
        found: Ranking = self.kept[klass]
        return found


@dataclass(frozen=True)
class Grouping:
    """Rows by group: their order, where each group that has any begins in it, and which groups those are."""

    order: Places
    starts: Places
    groups: npt.NDArray[np.int64]

    @classmethod
    def of(cls, group: npt.NDArray[np.int64]) -> "Grouping":
        """The grouping of rows by `group` (rows,)."""
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(group[order]) != 0])[: len(group)]
        return cls(order, starts, group[order][starts])

    def sums(self, weights: Floats, count: int) -> Floats:
        """(samples, count) sums of `weights` (samples, rows) by group."""
        found = np.zeros((len(weights), count))
        if len(self.starts):
            found[:, self.groups] = np.add.reduceat(_picked(weights, self.order), self.starts, axis=1)
        return found


@dataclass(frozen=True)
class Ranking:
    """Rows of a class and the others, each by falling score.

    Attributes:
        own: The positions of the rows of the class.
        other: Those of the others.
        above: (own,) how many others have a higher score than each own row.
        reached: (own,) how many others have at least its score.
        ends: (own,) how many own rows have at least its score.
    """

    own: Places
    other: Places
    above: Places
    reached: Places
    ends: Places

    @cached_property
    def alone(self) -> bool:
        """Whether no two own rows share a score."""
        return bool((self.ends == np.arange(1, len(self.own) + 1)).all())

    @cached_property
    def apart(self) -> bool:
        """Whether no own row shares a score with another."""
        return bool((self.above == self.reached).all())

    @classmethod
    def of(cls, score: Floats, owned: npt.NDArray[np.bool_]) -> "Ranking":
        """The ranking by `score` (rows,) of the rows that are `owned` (rows,) and of the others."""
        own, other = (rows[np.argsort(-score[rows], kind="stable")] for rows in map(np.flatnonzero, (owned, ~owned)))
        falling, theirs = -score[own], -score[other]
        return cls(
            own, other, np.searchsorted(theirs, falling, "left"), np.searchsorted(theirs, falling, "right"),
            np.searchsorted(falling, falling, "right"),
        )  # fmt: skip


@dataclass(frozen=True)
class Ranked:
    """A ranking, weighted several times over.

    Attributes:
        own: (samples, own) weights of the rows of the class.
        hits: (samples, own) weights of the own rows that have at least the row's score, summed.
        above, reached: (samples, own) weights of the others with a higher score than the row, and with at least its own.
        own_sums, other_sums: (samples, own + 1), (samples, others + 1) weights of the first rows of either, from none to all.
    """

    own: Floats
    hits: Floats
    above: Floats
    reached: Floats
    own_sums: Floats
    other_sums: Floats


@dataclass(frozen=True)
class Sample:
    """`rows`, weighted several times over: each row of `weights` (samples, rows) is one sample."""

    rows: Rows
    weights: Floats
    kept: dict[int, Ranked] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def whole(cls, rows: Rows) -> "Sample":
        """One sample: `rows` as they are."""
        return cls(rows, np.ones((1, len(rows))) if rows.weights is None else rows.weights[None].astype(np.float64))

    @cached_property
    def total(self) -> Floats:
        """(samples,) sums of weights."""
        return self.weights.sum(axis=1)

    @cached_property
    def cells(self) -> Floats:
        """(samples, classes, classes) confusion matrices; rows are true classes."""
        count = self.rows.p.shape[1]
        if count == 2:
            return self._two_by_two()
        return self.rows.by_cell.sums(self.weights, count * count).reshape(-1, count, count)

    def _two_by_two(self) -> Floats:
        """What is predicted to be of the second class are the first rows of its ranking, whose sums are there already."""
        ranked, (own, others) = self.ranked(1), self.rows.named
        hits, alarms = ranked.own_sums[:, own], ranked.other_sums[:, others]
        spared, missed = ranked.other_sums[:, -1] - alarms, ranked.own_sums[:, -1] - hits
        return np.stack((spared, alarms, missed, hits), axis=1).reshape(-1, 2, 2)

    def mean(self, of_rows: Callable[[Rows], Floats]) -> Floats:
        """(samples,) weighted means of what `of_rows` gives for each row."""
        found: Floats = self.weights @ self.rows.once(of_rows) / self.total
        return found

    def ranked(self, klass: int) -> Ranked:
        """The rows by falling score for `klass`, with their weights."""
        if klass not in self.kept:
            ranking = self.rows.ranking(klass)
            own = _picked(self.weights, ranking.own)
            own_sums, other_sums = _before(own), _before(_picked(self.weights, ranking.other))
            reached = _picked(other_sums, ranking.reached)
            self.kept[klass] = Ranked(
                own, own_sums[:, 1:] if ranking.alone else _picked(own_sums, ranking.ends),
                reached if ranking.apart else _picked(other_sums, ranking.above), reached, own_sums, other_sums,
            )  # fmt: skip
        return self.kept[klass]


def _picked(weights: Floats, places: Places) -> Floats:
    """(samples, places) the columns of `weights` at `places`, all of which it has: clipping spares the check."""
    return np.take(weights, places, axis=1, mode="clip")


def _before(weights: Floats) -> Floats:
    """(samples, rows + 1) sums of the weights before each row, and at last of all."""
    found = np.empty((weights.shape[0], weights.shape[1] + 1))
    found[:, 0] = 0.0
    np.cumsum(weights, axis=1, out=found[:, 1:])
    return found

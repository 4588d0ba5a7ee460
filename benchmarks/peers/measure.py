"""Values of metrics, their paired bootstrap over seeds, and ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from workers.measures.metrics import METRICS, lower_is_better
from workers.measures.samples import Rows, Sample
from workers.measures.scoring import poisson_weights
from workers.terms import TaskType

Floats = npt.NDArray[np.float64]
RESAMPLES = 1_000
CHUNK_WEIGHTS = 8_000_000
LEVEL = 0.95
NO_CELLS = np.empty((0, 0, 0))


@dataclass(frozen=True)
class Difference:
    """How much better one system is than another, in the metric's units; above 0 is better, whatever the metric.

    Attributes:
        low, high: The ends of the 95 % interval.
    """

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """1 where it is significantly better, -1 where it is significantly worse, otherwise 0."""
        return int(self.low > 0) - int(self.high < 0)


def value_of(metric: str, task: TaskType, y: Floats, p: Floats) -> float:
    """The metric on all rows; y is (rows,) class indices or numbers, p (rows, classes) or (rows,)."""
    return float(METRICS[metric](Sample(Rows(task, y, p), np.ones((len(y), 1)), NO_CELLS))[0])


def resampled(metric: str, rows: Rows, *, seed: int) -> Floats:
    """(RESAMPLES,) values on rows drawn again by Poisson(1) weights; equal seeds and row counts draw equal rows."""
    random, step = np.random.Generator(np.random.SFC64(seed)), max(1, CHUNK_WEIGHTS // len(rows.y))
    parts = []
    for start in range(0, RESAMPLES, step):
        weights = poisson_weights(random, len(rows.y), min(step, RESAMPLES - start))
        parts.append(METRICS[metric](Sample(rows, weights, NO_CELLS)))
    return np.concatenate(parts)


def paired(metric: str, ours: Mapping[int, Rows], theirs: Mapping[int, Rows], *, same_rows: bool) -> Difference:
    """The mean difference over seeds with its percentile interval (Efron, 1979).

    Args:
        ours, theirs: By seed, the same test rows with the predictions of either.
        same_rows: Whether all seeds have the same test rows; these are then drawn alike for all, since what they
            share is not learned anew by each seed.
    """
    sign = -1.0 if lower_is_better(metric) else 1.0
    drawn, plain = [], []
    for seed in sorted(ours):
        of_draw = 0 if same_rows else seed
        a, b = (resampled(metric, side[seed], seed=of_draw) for side in (ours, theirs))
        drawn.append(sign * (a - b))
        a0, b0 = (value_of(metric, side[seed].task, side[seed].y, side[seed].p) for side in (ours, theirs))
        plain.append(sign * (a0 - b0))
    low, high = np.nanquantile(np.mean(drawn, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(np.mean(plain)), float(low), float(high))


def ranks(values: Mapping[str, float | None], metric: str) -> dict[str, float]:
    """By system, 1 for the best; equal values share the mean of their places, and who has none comes last."""
    worst = np.inf
    costs = [worst if value is None else (value if lower_is_better(metric) else -value) for value in values.values()]
    return {name: float(rank) for name, rank in zip(values, rankdata(costs), strict=True)}


def mean_ranks(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By system, the mean of its ranks over tables."""
    return {name: float(np.mean([table[name] for table in tables])) for name in tables[0]} if tables else {}

"""Values of metrics, their paired bootstrap over seeds, and ranks."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from trainhouse_loader.terms import TaskType
from workers.measures.intervals import of_bits
from workers.measures.metrics import METRICS, lower_is_better
from workers.measures.samples import Rows, Sample

Floats = npt.NDArray[np.float64]
RESAMPLES = 1_000
CHUNK_WEIGHTS = 8_000_000
LEVEL = 0.95
HALF_STEP = 2.0**-11
"""The most by which a half-precision number differs from what it stands for, in parts of it (IEEE 754, 11 bits)."""


@dataclass(frozen=True)
class Difference:
    """How much better one system is than another, in the metric's units; above 0 is better, whatever the metric.

    Attributes:
        low, high: The ends of the 95 % interval.
        rounding: How far they may be off, since packed values are rounded.
    """

    value: float
    low: float
    high: float
    rounding: float = 0.0

    @property
    def verdict(self) -> int:
        """1 where it is significantly better, -1 where it is significantly worse, otherwise 0."""
        return int(self.low > self.rounding) - int(self.high < -self.rounding)


@dataclass(frozen=True)
class Measured:
    """A system's metric on a table, of one run or the mean of some.

    Attributes:
        value: On all test rows.
        drawn: (RESAMPLES,) on test rows drawn again; the same draws for every system.
        rounding: The most that an element of `drawn` may be off.
    """

    value: float
    drawn: Floats
    rounding: float = 0.0

    def packed(self) -> str:
        """`drawn` as short text: how many standard deviations each lies from the value, with three digits and more."""
        spread = self._spread
        return f"{spread!r} " + base64.b64encode(((self.drawn - self.value) / spread).astype("<f2").tobytes()).decode()

    @property
    def _spread(self) -> float:
        return float(np.nanstd(self.drawn)) or 1.0

    @classmethod
    def unpacked(cls, value: float, text: str) -> "Measured":
        """What `packed` made text of, but for its rounding."""
        spread, coded = text.split(" ")
        steps = np.frombuffer(base64.b64decode(coded), dtype="<f2").astype(np.float64)
        rounding = float(spread) * float(np.nanmax(np.abs(steps), initial=0.0)) * HALF_STEP
        return cls(value, value + float(spread) * steps, rounding)


def value_of(metric: str, task: TaskType, y: Floats, p: Floats) -> float:
    """The metric on all rows; y is (rows,) class indices or numbers, p (rows, classes) or (rows,)."""
    return float(METRICS[metric](Sample.whole(Rows(task, y, p)))[0])


def resampled(metric: str, rows: Rows, *, seed: int) -> Floats:
    """(RESAMPLES,) values on rows drawn again by Poisson(1) weights; equal seeds and row counts draw equal rows."""
    random, step = np.random.Generator(np.random.SFC64(seed)), max(1, CHUNK_WEIGHTS // len(rows.y))
    parts = []
    for start in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - start)
        bits = np.frombuffer(random.bytes(2 * len(rows) * count), dtype=np.uint16)
        draws = of_bits(bits).reshape(len(rows), count)
        parts.append(METRICS[metric](Sample(rows, np.ascontiguousarray(draws.T, dtype=np.float64))))
    return np.concatenate(parts)


def measured(metric: str, rows: Rows, *, seed: int, same_rows: bool) -> Measured:
    """A system's metric in one run.

    Args:
        rows: The test rows with the system's predictions.
        seed: Of the division.
        same_rows: Whether all seeds have the same test rows; these are then drawn alike for all, since what they
            share is not learned anew by each seed.
    """
    drawn = resampled(metric, rows, seed=0 if same_rows else seed)
    return Measured(value_of(metric, rows.task, rows.y, rows.p), drawn)


def mean_of(runs: Sequence[Measured]) -> Measured:
    """A system's metric over runs with several seeds."""
    drawn = np.mean([run.drawn for run in runs], axis=0)
    return Measured(float(np.mean([run.value for run in runs])), drawn, float(np.mean([run.rounding for run in runs])))


def paired(metric: str, ours: Measured, theirs: Measured) -> Difference:
    """The difference on the same drawn rows, with its percentile interval (Efron, 1979)."""
    sign = -1.0 if lower_is_better(metric) else 1.0
    low, high = np.nanquantile(sign * (ours.drawn - theirs.drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(sign * (ours.value - theirs.value), float(low), float(high), ours.rounding + theirs.rounding)


def ranks(values: Mapping[str, float | None], metric: str) -> dict[str, float]:
    """By system, 1 for the best; equal values share the mean of their places, and who has none comes last."""
    worst = np.inf
    costs = [worst if value is None else (value if lower_is_better(metric) else -value) for value in values.values()]
    return {name: float(rank) for name, rank in zip(values, rankdata(costs), strict=True)}


def mean_ranks(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By system, the mean of its ranks over tables."""
    return {name: float(np.mean([table[name] for table in tables])) for name in tables[0]} if tables else {}

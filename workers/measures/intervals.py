"""Intervals of metrics, and of what one model is better by than another, from rows drawn again.

The percentile bootstrap of Efron (1979), https://doi.org/10.1214/aos/1176344552, with each row drawn Poisson(1) times
(Hanley and MacGibbon, 2006, https://doi.org/10.1093/aje/kwj054): so every metric of every model sees the same draws, and
rows of one group are drawn as they are without the others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.measures.metrics import METRICS, lower_is_better
from workers.measures.samples import Floats, Rows, Sample

FEWEST_RESAMPLES = 100
MOST_DRAWS = 1_500_000_000
"""Rows times resamples times rankings of one set of rows; more rows get fewer resamples, so that time is bounded."""
DRAWS_A_WORD = 4
CHUNK_DRAWS = 200_000
"""Rows times resamples at once: what stays in a core's cache."""


@dataclass(frozen=True)
class Confidence:
    """How sure to be.

    Attributes:
        level: How often the interval is to hold the true value.
        resamples: How often rows are drawn again.
        seed: Of the draws.
    """

    level: float = 0.95
    resamples: int = 1_000
    seed: int = 0

    def ends(self, drawn: Floats) -> tuple[float, float] | None:
        """The percentiles of `drawn` (resamples,) that leave equal parts outside; None where most draws have no value."""
        finite = drawn[np.isfinite(drawn)]
        if len(finite) < max(1.0, len(drawn) / 2):
            return None
        low, high = np.quantile(finite, [(1 - self.level) / 2, (1 + self.level) / 2])
        return float(low), float(high)


def arranged(models: Sequence[Rows]) -> list[Rows]:
    """The same rows of each model in the one order that their values give, so that nothing depends on how they came.

    Args:
        models: Rows with the same targets and weights and, each, a model's predictions.
    """
    first = models[0]
    # The target decides first and the first model's scores next: its rankings then run through memory in order.
    keys = [*([] if first.weights is None else [first.weights]), *(each.p.T for each in reversed(models)), first.y]
    order = np.lexsort(np.vstack([np.atleast_2d(key) for key in keys]))
    return [each.taken(order) for each in models]


def resampled(models: Sequence[Rows], names: Sequence[str], confidence: Confidence) -> list[dict[str, Floats]]:
    """For each of `models`, by metric, (resamples,) values on rows drawn again, the same draws for all; NaN where undefined.

    Args:
        models: As `arranged` gives them.
        names: Metrics that have a value for each of `models`.
    """
    found: list[dict[str, list[Floats]]] = [{name: [] for name in names} for _model in models]
    if not names:
        return [{} for _model in models]
    for draws in drawn_again(models[0], confidence):
        for values, rows in zip(found, models, strict=True):
            sample = Sample(rows, draws)
            with np.errstate(all="ignore"):
                for name in names:
                    values[name].append(METRICS[name](sample))
    return [{name: np.concatenate(parts) for name, parts in values.items()} for values in found]


def drawn_again(rows: Rows, confidence: Confidence) -> Iterator[Floats]:
    """The weights (some samples, rows) of `rows` drawn again, some samples at a time."""
    random = np.random.Generator(np.random.SFC64(confidence.seed))
    left, step = resamples_of(rows, confidence), max(1, CHUNK_DRAWS // len(rows))
    while left > 0:
        count = min(step, left)
        draws = poisson(random, count, len(rows)).astype(np.float64)
        yield draws if rows.weights is None else draws * rows.weights
        left -= count


def resamples_of(rows: Rows, confidence: Confidence) -> int:
    """How often `rows` are drawn again: as asked, less often where that were too much work."""
    rankings = rows.p.shape[1] if rows.p.ndim == 2 and rows.p.shape[1] > 2 else 1
    affordable = MOST_DRAWS // max(1, len(rows) * rankings)
    return min(confidence.resamples, max(FEWEST_RESAMPLES, affordable))


def gained(names: Sequence[str], ours: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    """By metric, (resamples,) how much better the first of two is than the second; above 0 is better, whatever the metric."""
    one, other = ours
    return {name: (other[name] - one[name]) if lower_is_better(name) else (one[name] - other[name]) for name in names}


def poisson(random: np.random.Generator, samples: int, rows: int) -> npt.NDArray[np.uint8]:
    """(samples, rows) draws from Poisson(1)."""
    words = random.bit_generator.random_raw(-(-samples * rows // DRAWS_A_WORD))
    return of_bits(words.view(np.uint16)[: samples * rows]).reshape(samples, rows)


def of_bits(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """(draws,) from Poisson(1), looked up from 16 random bits each."""
    return np.take(_POISSON, bits, mode="clip")


def _poisson_table() -> npt.NDArray[np.uint8]:
    chances = np.exp(-1.0) / np.cumprod(np.r_[1.0, np.arange(1.0, 9.0)])
    return np.searchsorted(np.cumsum(chances), (np.arange(65_536) + 0.5) / 65_536).astype(np.uint8)


_POISSON = _poisson_table()

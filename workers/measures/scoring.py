"""Values of metrics on some rows, and their intervals.

Intervals are the percentile bootstrap of Efron (1979). Rows are drawn again through Poisson(1) weights (Hanley and
MacGibbon, 2006), confusion matrices directly from their multinomial distribution.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.measures.metrics import COUNTED, METRICS, Undefined
from workers.measures.samples import Floats, Rows, Sample
from workers.terms import TaskType

LEVEL = 0.95
RESAMPLES = 500
FEWEST_RESAMPLES = 100
WEIGHTS_BUDGET = 60_000_000
"""Weights drawn for the intervals of one set of rows, at the most; more rows get fewer resamples."""
CHUNK_WEIGHTS = 4_000_000
BINS = 4_096
"""Distinct scores that a resample tells apart; an interval is shifted by what that changes in the value itself."""
MOST_CLASSES = 50


def scores(
    task: TaskType,
    y: Floats,
    p: Floats,
    *,
    names: Sequence[str],
    quantile: float = 0.5,
    intervals: bool = False,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """By name: `{"value": v}`, with `low` and `high` of the 95 % interval where `intervals`.

    What cannot be computed is None, with a `reason`; nothing here is NaN or infinite.

    Args:
        y: (rows,) class index or number.
        p: (rows, classes) probabilities or (rows,) numbers.
        names: Metrics.
        quantile: What `p` is meant to be, for `mean_pinball_loss`.
    """
    rows = Rows(task, y, p, quantile)
    found = {name: _value(rows, name) for name in names}
    if intervals:
        drawn = resampled(rows, [name for name in names if found[name]["value"] is not None], seed=seed)
        for name, entry in found.items():
            entry.update(_interval(entry["value"], drawn.get(name)))
    return found


def _value(rows: Rows, name: str) -> dict[str, Any]:
    if len(rows.y) == 0:
        return {"value": None, "reason": "there are no rows"}
    if not np.isfinite(rows.p).all():
        return {"value": None, "reason": "a prediction is not a finite number"}
    cells = rows.cells[None].astype(np.float64) if rows.task != "regression" else np.empty((1, 0, 0))
    try:
        with np.errstate(all="ignore"):
            value = float(METRICS[name](Sample(rows, np.ones((len(rows.y), 1)), cells))[0])
    except Undefined as reason:
        return {"value": None, "reason": str(reason)}
    return {"value": value} if np.isfinite(value) else {"value": None, "reason": "the value is not finite"}


def _interval(value: float | None, drawn: Floats | None) -> dict[str, float | str | None]:
    if value is None:
        return {"low": None, "high": None}
    if drawn is None:
        return {"low": None, "high": None, "reason": f"no interval with more than {MOST_CLASSES} classes"}
    finite = drawn[np.isfinite(drawn)]
    if len(finite) < len(drawn) / 2:
        return {"low": None, "high": None, "reason": "too few rows for an interval"}
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": min(float(low), value), "high": max(float(high), value)}


def resampled(rows: Rows, names: Sequence[str], *, seed: int) -> dict[str, Floats]:
    """By name, (resamples,) values of the metrics on rows drawn again; NaN where undefined.

    Memory stays within a few times `CHUNK_WEIGHTS` numbers; more rows get fewer resamples, so that time is bounded.
    """
    random = np.random.Generator(np.random.SFC64(seed))
    count, classes = len(rows.y), rows.p.shape[1] if rows.p.ndim == 2 else 1
    if classes > MOST_CLASSES:
        return {}
    found: dict[str, Floats] = {}
    if COUNTED.intersection(names):
        drawn = random.multinomial(count, rows.cells.ravel() / count, size=RESAMPLES)
        sample = Sample(rows, np.empty((0, 0)), drawn.reshape(-1, classes, classes).astype(np.float64))
        found = {name: METRICS[name](sample) for name in sorted(COUNTED.intersection(names))}
    weighted = sorted(set(names) - COUNTED)
    affordable = WEIGHTS_BUDGET // (count * max(1, classes // 4))
    if weighted:
        found |= _reweighted(rows, weighted, random=random, resamples=min(RESAMPLES, max(FEWEST_RESAMPLES, affordable)))
    return found


def _reweighted(
    rows: Rows, names: Sequence[str], *, random: np.random.Generator, resamples: int
) -> dict[str, Floats]:  # fmt: skip
    coarse = replace(rows, bins=BINS, kept={})
    step = max(1, CHUNK_WEIGHTS // len(rows.y))
    parts: dict[str, list[Floats]] = {name: [] for name in names}
    with np.errstate(all="ignore"):
        for start in range(0, resamples + 1, step):
            weights = poisson_weights(random, len(rows.y), min(step, resamples + 1 - start))
            if start == 0:
                weights[:, 0] = 1.0
            sample = Sample(coarse, weights, np.empty((0, 0, 0)))
            for name in names:
                parts[name].append(METRICS[name](sample))
    found = {}
    for name, values in parts.items():
        whole = np.concatenate(values)
        # The first column is the value itself as these float32 sums and bins see it.
        exact = METRICS[name](Sample(rows, np.ones((len(rows.y), 1)), np.empty((0, 0, 0))))[0]
        found[name] = whole[1:] + (exact - whole[0])
    return found


def poisson_weights(random: np.random.Generator, rows: int, samples: int) -> npt.NDArray[np.float32]:
    """(rows, samples) draws from Poisson(1), looked up from 16 random bits each."""
    bits = np.frombuffer(random.bytes(samples * rows * 2), dtype=np.uint16)
    return _POISSON[bits].reshape(rows, samples)


def _poisson_table() -> npt.NDArray[np.float32]:
    chances = np.exp(-1.0) / np.cumprod(np.r_[1.0, np.arange(1.0, 9.0)])
    found: npt.NDArray[np.float32] = np.searchsorted(
        np.cumsum(chances), (np.arange(65_536) + 0.5) / 65_536
    ).astype(np.float32)  # fmt: skip
    return found


_POISSON = _poisson_table()

"""Drift of all columns together: whether a classifier can tell today's rows from those of the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from workers.quality.leakage import auc

Floats = npt.NDArray[np.float64]

MAX_ROWS = 5_000
MAX_COLUMNS = 300
LEAST_ROWS = 40
LEAST_AUC = 0.55
COMMON_ROWS = 10
MAX_CODES = 250
ROUNDS = 60
SHOWN = 5
SMALL: dict[str, Any] = {
    "num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 20, "max_bin": 63, "verbosity": -1,
    "deterministic": True, "force_row_wise": True,
}  # fmt: skip
"""A small booster: enough to see whether there is something to learn."""


@dataclass(frozen=True)
class Told:
    """How well both tables were told apart.

    Attributes:
        auc: Of rows that the classifier did not learn from; 0.5 where it cannot tell.
        p_value: The chance of an AUC as large where there is nothing to tell.
        rows: How many of each side were looked at, (now, then).
        drifted: Whether the AUC is above 0.55 and chance does not explain it.
        columns: What the classifier looked at most, with their share of its gain.
    """

    auc: float
    p_value: float
    rows: tuple[int, int]
    drifted: bool
    columns: dict[str, float]


def tell_apart(
    now: pa.Table, then: pa.Table, types: Mapping[str, str], *, significance: float, seed: int, threads: int
) -> Told | None:
    """A classifier two-sample test (Lopez-Paz and Oquab 2017) of two canonical samples with the same columns.

    Each half of the rows is scored by a classifier that learned from the other half. Both AUCs may depend on each
    other, so their mean is judged by the spread of one. None where there are too few rows.
    """
    if min(now.num_rows, then.num_rows) < LEAST_ROWS:
        return None
    rng = np.random.default_rng(seed)
    names = [name for name in types if name in now.column_names and name in then.column_names]
    if len(names) > MAX_COLUMNS:
        names = sorted(rng.choice(names, MAX_COLUMNS, replace=False).tolist())
    side = np.repeat([1.0, 0.0], [now.num_rows, then.num_rows])
    encoded = [encode(_joined(now.column(name), then.column(name)), types[name]) for name in names]
    half = np.concatenate([rng.permutation(count) % 2 == 0 for count in (now.num_rows, then.num_rows)])
    classes = [place for place, name in enumerate(names) if types[name] in {"categorical", "boolean"}]
    found = [
        _scored(np.column_stack(encoded), side, part, classes=classes, seed=seed, threads=threads)
        for part in (half, ~half)
    ]
    mean = float(np.mean([score for score, _ in found]))
    p = float(stats.norm.sf((mean - 0.5) / _spread(side, half)))
    gains = np.sum([gain for _, gain in found], axis=0)
    return Told(round(mean, 4), float(f"{p:.3g}"), (now.num_rows, then.num_rows),
                bool(mean > LEAST_AUC and p < significance), _most(names, gains))  # fmt: skip


def _joined(now: pa.ChunkedArray, then: pa.ChunkedArray) -> pa.ChunkedArray:
    """Both columns as one; where their types differ, as numbers if they hold some, else as text."""
    if now.type != then.type:
        filled = [side.type for side in (now, then) if side.null_count < len(side)]
        numbers = all(kind in (pa.int64(), pa.float64()) for kind in filled)
        common = filled[0] if len(filled) == 1 else pa.float64() if numbers else pa.large_string()
        now, then = (pa.chunked_array([pa.nulls(len(side), common)]) if side.null_count == len(side) else side.cast(common, safe=False)
                     for side in (now, then))  # fmt: skip
    return pa.chunked_array([*now.chunks, *then.chunks], now.type)


def encode(column: pa.ChunkedArray, kind: str) -> Floats:
    """(rows,) A column as numbers: itself, time, length of text, or the code of a common category; NaN is missing."""
    if kind in {"categorical", "boolean"}:
        codes = column.cast(pa.large_string()).combine_chunks().dictionary_encode().indices
        known = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        counts = np.bincount(known[known >= 0], minlength=1)
        order = np.argsort(-counts, kind="stable")
        rank = np.empty(len(counts) + 1)
        rank[order] = np.arange(len(counts))
        rank[:-1][(counts < COMMON_ROWS) | (rank[:-1] >= MAX_CODES)] = MAX_CODES
        rank[-1] = np.nan
        return rank[known]
    if column.type == pa.large_string():
        column = pc.utf8_length(column)
    elif column.type == pa.timestamp("us"):
        column = column.cast(pa.int64())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _scored(
    x: Floats, side: Floats, learned: npt.NDArray[np.bool_], *, classes: Sequence[int], seed: int, threads: int
) -> tuple[float, Floats]:
    """(AUC on the rows that were not `learned`, gain by column)."""
    params = {**SMALL, "objective": "binary", "seed": seed % 2**31, "num_threads": threads}
    data = lgb.Dataset(x[learned], side[learned], categorical_feature=list(classes), params=params)
    booster = lgb.train(params, data, num_boost_round=ROUNDS)
    score = np.asarray(booster.predict(x[~learned], num_threads=threads))
    return auc(score, side[~learned]), np.asarray(booster.feature_importance("gain"), dtype=np.float64)


def _spread(side: Floats, half: npt.NDArray[np.bool_]) -> float:
    """The standard deviation of one AUC where there is nothing to tell (Mann and Whitney 1947), the larger of both."""
    found = []
    for part in (half, ~half):
        ones = side[part].sum()
        zeros = part.sum() - ones
        found.append(np.sqrt((ones + zeros + 1) / (12 * ones * zeros)))
    return float(max(found))


def _most(names: Sequence[str], gains: Floats) -> dict[str, float]:
    """The columns with the largest gain and their share of it."""
    order = np.argsort(-gains)[:SHOWN]
    whole = gains.sum() or 1.0
    return {names[place]: round(float(gains[place] / whole), 3) for place in order if gains[place] > 0}

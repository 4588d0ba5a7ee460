"""Ways to divide rows into train, validation and test; each is exact for its seed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import InvalidData, bounded
from workers.prepared import PARTS

Parts = npt.NDArray[np.int8]
Shares = Sequence[float]
"""(train, validation, test), adding up to 1."""
NOWHERE = -1
SPELLINGS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2, "testing": 2}
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def at_random(rows: int, shares: Shares, *, seed: int) -> Parts:
    """(rows,) A random permutation cut by `shares`."""
    return stratified(np.zeros(rows, dtype=np.int64), shares, seed=seed)


def stratified(strata: npt.NDArray[np.int64], shares: Shares, *, seed: int) -> Parts:
    """(rows,) Every stratum divided by `shares`; what rounding leaves is carried from stratum to stratum.

    A stratum of three rows or more stands in every part; one of two in train and test; one of one in train.
    """
    rng = np.random.default_rng(seed)
    parts = np.zeros(len(strata), dtype=np.int8)
    order = np.argsort(strata, kind="stable")
    ends = np.flatnonzero(np.diff(strata[order])) + 1
    carried = np.zeros(3)
    for rows in np.split(order, ends):
        ideal = len(rows) * np.asarray(shares) + carried
        counts = _whole(ideal, len(rows), least=np.asarray(shares) > 0)
        carried = ideal - counts
        shuffled = rng.permutation(rows)
        parts[shuffled[counts[0] : counts[0] + counts[1]]] = 1
        parts[shuffled[counts[0] + counts[1] :]] = 2
    return parts


def _whole(ideal: npt.NDArray[np.float64], rows: int, *, least: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Three whole numbers near `ideal` that add up to `rows`, at least `least` where there are enough rows."""
    if rows < least.sum():
        return np.array([1, 0, rows - 1])
    counts = np.maximum(np.rint(ideal), least).astype(np.int64)
    while counts.sum() != rows:
        step = 1 if counts.sum() < rows else -1
        gaps = np.where(counts + step >= least, step * (ideal - counts), -np.inf)
        counts[int(np.argmax(gaps))] += step
    return counts


def quantile_strata(
    values: npt.NDArray[np.float64], *, at_most: int = 20, rows_each: int = 20
) -> npt.NDArray[np.int64]:
    """(rows,) The quantile bin of each number; small tables get fewer bins, and ties may merge some."""
    bins = int(np.clip(len(values) // rows_each, 1, at_most))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def by_group(groups: npt.NDArray[np.int64], shares: Shares, *, seed: int) -> Parts:
    """(rows,) Whole groups, in random order, each to the part that lacks most of its share.

    Raises:
        InvalidData: `too_few_groups`.
    """
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 3:
        raise InvalidData(f"There are {len(names)} groups; train, validation and test need one each.",
                          code="too_few_groups", hint="Choose another group column or split method.")  # fmt: skip
    wanted = np.asarray(shares) * len(groups)
    filled = np.zeros(3)
    chosen = np.zeros(len(names), dtype=np.int8)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    for place, group in enumerate(shuffled):
        empty = np.flatnonzero(filled == 0)
        must = len(names) - place <= len(empty)
        part = int(empty[0]) if must else int(np.argmax((wanted - filled) / wanted))
        chosen[group] = part
        filled[part] += sizes[group]
    return chosen[inverse]


def by_time(column: pa.ChunkedArray, shares: Shares, *, gap: str | None, name: str) -> Parts:
    """(rows,) The earliest rows train, the latest test.

    Equal times stay together; rows within `gap` before a cut are in no part.

    Raises:
        InvalidData: `time_missing`, `not_a_time`, `gap_needs_times`.
    """
    if column.null_count:
        raise InvalidData(f"The time column {bounded(name)!r} misses {column.null_count:,} values.", code="time_missing",
                          hint="Drop those rows in features.sql.")  # fmt: skip
    if column.type not in (pa.timestamp("us"), pa.int64(), pa.float64()):
        raise InvalidData(f"The column {bounded(name)!r} holds neither times nor numbers.", code="not_a_time",
                          hint="Write times as ISO 8601.")  # fmt: skip
    width = 0
    if gap is not None:
        if column.type != pa.timestamp("us"):
            raise InvalidData("split.gap needs a column of times.", code="gap_needs_times")
        width = int(gap[:-1]) * UNIT_SECONDS[gap[-1]] * 1_000_000
    times = column.cast(pa.int64()).to_numpy() if column.type != pa.float64() else column.to_numpy()
    ordered = np.sort(times)
    first, second = (
        ordered[min(len(ordered) - 1, round(len(ordered) * share))] for share in (shares[0], shares[0] + shares[1])
    )
    parts = np.where(times < first, 0, np.where(times < second, 1, 2)).astype(np.int8)
    for part, cut in ((0, first), (1, second)):
        parts[(parts == part) & (times >= cut - width)] = NOWHERE if width else part
    return parts


def predefined(column: pa.ChunkedArray, strata: npt.NDArray[np.int64], *, seed: int, name: str) -> Parts:
    """(rows,) What the column says; without validation rows, 15/85 of train are drawn, by `strata`.

    Raises:
        InvalidData: `bad_split_value`.
    """
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.large_string()))).to_pylist()
    strange = [row for row, word in enumerate(words) if word not in SPELLINGS]
    if strange:
        raise InvalidData(f"{len(strange):,} values of the column {bounded(name)!r} are none of {', '.join(PARTS)} "
                          f"(row {strange[0]}).", code="bad_split_value", hint="Say a part for every row.")  # fmt: skip
    parts = np.array([SPELLINGS[str(word)] for word in words], dtype=np.int8)
    if not (parts == 1).any():
        train = np.flatnonzero(parts == 0)
        drawn = stratified(strata[train], (70 / 85, 15 / 85, 0.0), seed=seed) if len(train) else np.empty(0)
        parts[train[drawn > 0]] = 1
    return parts


def by_hash(labels: Sequence[str | None], shares: Shares, *, seed: int) -> Parts:
    """(rows,) By the hash of a label alone: a row's part does not change when other rows come or go."""
    words = np.array(["" if label is None else label for label in labels], dtype=object)
    hashed = pd.util.hash_array(words, hash_key=f"{seed:016d}")
    place = hashed.astype(np.float64) / 2.0**64
    return np.where(place < shares[0], 0, np.where(place < shares[0] + shares[1], 1, 2)).astype(np.int8)

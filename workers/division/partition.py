"""Ways to divide rows into train, validation and test; each is exact for its seed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import InvalidData, bounded
from trainhouse_loader.mixing import mix
from workers.terms import PARTS

Parts = npt.NDArray[np.int8]
Labels = npt.NDArray[np.int64]
Held = npt.NDArray[np.bool_]
Shares = Sequence[float]
"""(train, validation, test), adding up to 1."""
NOWHERE = -1
TEST = 2
SPELLINGS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2, "testing": 2}
NEEDED = {1: (), 2: (0, 2)}
"""By number of units, the parts that must not be empty; all three from three units on."""
LARGE_SHARE = 500
CANDIDATES = 8
CANDIDATE_UNITS = 100_000


def balanced(
    strata: Labels, shares: Shares, *, seed: int, units: Labels | None = None, held: Held | None = None
) -> Parts:
    """(rows,) Every stratum divided by `shares`; what rounding leaves is carried from stratum to stratum.

    Rows of equal `units` (rows,) go to one part together, by the stratum of their first row. A unit with a row of
    `held` (rows,) goes to test, and only the rest of the test share is drawn. A stratum of three units or more stands
    in every part; one of two in train and test; one of one in train.
    """
    first, inverse, sizes = _units(units, len(strata))
    of_unit = strata[first]
    kept = np.zeros(len(first), dtype=bool)
    if held is not None and held.any():
        np.logical_or.at(kept, inverse, held)
    rng = np.random.default_rng(seed)
    parts = np.zeros(len(first), dtype=np.int8)
    order = np.argsort(of_unit, kind="stable")
    carried = np.zeros(3)
    for members in np.split(order, np.flatnonzero(np.diff(of_unit[order])) + 1):
        rows = int(sizes[members].sum())
        ideal = rows * np.asarray(shares) + carried
        wanted = _whole(ideal, rows, least=np.asarray(shares) > 0)
        parts[members] = _assigned(sizes[members], kept[members], wanted, rng)
        carried = ideal - wanted
    return parts[inverse]


def _units(units: Labels | None, rows: int) -> tuple[Labels, Labels, Labels]:
    """(a row of each unit, unit of each row, rows of each unit); units in order of their first row."""
    if units is None:
        return np.arange(rows), np.arange(rows), np.ones(rows, dtype=np.int64)
    _, first, inverse, sizes = np.unique(units, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return first[order], place[inverse.reshape(-1)], sizes[order]


def _assigned(sizes: Labels, held: Held, wanted: Labels, rng: np.random.Generator) -> Parts:
    """(units,) The part of each unit of one stratum, so that the parts have about `wanted` (3,) rows.

    Large units go one by one, largest first, to the part that lacks most of its share; the others by random cuts,
    units of one row last, so that they make the numbers exact.
    """
    parts = np.full(len(sizes), TEST, dtype=np.int8)
    filled = np.array([0.0, 0.0, float(sizes[held].sum())])
    free = rng.permutation(np.flatnonzero(~held))
    single = sizes[free] == 1
    large = ~single & (sizes[free] > sizes.sum() // LARGE_SHARE)
    for unit in free[large][np.argsort(-sizes[free[large]], kind="stable")]:
        part = int(np.argmax((wanted - filled) / np.maximum(wanted, 1e-9)))
        parts[unit] = part
        filled[part] += sizes[unit]
    for tier in (free[~single & ~large], free[single]):
        lacking = np.maximum(wanted - filled, 0.0)
        rows = sizes[tier]
        lacking = lacking * rows.sum() / lacking.sum() if lacking.sum() else np.array([rows.sum(), 0.0, 0.0])
        middles = np.cumsum(rows) - rows / 2
        parts[tier] = np.searchsorted(np.cumsum(lacking)[:2], middles, side="left")
        filled += np.bincount(parts[tier], weights=rows, minlength=3)
    _fill_empty(parts, sizes, free, wanted)
    return parts


def _fill_empty(parts: Parts, sizes: Labels, free: Labels, wanted: Labels) -> None:
    """Gives each part that should have a unit and has none the smallest one of the part with most units."""
    for part in NEEDED.get(len(parts), (0, 1, 2)):
        counts = np.bincount(parts[free], minlength=3)
        if not wanted[part] or (parts == part).any() or counts.max(initial=0) < 2:
            continue
        donors = free[parts[free] == int(np.argmax(counts))]
        parts[donors[int(np.argmin(sizes[donors]))]] = part


def _whole(ideal: npt.NDArray[np.float64], rows: int, *, least: npt.NDArray[np.bool_]) -> Labels:
    """Three whole numbers near `ideal` that add up to `rows`, at least `least` where there are enough rows."""
    if rows < least.sum():
        return np.array([1, 0, rows - 1])
    counts = np.maximum(np.rint(ideal), least).astype(np.int64)
    while counts.sum() != rows:
        step = 1 if counts.sum() < rows else -1
        gaps = np.where(counts + step >= least, step * (ideal - counts), -np.inf)
        counts[int(np.argmax(gaps))] += step
    return counts


def quantile_strata(values: npt.NDArray[np.float64], *, at_most: int = 20, rows_each: int = 20) -> Labels:
    """(rows,) The quantile bin of each number; small tables get fewer bins, and ties may merge some."""
    bins = int(np.clip(len(values) // rows_each, 1, at_most))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def by_group(groups: Labels, strata: Labels, shares: Shares, *, seed: int, held: Held | None = None) -> Parts:
    """(rows,) Whole groups to one part each; of several random ways, the one with the best balance of `strata`.

    Raises:
        InvalidData: `too_few_groups`.
    """
    count = len(np.unique(groups))
    if count < 3:
        raise InvalidData(f"There are {count} groups; train, validation and test need one each.",
                          code="too_few_groups", hint="Choose another group column or split method.")  # fmt: skip
    one = np.zeros(len(groups), dtype=np.int64)
    ways = CANDIDATES if count <= CANDIDATE_UNITS else 1
    seeds = np.random.SeedSequence(seed).generate_state(ways)
    found = [balanced(one, shares, seed=int(way), units=groups, held=held) for way in seeds]
    return min(found, key=lambda parts: _imbalance(parts, strata, shares))


def _imbalance(parts: Parts, strata: Labels, shares: Shares) -> float:
    """How far the rows of each stratum in each part are from their share, as a fraction of all rows."""
    _, codes = np.unique(strata, return_inverse=True)
    held = np.bincount(codes.reshape(-1) * 3 + parts, minlength=3 * (int(codes.max()) + 1)).reshape(-1, 3)
    ideal = held.sum(axis=1, keepdims=True) * np.asarray(shares)
    return float(np.abs(held - ideal).sum() / len(parts))


def predefined(
    column: pa.ChunkedArray, strata: Labels, *, rows: Labels, seed: int, name: str, units: Labels | None = None
) -> Parts:
    """(rows,) What the column says; without validation rows, 15/85 of train are drawn, by `strata`, `units` whole.

    Raises:
        InvalidData: `bad_split_value`; the row that it shows is one of `rows`, their positions in the snapshot.
    """
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.large_string())))
    places = pc.index_in(words, value_set=pa.array(list(SPELLINGS), pa.large_string()))
    if places.null_count:
        row = int(rows[np.flatnonzero(places.is_null().to_numpy())[0]])
        raise InvalidData(f"{places.null_count:,} values of the column {bounded(name)!r} are none of {', '.join(PARTS)} "
                          f"(row {row}).", code="bad_split_value", hint="Say a part for every row.")  # fmt: skip
    parts = np.array(list(SPELLINGS.values()), dtype=np.int8)[places.to_numpy()]
    if not (parts == 1).any():
        train = np.flatnonzero(parts == 0)
        if len(train):
            whole = None if units is None else units[train]
            drawn = balanced(strata[train], (70 / 85, 15 / 85, 0.0), seed=seed, units=whole)
            parts[train[drawn > 0]] = 1
    return parts


def by_hash(
    hashed: npt.NDArray[np.uint64], shares: Shares, *, seed: int, held: npt.NDArray[np.bool_] | None = None
) -> Parts:
    """(rows,) By the hash of a key alone: a row's part does not change when other rows come or go.

    Rows of `held` go to test. Those among them that the hash would place elsewhere were drawn in another way; then as
    many fewer of the other rows are tested on, those with the highest hashes first.
    """
    places = mix(hashed ^ mix(np.array([seed], dtype=np.uint64))).astype(np.float64) / 2.0**64
    parts = np.where(places < shares[0], 0, np.where(places < shares[0] + shares[1], 1, TEST)).astype(np.int8)
    if held is not None and (held & (parts != TEST)).any():
        parts[held] = TEST
        others = np.flatnonzero((parts == TEST) & ~held)
        room = max(0, round(shares[TEST] * len(parts)) - int(held.sum()))
        if room < len(others):
            limit = np.sort(places[others])[len(others) - room] if room else np.inf
            parts[others[places[others] < limit]] = 0
    return parts

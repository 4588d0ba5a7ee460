"""Divisions in time: the past trains, the future judges, and groups may be kept whole on the way."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.errors import InvalidData, bounded
from workers.division.partition import NOWHERE, Labels, Parts, Shares

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
EDGES = 12
SAMPLED_GROUPS = 4_000
EMPTY = 10.0
STEPS = 25
PATIENCE = 0.5
JITTER = 0.02
CLIMBED_GROUPS = 2_000
MOST_CHANGES = 40
Counts = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64] | npt.NDArray[np.float64]


def clock(column: pa.ChunkedArray, *, name: str) -> Times:
    """(rows,) Microseconds, or the numbers of a column of numbers.

    Raises:
        InvalidData: `time_missing`, `not_a_time`.
    """
    if column.type not in (pa.timestamp("us"), pa.int64(), pa.float64()):
        raise InvalidData(f"The column {bounded(name)!r} holds neither times nor numbers.", code="not_a_time",
                          hint="Write times as ISO 8601, or read them with strptime() in data.features.sql.")  # fmt: skip
    if column.null_count:
        raise InvalidData(f"The time column {bounded(name)!r} misses {column.null_count:,} values.", code="time_missing",
                          hint="Drop those rows in features.sql.")  # fmt: skip
    return column.to_numpy() if column.type == pa.float64() else column.cast(pa.int64()).to_numpy()


def width(gap: str | None, column: pa.ChunkedArray) -> int:
    """`gap` in the units of `clock`.

    Raises:
        InvalidData: `gap_needs_times`.
    """
    if gap is None:
        return 0
    if column.type != pa.timestamp("us"):
        raise InvalidData("split.gap needs a column of times.", code="gap_needs_times",
                          hint="Name a column of times, or leave the gap out.")  # fmt: skip
    return int(gap[:-1]) * UNIT_SECONDS[gap[-1]] * 1_000_000


def by_time(times: Times, shares: Shares, *, gap: int) -> Parts:
    """(rows,) The earliest rows train, the latest test.

    Equal times stay together; rows within `gap` before a cut are in no part.
    """
    ordered = np.sort(times)
    ends = np.cumsum(shares)[:2]
    return _cut(times, *(ordered[min(len(ordered) - 1, round(len(ordered) * share))] for share in ends), gap=gap)


def _cut(times: Times, first: Any, second: Any, *, gap: int) -> Parts:
    parts = np.where(times < first, 0, np.where(times < second, 1, 2)).astype(np.int8)
    for part, cut in ((0, first), (1, second)) if gap else ():
        parts[(parts == part) & (times >= cut - gap)] = NOWHERE
    return parts


@dataclass(frozen=True)
class _Lives:
    """Rows of groups over time: of each group (groups, edges + 1) those before each edge, and all.

    `near` are those before each edge less the gap.
    """

    held: Labels
    near: Labels

    def inside(self, early: int, late: int) -> Counts:
        """(groups, 3) The rows of each group within the time of each part, for cuts at two edges."""
        until = np.minimum(self.held[:, early], self.near[:, late])
        last = self.held[:, -1] - self.held[:, late]
        return np.stack((self.near[:, early], self.near[:, late] - until, last), axis=1).astype(np.float64)


def by_time_and_group(times: Times, groups: Labels, shares: Shares, *, gap: int, seed: int) -> Parts:
    """(rows,) Parts cut in time, no group in two of them; rows of a group outside its part's time are in no part.

    A group that lives in the time of one part goes there. One that crosses a cut goes to the part where most of its
    rows lie, each part's rows weighed so that the parts come near to their shares. Of many pairs of cuts the one is
    taken that keeps most rows, less the share of rows by which the parts miss their `shares`.

    Raises:
        InvalidData: `empty_part`, where no cuts leave rows for every part.
    """
    _, codes = np.unique(groups, return_inverse=True)
    codes = codes.reshape(-1)
    count = int(codes.max()) + 1
    rng = np.random.default_rng(seed)
    # Groups that are alike in every number would all change sides at once; a little noise lets them go one by one.
    noise = 1.0 + JITTER * rng.random((count, 3))
    some = np.sort(rng.choice(count, min(count, SAMPLED_GROUPS), replace=False))
    seen = np.isin(codes, some) if len(some) < count else np.ones(len(codes), dtype=bool)
    edges = _edges(times, shares)
    lives = _lives(times[seen], np.searchsorted(some, codes[seen]), len(some), edges, gap=gap)
    best, cuts = -np.inf, edges[:0]
    for early, late in combinations(range(len(edges)), 2):
        score, _ = _settled(lives.inside(early, late), noise[some], np.asarray(shares), rows=int(seen.sum()))
        if score > best:
            best, cuts = score, edges[[early, late]]
    if best <= -EMPTY:
        raise InvalidData("No cuts in time leave rows for train, validation and test.", code="empty_part",
                          hint="Take a smaller split.gap or other shares, or bring rows of more moments.")  # fmt: skip
    inside = _lives(times, codes, count, cuts, gap=gap).inside(0, 1)
    _, of_group = _settled(inside, noise, np.asarray(shares), rows=len(times))
    parts = _cut(times, cuts[0], cuts[1], gap=gap)
    return np.where(parts == of_group[codes], parts, NOWHERE).astype(np.int8)


def _lives(times: Times, codes: Labels, count: int, edges: Times, *, gap: int) -> _Lives:
    held = _before(times, codes, count, edges)
    return _Lives(held, _before(times, codes, count, edges - gap) if gap else held)


def _edges(times: Times, shares: Shares) -> Times:
    """Moments at which to cut, ascending: evenly spread over the rows, and those that the shares say."""
    ordered = np.sort(times)
    wanted = np.unique(np.concatenate((np.linspace(0.1, 0.95, EDGES), np.cumsum(shares)[:2])))
    return np.unique(ordered[np.minimum(len(ordered) - 1, np.rint(len(ordered) * wanted).astype(np.int64))])


def _before(times: Times, codes: Labels, count: int, edges: Times) -> Labels:
    """(groups, edges + 1) The rows of each group before each edge, and all its rows."""
    slots = len(edges) + 1
    slot = np.searchsorted(edges, times, side="right")
    held = np.bincount(codes * slots + slot, minlength=count * slots).reshape(count, slots)
    found: Labels = np.cumsum(held, axis=1)
    return found


def _settled(inside: Counts, noise: Counts, shares: Counts, *, rows: int) -> tuple[float, Parts]:
    """(score, part of each group) for the rows of each group `inside` (groups, 3) the time of each part."""
    best, chosen = -np.inf, np.zeros(len(inside), dtype=np.int8)
    weights = np.ones(3)
    blurred = inside * noise
    for _ in range(STEPS):
        of_group = np.argmax(blurred * weights, axis=1).astype(np.int8)
        kept = np.bincount(of_group, weights=inside[np.arange(len(inside)), of_group], minlength=3)
        got = kept / max(1.0, kept.sum())
        score = float(_worth(kept.astype(np.float64), shares, rows))
        if score > best:
            best, chosen = score, of_group
        weights *= (shares / np.maximum(got, 1e-3)) ** PATIENCE
        weights /= weights[0]
    return _climbed(inside, chosen, best, shares, rows=rows) if len(inside) <= CLIMBED_GROUPS else (best, chosen)


def _climbed(inside: Counts, of_group: Parts, score: float, shares: Counts, *, rows: int) -> tuple[float, Parts]:
    """`of_group` after single groups have changed sides, the best change first, for as long as one helps."""
    every = np.arange(len(inside))
    for _ in range(MOST_CHANGES):
        kept = np.bincount(of_group, weights=inside[every, of_group], minlength=3)
        without = kept - np.eye(3)[of_group] * inside[every, of_group][:, None]
        changed = without[:, None, :] + np.eye(3)[None] * inside[:, :, None]
        worth = _worth(changed, shares, rows)
        group, part = np.unravel_index(int(np.argmax(worth)), worth.shape)
        if worth[group, part] <= score + 1e-9:
            break
        score, of_group = float(worth[group, part]), of_group.copy()
        of_group[group] = part
    return score, of_group


def _worth(kept: Counts, shares: Counts, rows: int) -> Counts:
    """(…,) The share of rows in `kept` (…, 3), less that by which the parts miss their shares; none may be empty."""
    total = kept.sum(axis=-1)
    missed = np.abs(kept / np.maximum(1.0, total)[..., None] - shares).sum(axis=-1)
    found: Counts = total / rows - missed - EMPTY * (kept == 0).sum(axis=-1)
    return found

"""What the columns of a table look like, as small JSON without a raw row: counts, quantiles, bins, categories."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]

VERSION = 2
BINS = 20
BUCKETS = 64
TOP_CATEGORIES = 50
ALL_CATEGORIES = 200
ROOM = 40_000
"""Categories that are kept for all columns together."""
LONGEST_LABEL = 100
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
HOLDS = {pa.bool_(): "boolean", pa.timestamp("us"): "datetime", pa.large_string(): "text", pa.int64(): "numeric",
         pa.float64(): "numeric"}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One canonical column, looked at as `kind`; what is costly is computed once, when it is asked for."""

    column: pa.ChunkedArray
    kind: str

    @property
    def by_label(self) -> bool:
        """Whether its values are counted one by one, not measured."""
        return self.kind in {"categorical", "boolean"}

    @cached_property
    def ordered(self) -> Floats:
        """The known, finite values, ascending: numbers, microseconds since 1970, or lengths of text in characters."""
        values = measure(self.column)
        values.sort()
        return values

    @cached_property
    def counts(self) -> dict[str, int]:
        """Each known value as a label of at most 100 characters, with its count; the most frequent first."""
        counted = pc.value_counts(self.column.combine_chunks())
        names, counts = counted.field(0), counted.field(1).to_numpy()
        order = np.argsort(-counts, kind="stable")
        labels = pc.utf8_slice_codeunits(names.cast(pa.large_string()), 0, LONGEST_LABEL).take(pa.array(order))
        found: dict[str, int] = {}
        for label, count in zip(labels.to_pylist(), counts[order].tolist(), strict=True):
            if label is not None:
                found[label] = found.get(label, 0) + count
        return found


def look(column: pa.ChunkedArray, kind: str | None = None) -> Look:
    """`column` as `kind` where it can be looked at so; anything can be counted as categories."""
    held = HOLDS.get(column.type, "numeric")
    return Look(column, kind if kind in {"categorical", held} else held)


def profile(table: pa.Table, types: Mapping[str, str]) -> dict[str, Any]:
    """The profile of a canonical table: `{"version": 2, "rows": n, "columns": {name: …}}`.

    `types` says the kind of a column where it is a feature; other columns go by what they hold. Of free text only
    lengths are told.
    """
    room = room_for(table.num_columns)
    return {"version": VERSION, "rows": table.num_rows, "columns": {
        name: describe(look(table.column(name), types.get(name)), room=room) for name in table.column_names}}  # fmt: skip


def room_for(columns: int) -> int:
    """How many categories of each of `columns` columns a profile keeps."""
    return max(10, min(ALL_CATEGORIES, ROOM // max(1, columns)))


def describe(seen: Look, *, room: int = ALL_CATEGORIES) -> dict[str, Any]:
    """The profile of one column, with at most `room` categories."""
    rows, nulls = len(seen.column), seen.column.null_count
    found: dict[str, Any] = {"type": seen.kind, "holds": HOLDS.get(seen.column.type, "numeric") if rows > nulls else None,
                             "nulls": nulls, "null_share": round(nulls / rows, 6) if rows else 0.0}  # fmt: skip
    if rows == nulls:
        return found
    return found | (_categories(seen, room) if seen.by_label else _numbers(seen))


def measure(column: pa.ChunkedArray) -> Floats:
    """The known, finite values as float64: numbers, microseconds since 1970, or lengths of text in characters."""
    known = column.drop_null() if column.null_count else column
    if column.type == pa.large_string():
        known = pc.utf8_length(known)
    elif column.type == pa.timestamp("us"):
        known = known.cast(pa.int64())
    values = np.array(known.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    finite = np.isfinite(values)
    return values if finite.all() else values[finite]


def _numbers(seen: Look) -> dict[str, Any]:
    """Moments, quantiles, and counts between edges of about equal mass."""
    values = seen.ordered
    known = len(seen.column) - seen.column.null_count
    if values.size == 0:
        return {"infinite": known}
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = values.mean(), values.std()
    edges = np.unique(_at(values, np.linspace(0, 1, BINS + 1)))
    found = {
        "distinct": 1 + int(np.count_nonzero(values[1:] != values[:-1])),
        "mean": float(mean) if np.isfinite(mean) else None,
        "std": float(std) if np.isfinite(std) else None,
        "quantiles": _at(values, np.array(QUANTILES)).tolist(),
        "zeros": int(np.diff(np.searchsorted(values, [0.0, np.nextafter(0.0, 1.0)]))[0]),
        "negative": int(np.searchsorted(values, 0.0)),
        "infinite": known - values.size,
        "edges": edges.tolist(),
        "counts": between(values, edges).tolist(),
    }
    return _of_kind(seen, found)


def _of_kind(seen: Look, found: dict[str, Any]) -> dict[str, Any]:
    """`found`, in the words of the kind: times have a range, texts lengths."""
    if seen.kind == "datetime":
        ends = pc.min_max(seen.column)
        found |= {"earliest": _iso(ends["min"]), "latest": _iso(ends["max"])}
    if seen.kind == "text":
        spaces = pc.sum(pc.count_substring(seen.column, " ")).as_py()
        known = len(seen.column) - seen.column.null_count
        found["lengths_distinct"] = found.pop("distinct")
        found["words_mean"] = round(1 + spaces / known, 3)
    return found


def _iso(moment: pa.Scalar) -> str:
    """A moment as text; years beyond what Python counts included."""
    return str(np.datetime64(moment.value, "us")) + "Z"


def _at(ordered: Floats, shares: Floats) -> Floats:
    """The value at each share of the way through ascending values."""
    return ordered[np.rint(shares * (len(ordered) - 1)).astype(np.int64)]


def between(ordered: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    """(edges + 1,) How many ascending values fall below the first edge, from each edge to the next, and from the last on."""
    places = np.searchsorted(ordered, edges, side="left")
    return np.diff(places, prepend=0, append=len(ordered))


def _categories(seen: Look, room: int) -> dict[str, Any]:
    """The most frequent labels and their counts; where they are not all, how many rows hold others, by hash."""
    counted = seen.counts
    kept = len(counted) if len(counted) <= room else min(room, TOP_CATEGORIES)
    shown = dict(list(counted.items())[:kept])
    found = {"distinct": len(counted), "categories": shown, "other": sum(counted.values()) - sum(shown.values())}
    return found | ({} if len(shown) == len(counted) else {"buckets": in_buckets(counted)})


def in_buckets(counted: Mapping[str, int]) -> list[int]:
    """Rows by bucket; which label falls into which depends on the label alone."""
    hashed = pd.util.hash_array(np.array(list(counted), dtype=object), categorize=False) % np.uint64(BUCKETS)
    sums = np.bincount(hashed.astype(np.int64), weights=np.fromiter(counted.values(), np.float64), minlength=BUCKETS)
    return [int(one) for one in sums]

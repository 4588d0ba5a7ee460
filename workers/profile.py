"""What the columns of a table look like, as small JSON without a raw row: counts, quantiles, bins, categories."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]

BINS = 20
TOP_CATEGORIES = 50
LONGEST_LABEL = 100
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def profile(table: pa.Table, types: Mapping[str, str]) -> dict[str, Any]:
    """The profile of a canonical table: `{"rows": n, "columns": {name: …}}`.

    `types` says the kind of a column where it is a feature; other columns go by what they hold. Of free text only
    lengths are told.
    """
    return {"version": 1, "rows": table.num_rows,
            "columns": {name: describe(table.column(name), types.get(name)) for name in table.column_names}}  # fmt: skip


def describe(column: pa.ChunkedArray, kind: str | None) -> dict[str, Any]:
    """The profile of one canonical column."""
    kind = kind if kind is not None and _fits(column, kind) else kind_of(column)
    rows, nulls = len(column), column.null_count
    found: dict[str, Any] = {"type": kind, "nulls": nulls, "null_share": nulls / rows if rows else 0.0}
    if rows > nulls:
        found["distinct"] = pc.count_distinct(column, mode="only_valid").as_py()
        found |= _categories(column) if kind in {"categorical", "boolean"} else _numbers(measure(column), column)
    return found


def kind_of(column: pa.ChunkedArray) -> str:
    """`numeric`, `datetime`, `boolean` or `text`, by the canonical type alone."""
    return {pa.bool_(): "boolean", pa.timestamp("us"): "datetime", pa.large_string(): "text"}.get(
        column.type, "numeric"
    )


def _fits(column: pa.ChunkedArray, kind: str) -> bool:
    """Whether a column can be described as `kind`; anything can be counted as categories."""
    return kind in {"categorical", kind_of(column)}


def measure(column: pa.ChunkedArray) -> Floats:
    """The known, finite values as float64: numbers, microseconds since 1970, or lengths of text in characters."""
    known = column.drop_null()
    if column.type == pa.large_string():
        known = pc.utf8_length(known)
    elif column.type == pa.timestamp("us"):
        known = known.cast(pa.int64())
    values = np.array(known.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    finite = np.isfinite(values)
    return values if finite.all() else values[finite]


def _numbers(values: Floats, column: pa.ChunkedArray) -> dict[str, Any]:
    """Moments, quantiles, and counts between edges of about equal mass."""
    if values.size == 0:
        return {"infinite": len(column) - column.null_count}
    values.sort()
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = values.mean(), values.std()
    edges = np.unique(_at(values, np.linspace(0, 1, BINS + 1)))
    return {
        "mean": float(mean) if np.isfinite(mean) else None,
        "std": float(std) if np.isfinite(std) else None,
        "quantiles": _at(values, np.array(QUANTILES)).tolist(),
        "infinite": len(column) - column.null_count - values.size,
        "edges": edges.tolist(),
        "counts": between(values, edges).tolist(),
    }


def _at(ordered: Floats, shares: Floats) -> Floats:
    """The value at each share of the way through ascending values."""
    return ordered[np.rint(shares * (len(ordered) - 1)).astype(np.int64)]


def between(ordered: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    """How many ascending values fall below, into each bin of, and above `edges`; the last bin holds its right end.

    With one edge only, the values below, on and above it.
    """
    places = np.searchsorted(ordered, edges, side="left")
    places[-1] = np.searchsorted(ordered, edges[-1], side="right")
    if len(edges) == 1:
        places = np.array([np.searchsorted(ordered, edges[0], side="left"), places[-1]])
    return np.diff(places, prepend=0, append=len(ordered))


def _categories(column: pa.ChunkedArray) -> dict[str, Any]:
    """The most frequent labels and their counts, and how many rows hold others."""
    counted = counts_of(column)
    top = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:TOP_CATEGORIES]
    shown = {label[:LONGEST_LABEL]: count for label, count in top}
    return {"categories": shown, "other": sum(counted.values()) - sum(shown.values())}


def counts_of(column: pa.ChunkedArray) -> dict[str, int]:
    """Each known value as a label, with its count."""
    counted = pc.value_counts(column.drop_null())
    names = counted.field(0).cast(pa.large_string()).to_pylist()
    return dict(zip(names, counted.field(1).to_pylist(), strict=True))

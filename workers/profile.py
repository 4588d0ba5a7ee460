"""What the columns of a table look like, as small JSON without a raw row: counts, quantiles, bins, categories."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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
    return {pa.bool_(): "boolean", pa.timestamp("us"): "datetime", pa.large_string(): "text"}.get(column.type, "numeric")


def _fits(column: pa.ChunkedArray, kind: str) -> bool:
    """Whether a column can be described as `kind`; anything can be counted as categories."""
    return kind in {"categorical", kind_of(column)}


def measure(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """The known, finite values as float64: numbers, microseconds since 1970, or lengths of text in characters."""
    known = column.drop_null()
    if column.type == pa.large_string():
        known = pc.utf8_length(known)
    elif column.type == pa.timestamp("us"):
        known = known.cast(pa.int64())
    values = np.asarray(known.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    return values[np.isfinite(values)]


def _numbers(values: npt.NDArray[np.float64], column: pa.ChunkedArray) -> dict[str, Any]:
    """Moments, quantiles, and counts between edges of about equal mass."""
    if values.size == 0:
        return {"infinite": len(column) - column.null_count}
    ordered = np.sort(values)
    edges = np.unique(np.quantile(ordered, np.linspace(0, 1, BINS + 1)))
    return {
        "mean": float(values.mean()), "std": float(values.std()),
        "quantiles": [float(value) for value in np.quantile(ordered, QUANTILES)],
        "infinite": len(column) - column.null_count - values.size,
        "edges": [float(edge) for edge in edges], "counts": between(values, edges).tolist(),
    }  # fmt: skip


def between(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How many values fall below, into each bin of, and above `edges`; a value on an edge counts to the right.

    With one edge only, the values below, on and above it.
    """
    if len(edges) == 1:
        return np.array([(values < edges[0]).sum(), (values == edges[0]).sum(), (values > edges[0]).sum()])
    places = np.searchsorted(edges, values, side="right")
    places[values == edges[-1]] = len(edges) - 1
    return np.bincount(places, minlength=len(edges) + 1)


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

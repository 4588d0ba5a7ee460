"""Groups of rows by what stands in their columns, for looking at a model's quality apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MOST_VALUES = 50
"""A column of more distinct values is grouped by its most frequent ones."""
MOST_NUMBERS = 20
"""A column of more distinct numbers or times is grouped by quarters."""
MOST_GROUPS = 100


@dataclass(frozen=True)
class Group:
    """Some rows that are alike.

    Attributes:
        where: By column, the value that the rows share; of numbers in quarters, their range in words; None is missing.
        rows: (rows of the group,) positions, ascending.
    """

    where: Mapping[str, Any]
    rows: npt.NDArray[np.int64]


def groups(table: pa.Table, columns: Sequence[str], *, every: bool = False) -> list[Group]:
    """The groups of the rows of a canonical table by `columns` together, the largest first, at most `MOST_GROUPS`.

    Args:
        every: No group is left out, and whole numbers are names: each makes a group.
    """
    coded = [_coded(table.column(name), every=every) for name in columns]
    whole = np.zeros(table.num_rows, dtype=np.int64)
    for codes, names in coded:
        _, whole = np.unique(whole * (len(names) + 1) + codes, return_inverse=True)  # else products would grow
    named = np.flatnonzero(np.all([codes >= 0 for codes, _names in coded], axis=0))
    order = named[np.argsort(whole[named], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(whole[order])) + 1) if len(order) else []
    found = [
        Group({name: names[codes[rows[0]]] for name, (codes, names) in zip(columns, coded, strict=True)}, np.sort(rows))
        for rows in parts
    ]
    ordered = sorted(found, key=lambda each: (-len(each.rows), str(each.where)))
    return ordered if every else ordered[:MOST_GROUPS]


def matching(table: pa.Table, where: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """The positions of the rows of a canonical table that have the values `where`; numbers match as numbers."""
    found = np.ones(table.num_rows, dtype=np.bool_)
    for name, value in where.items():
        found &= _equal(table.column(name), value)
    return np.flatnonzero(found)


def _equal(column: pa.ChunkedArray, value: Any) -> npt.NDArray[np.bool_]:
    if pa.types.is_boolean(column.type) or isinstance(value, bool):
        wanted: Any = str(value).lower()
        column = pc.utf8_lower(column.cast(pa.large_string()))
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        try:
            wanted, column = float(value), column.cast(pa.float64(), safe=False)
        except ValueError:
            return np.zeros(len(column), dtype=np.bool_)
    else:
        wanted, column = str(value), column.cast(pa.large_string())
    equal: npt.NDArray[np.bool_] = pc.fill_null(pc.equal(column, wanted), False).to_numpy(zero_copy_only=False)
    return equal


def _coded(column: pa.ChunkedArray, *, every: bool) -> tuple[npt.NDArray[np.int64], list[Any]]:
    """((rows,) the place of each row's value among `names`, or -1 where it is not among them; the names)."""
    whole = pa.types.is_integer(column.type)
    ordered = pa.types.is_floating(column.type) or pa.types.is_timestamp(column.type) or (whole and not every)
    if ordered and pc.count_distinct(column).as_py() > MOST_NUMBERS:
        return _quartered(column)
    encoded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = [_plain(value) for value in encoded.dictionary.to_pylist()]
    kept = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")[: None if every else MOST_VALUES]
    places = np.full(len(names), -1, dtype=np.int64)
    places[kept] = np.arange(len(kept))
    return places[codes], [names[place] for place in kept]


def _quartered(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[Any]]:
    is_time = pa.types.is_timestamp(column.type)
    numbers = (column.cast(pa.int64()) if is_time else column).cast(pa.float64(), safe=False)
    values = numbers.to_numpy(zero_copy_only=False)
    known = np.isfinite(values)
    edges = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75]))
    codes = np.searchsorted(edges, values, side="left").astype(np.int64)
    shown = [str(np.datetime64(int(edge), "us")) if is_time else f"{edge:.6g}" for edge in edges]
    names: list[Any] = [f"up to {shown[0]}"]
    names += [f"above {low}, up to {high}" for low, high in pairwise(shown)]
    names.append(f"above {shown[-1]}")
    codes[~known] = len(names)
    return codes, [*names, None]


def _plain(value: Any) -> Any:
    """`value` as JSON has it."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)

"""Which rows are equal: 64-bit hashes of the values of a canonical table, one column at a time."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from trainhouse_loader.mixing import SEED, Hashes, mix

FACTOR = np.uint64(0xD1342543DE82EF95)
NULL = np.uint64(0xA5A5A5A5DEADBEEF)
EXACT = 2**53


def repeats(table: pa.Table) -> npt.NDArray[np.bool_]:
    """(rows,) True where a row equals an earlier one in every column; two nulls are equal."""
    return repeated(row_hashes(table))


def repeated(hashes: Hashes) -> npt.NDArray[np.bool_]:
    """(rows,) True where a hash stood before; mostly none did, and sorting tells that fastest."""
    ordered = np.sort(hashes)
    if not (ordered[1:] == ordered[:-1]).any():
        return np.zeros(len(hashes), dtype=bool)
    return np.asarray(pd.Series(hashes).duplicated())


def row_hashes(table: pa.Table) -> Hashes:
    """(rows,) A hash of each row of a canonical table.

    It depends on the values and the order of the columns only, neither on their names nor on the other rows: the same
    row has it in another table too. `1` and `1.0` are equal, and so are two nulls.
    """
    mixed = np.full(table.num_rows, SEED, dtype=np.uint64)
    for column in table.columns:
        mixed *= FACTOR
        mixed += value_hashes(column)
    return mix(mixed)


def value_hashes(column: pa.ChunkedArray) -> Hashes:
    """(rows,) A hash of each value of a canonical column; all nulls have one of their own."""
    if column.type == pa.large_string():
        codes = column.combine_chunks().dictionary_encode()
        words = np.asarray(codes.dictionary.to_numpy(zero_copy_only=False), dtype=object)
        known = pd.util.hash_array(words, categorize=False)
        return np.append(known, NULL)[codes.indices.fill_null(len(known)).to_numpy()]
    hashed = mix(hashable(column))
    if column.null_count:
        hashed[column.is_null().to_numpy()] = NULL
    return hashed


def hashable(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """(rows,) uint64 that are equal where the values of a column that holds no text are; nulls are anything."""
    if column.type == pa.timestamp("us"):
        column = column.cast(pa.int64())
    if column.type == pa.float64():
        return (column.to_numpy() + 0.0).view(np.uint64)
    whole = column.cast(pa.int64()).fill_null(0).to_numpy()
    bits = whole.astype(np.float64).view(np.uint64)
    large = (whole > EXACT) | (whole < -EXACT)
    return np.where(large, whole.view(np.uint64), bits) if large.any() else bits

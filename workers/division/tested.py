"""Rows known by their ids: which of them earlier versions were tested on, whatever type an id was read as."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainhouse_loader.mixing import SEED, Hashes, mix
from workers.context import Context
from workers.table.repeats import NULL, value_hashes

WHOLE = r"^[+-]?[0-9]+(\.0*)?$"
DECIMAL = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
PLAIN = (r"^\+?(-?)0*([0-9]+?)(\.0*)?$", r"\1\2")
MOST_DIGITS = 18
MOST_ROWS_OF_AN_ID, MOST_SHARE_OF_AN_ID = 10, 0.01
UNIQUE_SHARE = 0.9


def keys(table: pa.Table) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """((rows,) hash of the values of all columns, (rows,) whether any of them is there).

    The order of the columns does not matter, and `7`, `7.0`, `"7"` and `"007"` are one value.
    """
    mixed = np.full(table.num_rows, SEED, dtype=np.uint64)
    known = np.zeros(table.num_rows, dtype=bool)
    for name in sorted(table.column_names):
        column = table.column(name)
        mixed = mix(mixed ^ hashes(column))
        known |= pc.is_valid(column).to_numpy()
    return mixed, known


def hashes(column: pa.ChunkedArray) -> Hashes:
    """(rows,) A hash of each value of a canonical column; numbers written as text are numbers."""
    if column.type != pa.large_string():
        return value_hashes(column)
    codes = column.combine_chunks().dictionary_encode()
    known = np.append(_word_hashes(pc.utf8_trim_whitespace(codes.dictionary)), NULL)
    return known[codes.indices.fill_null(len(known) - 1).to_numpy()]


def _word_hashes(words: pa.Array) -> Hashes:
    found = np.empty(len(words), dtype=np.uint64)
    plain = pc.replace_substring_regex(words, *PLAIN)
    whole = pc.match_substring_regex(words, WHOLE).to_numpy(zero_copy_only=False)
    whole = whole & (pc.utf8_length(plain).to_numpy() <= MOST_DIGITS)
    decimal = pc.match_substring_regex(words, DECIMAL).to_numpy(zero_copy_only=False) & ~whole
    for chosen, source, kind in ((whole, plain, pa.int64()), (decimal, words, pa.float64())):
        if chosen.any():
            found[chosen] = value_hashes(pa.chunked_array([source.filter(pa.array(chosen)).cast(kind)]))
    rest = ~whole & ~decimal
    left = np.asarray(words.filter(pa.array(rest)).to_numpy(zero_copy_only=False), dtype=object)
    found[rest] = pd.util.hash_array(left, categorize=False)
    return found


def identify(found: Hashes, known: npt.NDArray[np.bool_], *, once: bool) -> bool:
    """Whether keys stand for rows: no key for more than 1 % of them (or 10), and with `once` hardly any for two."""
    if not known.any():
        return False
    counts = np.unique(found[known], return_counts=True)[1]
    if once:
        return bool(len(counts) >= UNIQUE_SHARE * known.sum())
    return bool(counts.max() <= max(MOST_ROWS_OF_AN_ID, MOST_SHARE_OF_AN_ID * len(found)))


def earlier(ctx: Context) -> Hashes:
    """Sorted keys of the rows that earlier versions were tested on.

    Raises:
        StoreUnavailable, DigestMismatch
    """
    columns = [pq.read_table(ctx.workspace.fetch(blob), columns=["key"]).column("key") for blob in ctx.tested]
    return np.unique(np.concatenate([column.to_numpy() for column in columns])) if columns else np.empty(0, np.uint64)


def among(found: Hashes, known: npt.NDArray[np.bool_], past: Hashes) -> npt.NDArray[np.bool_]:
    """(rows,) True where a row's key is in the sorted keys `past`."""
    if not len(past):
        return np.zeros(len(found), dtype=bool)
    place = np.minimum(np.searchsorted(past, found), len(past) - 1)
    return (past[place] == found) & known


def write(found: Hashes, path: Path) -> None:
    """Writes the keys as the artifact `tested`: one column `key`, sorted and unique."""
    table = pa.table({"key": pa.array(np.unique(found), pa.uint64())})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def columns(id_columns: Sequence[str], present: Sequence[str]) -> list[str]:
    """The id columns that the table has."""
    return [name for name in dict.fromkeys(id_columns) if name in present]

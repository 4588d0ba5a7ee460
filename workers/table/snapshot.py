"""The snapshot: the canonical table that a job learns from, its digest, and how later stages read it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainhouse_loader.reading.arrow import TYPE_NAMES


def data_digest(table: pa.Table) -> str:
    """`sha256:…` over the names, types and values of a canonical table, in order; chunks do not matter."""
    whole = hashlib.sha256(f"trainhouse-table-1:{table.num_rows}:{table.num_columns}".encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        label = name.encode()
        whole.update(len(label).to_bytes(8, "little") + label + TYPE_NAMES[column.type].encode())
        whole.update(_column_digest(column))
    return "sha256:" + whole.hexdigest()


def _column_digest(column: pa.ChunkedArray) -> bytes:
    """The digest of a column's nulls and values."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    state = hashlib.sha256()
    if array.null_count:
        state.update(np.packbits(array.is_null().to_numpy(zero_copy_only=False)).data)
    if TYPE_NAMES[array.type] == "text":
        _hash_text(state, array)
        return state.digest()
    zero = pa.scalar(0, pa.int64()).cast(array.type)
    filled = array.fill_null(zero) if array.null_count else array
    values = filled.to_numpy(zero_copy_only=False)
    state.update(
        (np.packbits(values) if array.type == pa.bool_() else np.ascontiguousarray(values).view(np.uint8)).data
    )
    return state.digest()


def _hash_text(state: "hashlib._Hash", array: pa.Array) -> None:
    """Adds the lengths and the bytes of a text array; nulls count as empty."""
    filled = array.cast(pa.large_string()).fill_null("")
    count = len(filled)
    offsets = np.frombuffer(filled.buffers()[1], dtype=np.int64)[filled.offset : filled.offset + count + 1]
    if count:
        state.update((offsets - offsets[0]).view(np.uint8).data)
    data = filled.buffers()[2]
    if count and data is not None:
        state.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])


def write(table: pa.Table, path: Path) -> None:
    """Writes a canonical table as Parquet; the same table gives the same bytes."""
    # A dictionary of numbers that hardly repeat costs three times the writing and saves nothing.
    words = [field.name for field in table.schema if TYPE_NAMES[field.type] == "text"]
    pq.write_table(
        table.replace_schema_metadata(None), path, compression="lz4", use_dictionary=words or False,
        row_group_size=131_072,
    )  # fmt: skip


def read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The snapshot at `path`, or some of its columns, in the order asked for."""
    file = pq.ParquetFile(path, memory_map=True)
    table = file.read(columns=None if columns is None else list(columns), use_threads=False)
    return table if columns is None else table.select(list(columns))


def taken(path: Path, columns: Sequence[str], wanted: npt.NDArray[np.int64]) -> pa.Table:
    """Some columns of the rows at the positions `wanted`; no more than one column is in memory whole."""
    held = pa.array(wanted)
    return pa.table({name: read(path, [name]).column(name).take(held) for name in columns})


def rows(table: pa.Table, wanted: npt.NDArray[np.int64]) -> pa.Table:
    """The rows of `table` at the ascending positions `wanted`; `table` itself where these are all."""
    return table if len(wanted) == table.num_rows else table.take(pa.array(wanted))


def names(path: Path) -> list[str]:
    """The column names of the snapshot at `path`."""
    return list(pq.read_schema(path).names)


def frame(table: pa.Table) -> pd.DataFrame:
    """A canonical table as pandas: whole numbers with nulls become float64, text becomes `str`."""
    return table.to_pandas(use_threads=False, split_blocks=True, date_as_object=False)

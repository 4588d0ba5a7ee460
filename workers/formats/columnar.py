"""Parquet and Arrow: what a file declares is checked before its pages are read."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from app.errors import InvalidData, bounded
from app.spec.base import MAX_COLUMNS
from workers.formats.limits import Limits
from workers.formats.names import require_known
from workers.table.canonical import column_names

MAX_GROUPS = 100_000


def read_parquet(path: Path, columns: Sequence[str] | None, *, threads: int, limits: Limits) -> pa.Table:
    """The Parquet file at `path`, or its `columns`.

    Raises:
        InvalidData: `not_a_parquet`, `too_large`, `too_many_columns`, `duplicate_columns`, `unknown_column`.
    """
    try:
        file = _opened(path)
        chosen = _leaves(file, columns)
        declared = 0
        for index in range(file.num_row_groups):
            group = file.metadata.row_group(index)
            if group.num_rows < 0 or group.total_byte_size < 0:
                raise pa.ArrowInvalid("a row group declares a negative size")
            declared += group.total_byte_size
        if columns is None and declared > limits.expanded_bytes:
            raise InvalidData(f"The Parquet file declares {declared:,} bytes.", code="too_large",
                              hint="Split it, or leave columns out with `columns`.")  # fmt: skip
        table = file.read(columns=chosen, use_threads=threads > 1)
        # "a.b" as a column's name also fits a column "a" with a part "b"
        return table if chosen is None else table.select(chosen)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(error) from None


def byte_ranges(path: Path, columns: Sequence[str], *, size: int) -> list[tuple[int, int]]:
    """(offset, length) of the chunks that hold `columns`, as the footer of a Parquet file of `size` bytes says.

    Raises:
        InvalidData: as `read_parquet`.
    """
    try:
        file = _opened(path)
        wanted = set(_leaves(file, columns) or [])
        found = []
        for index in range(file.num_row_groups):
            group = file.metadata.row_group(index)
            for leaf in range(group.num_columns):
                chunk = group.column(leaf)
                if any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(name + ".") for name in wanted):
                    start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
                    found.append((start, chunk.total_compressed_size))
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(error) from None
    if any(start < 0 or length < 0 or start + length > size for start, length in found):
        raise _broken("a column lies outside the file")
    return found


def _opened(path: Path) -> pq.ParquetFile:
    # Spark's and Hive's INT96 reaches from the year 1 to 9999; read as nanoseconds, years from 2262 on would wrap around.
    file = pq.ParquetFile(path, arrow_extensions_enabled=False, coerce_int96_timestamp_unit="us")
    if file.num_row_groups > MAX_GROUPS or file.metadata.num_rows < 0:
        raise pa.ArrowInvalid("its row groups are no row groups")
    if len(file.schema_arrow) > MAX_COLUMNS:
        column_names(file.schema_arrow.names)
    return file


def _leaves(file: pq.ParquetFile, columns: Sequence[str] | None) -> list[str] | None:
    """The names by which the file knows `columns`."""
    if columns is None:
        return None
    stored = file.schema_arrow.names
    named = column_names(stored)
    require_known(columns, named)
    return [stored[named.index(name)] for name in columns]


def _broken(error: object) -> InvalidData:
    return InvalidData(f"The file is not readable as Parquet: {bounded(error)}.", code="not_a_parquet",
                       hint="Write it again; its footer or a page is broken.")  # fmt: skip


def read_arrow(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """An Arrow IPC file or stream, or its `columns`; every offset is checked.

    Raises:
        InvalidData: `not_a_arrow`, `unknown_column`, `duplicate_columns`.
    """
    try:
        with pa.memory_map(str(path)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            table = (ipc.open_file(source) if is_file else ipc.open_stream(source)).read_all()
            if columns is not None:
                named = column_names(table.column_names)
                require_known(columns, named)
                table = table.select([named.index(name) for name in columns])
            table.validate(full=True)
            return table
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidData(f"The file is not readable as Arrow: {bounded(error)}.", code="not_a_arrow",
                          hint="Write it again; its footer or a buffer is broken.") from None  # fmt: skip

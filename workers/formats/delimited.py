"""CSV: every cell is read as text, so that types are decided in one place for all sources."""

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from app.errors import InvalidData, Violation, bounded
from workers.canonical import column_names
from workers.formats.names import require_known

BLOCK_BYTES = 16 * 1024**2
SHOWN_ROWS = 10
DELIMITERS = ",;\t|"


def read_csv(path: Path, columns: Sequence[str] | None = None, *, threads: int = 1) -> pa.Table:
    """The CSV file at `path`, header first, or its `columns`, as a table of text; empty cells are null.

    Raises:
        InvalidData: `ragged_csv` with line numbers, `not_utf8` with the byte's offset, `nul_character`,
            `duplicate_columns`, `no_rows`, `unclosed_quote`, `not_a_csv`.
    """
    delimiter, names = _header(path)
    names = column_names(names)
    if columns is not None:
        require_known(columns, names)
    try:
        table = _parsed(path, delimiter, names, columns=columns, threads=threads)
    except pa.ArrowInvalid as error:
        raise _fault(path, delimiter, names, error) from None
    if table.num_rows and any("\n" in (column[-1].as_py() or "") for column in table.columns) and _quotes(path) % 2:
        raise InvalidData("A quote is opened and never closed: it swallows the rest of the file.", code="unclosed_quote",
                          hint="Close it, or double quotes that are part of a value.")  # fmt: skip
    return table


def _quotes(path: Path) -> int:
    """How many quotes the file holds."""
    with path.open("rb") as file:
        return sum(chunk.count(b'"') for chunk in iter(lambda: file.read(1 << 20), b""))


def _header(path: Path) -> tuple[str, list[str]]:
    """The delimiter, and the names in the first line."""
    with path.open("rb") as file:
        line = file.readline(BLOCK_BYTES)
        has_more = bool(file.read(1))
    offset = first_bad_byte(path) if not _is_utf8(line) else None
    if offset is not None:
        raise _not_utf8(path, offset)
    if b"\x00" in line:
        raise InvalidData(
            "The header holds a NUL character.", code="nul_character", hint="Remove U+0000 from the file."
        )
    text = line.decode().removeprefix("\ufeff").rstrip("\r\n")
    if not text.strip():
        raise InvalidData("The first line is empty; it must name the columns.", code="not_a_csv")
    if not has_more:
        raise InvalidData("The file holds a header and no rows.", code="no_rows", hint="A header alone is no data.")
    bare = re.sub(r'"[^"]*"', "", text)
    delimiter = max(DELIMITERS, key=lambda sign: (bare.count(sign), sign == ","))
    reader = csv.open_csv(path, read_options=csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False, autogenerate_column_names=True),
                          parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=lambda _row: "skip"),
                          convert_options=csv.ConvertOptions(check_utf8=False, default_column_type=pa.binary()))  # fmt: skip
    first = reader.read_next_batch().slice(0, 1)
    reader.close()
    return delimiter, [(column[0].as_py() or b"").decode().removeprefix("\ufeff") for column in first.columns]


def _parsed(path: Path, delimiter: str, names: list[str], *, columns: Sequence[str] | None, threads: int) -> pa.Table:
    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(
            use_threads=threads > 1, block_size=BLOCK_BYTES, column_names=names, skip_rows_after_names=1
        ),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()),
            strings_can_be_null=True,
            null_values=[""],
            include_columns=list(columns or []),
        ),
    )


def _fault(path: Path, delimiter: str, names: list[str], error: pa.ArrowInvalid) -> InvalidData:
    """The reason why the file at `path` is not a table."""
    offset = first_bad_byte(path)
    if offset is not None:
        return _not_utf8(path, offset)
    ragged: list[csv.InvalidRow] = []

    def noted(row: csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    try:
        csv.read_csv(
            path,
            read_options=csv.ReadOptions(
                use_threads=False, block_size=BLOCK_BYTES, column_names=names, skip_rows_after_names=1
            ),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=noted),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string())),
        )
    except pa.ArrowInvalid as again:
        error = again
    if not ragged:
        return InvalidData(f"The file is not readable as CSV: {bounded(error)}.", code="not_a_csv",
                           hint="Look for a quote that is never closed, or a cell beyond 16 MB.")  # fmt: skip
    faults = [
        Violation(pointer=f"/rows/{row.number}", code="ragged_csv",
                  message=f"Row {row.number} has {row.actual_columns} cells, the header has {row.expected_columns}.")
        for row in ragged[:SHOWN_ROWS]
    ]  # fmt: skip
    return InvalidData(f"{len(ragged):,} rows do not have {len(names)} cells; the first is line {ragged[0].number}.",
                       code="ragged_csv", hint="Quote cells that hold the delimiter.", violations=faults)  # fmt: skip


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def first_bad_byte(path: Path) -> int | None:
    """The offset of the first byte that is no UTF-8, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    start = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return start - pending + error.start
            start += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return start - len(decoder.getstate()[0]) + error.start
    return None


def _not_utf8(path: Path, offset: int) -> InvalidData:
    with path.open("rb") as file:
        line = file.read(offset).count(b"\n") + 1
    return InvalidData(f"The file is not UTF-8: byte {offset:,} (line {line:,}) cannot be read.", code="not_utf8",
                       hint="Save the file as UTF-8.")  # fmt: skip

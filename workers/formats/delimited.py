"""CSV: every cell is read as text and typed block by block, so that types are decided in one place for all sources."""

import codecs
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from app.errors import InvalidData, Violation
from app.spec.base import MAX_COLUMNS
from workers.formats.names import require_known
from workers.table.canonical import column_names
from workers.table.written import Growing

BLOCK_BYTES, LARGE_BLOCK_BYTES = 4 * 1024**2, 32 * 1024**2
"""A row is no longer than a block; where one is, the large ones are taken."""
RELEASE_BLOCKS = 8
LONG_ROW = "straddling object"
"""What Arrow says of a row that is longer than a block."""
SHOWN_ROWS = 10
DELIMITERS = ",;\t|"


def read_csv(path: Path, columns: Sequence[str] | None = None, *, as_text: Collection[str] = ()) -> pa.Table:
    """The CSV file at `path`, header first, or its `columns`, as a canonical table; empty cells are null.

    Args:
        as_text: Columns that stay as they are written, whatever they say.

    Raises:
        InvalidData: `ragged_csv` with line numbers, `not_utf8` with the byte's offset, `nul_character`,
            `duplicate_columns`, `too_many_columns`, `no_rows`, `unclosed_quote`, `row_too_long`, `not_a_csv`.
    """
    delimiter, names = _header(path)
    names = column_names(names)
    if columns is not None:
        require_known(columns, names)
    wanted = names if columns is None else list(columns)
    try:
        growing, last = _read(path, delimiter, names, wanted=wanted, as_text=as_text)
    except pa.ArrowInvalid as error:
        raise _fault(path, delimiter, names, str(error)) from None
    except InvalidData as error:
        offset = first_bad_byte(path) if error.stable_code == "not_utf8" else None
        raise error if offset is None else _not_utf8(path, offset) from None
    if any("\n" in (cell or "") for cell in last) and _quotes(path) % 2:
        raise _unclosed()
    return pa.table({name: growing[name].column() for name in wanted})


def _read(
    path: Path, delimiter: str, names: list[str], *, wanted: Sequence[str], as_text: Collection[str]
) -> tuple[dict[str, Growing], list[str | None]]:
    """The columns `wanted`, and the last row; read once more where a row is long, and where a type proved wrong."""

    def fresh() -> dict[str, Growing]:
        return {name: Growing(name, as_text=name in as_text) for name in wanted}

    block = BLOCK_BYTES
    try:
        growing, last = _grown(path, delimiter, names, wanted=fresh(), block=block)
    except pa.ArrowInvalid as error:
        if LONG_ROW not in str(error):
            raise
        block = LARGE_BLOCK_BYTES
        growing, last = _grown(path, delimiter, names, wanted=fresh(), block=block)
    again = {name: Growing(name, as_text=True) for name, each in growing.items() if each.failed}
    if again:
        growing |= _grown(path, delimiter, names, wanted=again, block=block)[0]
    return growing, last


def _grown(
    path: Path, delimiter: str, names: list[str], *, wanted: dict[str, Growing], block: int
) -> tuple[dict[str, Growing], list[str | None]]:
    """`wanted`, grown by every row; and the last row."""
    last: list[str | None] = []
    with csv.open_csv(
        path,
        read_options=csv.ReadOptions(
            use_threads=False, block_size=block, column_names=names, skip_rows_after_names=1
        ),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=True, null_values=[""],
            include_columns=list(wanted), check_utf8=False,  # words are checked where they are kept
        ),
    ) as reader:  # fmt: skip
        for number, batch in enumerate(reader):
            for column, each in zip(batch.columns, wanted.values(), strict=True):
                each.add(column)
            if number % RELEASE_BLOCKS == 0:
                pa.default_memory_pool().release_unused()
            if batch.num_rows:
                last = [column[-1].as_py() for column in batch.columns]
    return wanted, last


def _header(path: Path) -> tuple[str, list[str]]:
    """The delimiter, and the names in the first row."""
    with path.open("rb") as file:
        row = file.readline(BLOCK_BYTES)
        while row.count(b'"') % 2 and len(row) < BLOCK_BYTES and (more := file.readline(BLOCK_BYTES)):
            row += more
        has_more = bool(file.read(1))
    if not has_more and b"\r" in row.rstrip(b"\r\n"):  # the line ends of old Macintoshes
        row, has_more = row.partition(b"\r")[0], True
    try:
        text = row.decode().removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError:
        raise _not_utf8(path, first_bad_byte(path) or 0) from None
    if "\x00" in text:
        raise InvalidData(
            "The header holds a NUL character.", code="nul_character", hint="Remove U+0000 from the file."
        )
    if not text.strip():
        raise InvalidData("The first line is empty; it must name the columns.", code="not_a_csv",
                          hint="Begin the file with a line of column names.")  # fmt: skip
    if not has_more and row.count(b'"') % 2 == 0:
        raise InvalidData("The file holds a header and no rows.", code="no_rows", hint="A header alone is no data.")
    bare = re.sub(r'"[^"]*"', "", text)
    delimiter = max(DELIMITERS, key=lambda sign: (bare.count(sign), sign == ","))
    if bare.count(delimiter) >= MAX_COLUMNS:
        column_names([""] * (bare.count(delimiter) + 1))
    return delimiter, _cells(text, delimiter)


def _cells(row: str, delimiter: str) -> list[str]:
    """The cells of one row of CSV."""
    try:
        table = csv.read_csv(
            pa.BufferReader(row.encode() + b"\n"),
            read_options=csv.ReadOptions(use_threads=False, autogenerate_column_names=True),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(default_column_type=pa.string(), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        raise _unclosed() from None
    return [column[0].as_py() for column in table.columns]


def _fault(path: Path, delimiter: str, names: list[str], error: str) -> InvalidData:
    """The reason why the file at `path` is not a table; the reader's own words may quote cells, so they are not told."""
    offset = first_bad_byte(path)
    if offset is not None:
        return _not_utf8(path, offset)
    open_quote = _quotes(path) % 2 == 1
    count, ragged = _ragged(path, delimiter, names)
    if open_quote and (not ragged or "\n" in ragged[-1].text):
        return _unclosed(ragged[-1].number if ragged else None)
    if ragged:
        faults = [
            Violation(pointer=f"/rows/{row.number}", code="ragged_csv", hint="Quote cells that hold the delimiter.",
                      message=f"Row {row.number} has {row.actual_columns} cells, the header has {row.expected_columns}.")
            for row in ragged[:SHOWN_ROWS]
        ]  # fmt: skip
        return InvalidData(f"{count:,} rows do not have {len(names)} cells; the first is line {ragged[0].number}.",
                           code="ragged_csv", hint="Quote cells that hold the delimiter.", violations=faults)  # fmt: skip
    if LONG_ROW in error:
        return InvalidData(f"A row is longer than {LARGE_BLOCK_BYTES // 1024**2} MiB.", code="row_too_long",
                           hint="Leave the long text out, or write the table as Parquet.")  # fmt: skip
    return InvalidData("The file is not readable as CSV.", code="not_a_csv",
                       hint="Look for quotes that do not belong where they stand.")  # fmt: skip


def _ragged(path: Path, delimiter: str, names: list[str]) -> tuple[int, list[csv.InvalidRow]]:
    """How many rows have another number of cells than the header, the first few of them, and the last."""
    count = 0
    found: list[csv.InvalidRow] = []

    def noted(row: csv.InvalidRow) -> str:
        nonlocal count
        count += 1
        del found[SHOWN_ROWS:]
        found.append(row)
        return "skip"

    try:
        with csv.open_csv(
            path,
            read_options=csv.ReadOptions(
                use_threads=False, block_size=LARGE_BLOCK_BYTES, column_names=names, skip_rows_after_names=1
            ),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=noted),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()), include_columns=names[:1]
            ),
        ) as reader:
            for _batch in reader:
                continue
    except pa.ArrowInvalid:
        return count, found  # as far as it can be read
    return count, found


def _quotes(path: Path) -> int:
    """How many quotes the file holds."""
    with path.open("rb") as file:
        return sum(chunk.count(b'"') for chunk in iter(lambda: file.read(1 << 20), b""))


def _unclosed(row: int | None = None) -> InvalidData:
    where = f" in row {row:,}" if row is not None else ""
    return InvalidData(f"A quote is opened{where} and never closed: it swallows the rest of the file.",
                       code="unclosed_quote", hint="Close it, or double quotes that are part of a value.")  # fmt: skip


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

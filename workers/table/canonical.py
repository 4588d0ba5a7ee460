"""One meaning, one type: whatever file or engine a table came from, equal content becomes equal columns.

The rules, for every source alike:

- whole numbers of any width, decimals and floats without a fraction (below 2^53) become int64, other numbers float64;
  NaN is null, -0.0 is 0, and a float32 counts as the decimal number that it is written as;
- text whose every value is a number, `true`/`false`, or an ISO date or time becomes that type, because a CSV file
  could not have said it otherwise; digits after a leading zero (`01234`) stay text;
- `""` is null; `NA`, `NaN`, `null` and their kin are null beside numbers, booleans and times, and words beside words;
- dates and times of any unit and zone become timestamp[us] in UTC; a date is its midnight; those beyond the years 1 to
  9999, such as `infinity`, are null;
- dictionaries become their values; lists and records become JSON text; a column of nulls becomes float64.
"""

from collections.abc import Callable, Collection

import pyarrow as pa
import pyarrow.compute as pc

from app.errors import InvalidData, Violation, bounded
from app.spec.base import MAX_COLUMNS
from trainhouse_loader.reading import arrow
from trainhouse_loader.reading.nested import nested_text
from workers.table.written import Growing


def canonical(table: pa.Table, *, as_text: Collection[str] = ()) -> pa.Table:
    """`table` with canonical names and types; the same rows in the same order.

    Args:
        as_text: Columns whose text stays text, whatever it says.

    Raises:
        InvalidData: `duplicate_columns`, `too_many_columns`, `nul_character`, `not_utf8`, `unsupported_type`.
    """
    names = column_names(table.column_names)
    if not names:
        return table
    given = table.columns[::-1]
    del table  # each column goes as soon as it is converted, where nobody else holds the table
    return pa.table([canonical_column(given.pop(), name, as_text=name in as_text) for name in names], names=names)


def column_names(names: list[str]) -> list[str]:
    """`names`, checked; an empty name becomes `column_<position>`.

    Raises:
        InvalidData: `duplicate_columns`, `too_many_columns`, `nul_character`.
    """
    if len(names) > MAX_COLUMNS:
        raise InvalidData(f"The table has {len(names):,} columns; at most {MAX_COLUMNS:,} are allowed.",
                          code="too_many_columns", hint="Take the columns that matter with features.sql.")  # fmt: skip
    named = [name or f"column_{index + 1}" for index, name in enumerate(names)]
    seen: dict[str, int] = {}
    twice = []
    for index, name in enumerate(named):
        if "\x00" in name:
            raise InvalidData(f"The name of column {index + 1} holds a NUL character.", code="nul_character")
        if name in seen:
            twice.append(Violation(pointer=f"/columns/{index}", code="duplicate_columns",
                                   message=f"Columns {seen[name] + 1} and {index + 1} are both named {bounded(name)!r}."))  # fmt: skip
        seen.setdefault(name, index)
    if twice:
        shown = ", ".join(repr(bounded(named[int(fault.pointer.rsplit("/", 1)[1])])) for fault in twice[:5])
        raise InvalidData(f"Column names appear more than once: {shown}.", code="duplicate_columns",
                          hint="Give every column its own name.", violations=twice[:50])  # fmt: skip
    return named


def canonical_column(column: pa.ChunkedArray, name: str, *, as_text: bool = False) -> pa.ChunkedArray:
    """`column` as int64, float64, bool, timestamp[us] or string.

    Raises:
        InvalidData: `nul_character`, `not_utf8`, `unsupported_type`.
    """
    if isinstance(column.type, pa.UuidType):
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        column = pa.chunked_array([pa.array(texts, pa.large_string())])
    if isinstance(column.type, pa.BaseExtensionType):
        raise InvalidData(f"Column {bounded(name)!r} has the extension type {bounded(column.type)}.",
                          code="unsupported_type", hint="Store it as a plain number, text or time.")  # fmt: skip
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if as_text and (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return _grown(column, Growing(name, as_text=True))
    for fits, convert in CONVERTERS:
        if fits(column.type):
            found = convert(column, name)
            return arrow.without_type(found) if found.null_count == len(found) else found
    raise InvalidData(f"Column {bounded(name)!r} has the type {bounded(column.type)}, which is not supported.",
                      code="unsupported_type", hint="Store it as a number, text or time.")  # fmt: skip


def _clock(column: pa.ChunkedArray, _name: str) -> pa.ChunkedArray:
    """Times of day as text, without zeros behind the seconds."""
    return trimmed_clock(column.cast(pa.string()).cast(pa.large_string()))


def trimmed_clock(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """`12:30:00.500000` as `12:30:00.5`, `12:30:00.000` as `12:30:00`: engines differ in how many digits they write."""
    return pc.replace_substring_regex(text, r"(\.[0-9]*[1-9])0+$|\.0+$", r"\1")


def _duration(column: pa.ChunkedArray, _name: str) -> pa.ChunkedArray:
    """Durations as seconds."""
    unit = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    return arrow.floating(pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), unit))


def _binary(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Bytes as the UTF-8 text they must be."""
    try:
        return _text(column.cast(pa.large_binary()).cast(pa.large_string()), name)
    except pa.ArrowInvalid:
        raise InvalidData(f"Column {bounded(name)!r} holds bytes that are not UTF-8 text.", code="not_utf8",
                          hint="Exclude the column, or store it as text.") from None  # fmt: skip


def _nested(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Lists and records as JSON text; keys without a value are left out."""
    texts = [None if value is None else nested_text(value) for value in column.to_pylist()]
    return _text(pa.chunked_array([pa.array(texts, pa.large_string())]), name)


def _text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Text as the numbers, booleans or times that every value of it says; otherwise text without `""`."""
    whole = Growing(name)
    found = _grown(column, whole)
    # What was read before it failed must be read again, as text.
    return _grown(column, Growing(name, as_text=True)) if whole.failed else found


def _grown(column: pa.ChunkedArray, whole: Growing) -> pa.ChunkedArray:
    for chunk in column.chunks:
        whole.add(chunk)
    return whole.column() if not whole.failed else column


is_type = pa.types
CONVERTERS: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray, str], pa.ChunkedArray]]] = [
    *((fits, lambda column, _name, convert=convert: convert(column)) for fits, convert in arrow.CONVERTERS),
    (is_type.is_time, _clock),
    (is_type.is_duration, _duration),
    (lambda kind: is_type.is_string(kind) or is_type.is_large_string(kind) or is_type.is_string_view(kind), _text),
    (lambda kind: is_type.is_binary(kind) or is_type.is_large_binary(kind) or is_type.is_fixed_size_binary(kind)
     or is_type.is_binary_view(kind), _binary),
    (is_type.is_nested, _nested),
]  # fmt: skip

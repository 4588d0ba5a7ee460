"""Columns of Arrow that hold no text, in canonical types: whole numbers, other numbers, truths, and times in UTC."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

TIME = pa.timestamp("us")
TYPE_NAMES = {
    pa.int64(): "int", pa.float64(): "float", pa.bool_(): "bool", TIME: "timestamp",
    pa.large_string(): "text", pa.string(): "text",
}  # fmt: skip
"""What the types of a canonical table are called."""

EXACT_WHOLE = 2.0**53


def real(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Floats (float64) as int64 where none has a fraction, otherwise float64 without NaN and -0.0."""
    values = np.asarray(column.to_numpy())  # nulls arrive as NaN
    unknown = np.isnan(values)
    mask = unknown if unknown.any() else None
    known = values if mask is None else values[~unknown]
    if known.size and _are_whole(known[:1_000]) and _are_whole(known):
        filled = values if mask is None else np.where(unknown, 0.0, values)
        return pa.chunked_array([pa.array(filled.astype(np.int64), mask=mask)])
    return pa.chunked_array([pa.array(values + 0.0, mask=mask)])


def _are_whole(values: npt.NDArray[np.float64]) -> bool:
    return bool(np.abs(values).max() <= EXACT_WHOLE and (values == np.rint(values)).all())


def without_type(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """As many nulls, typed float64."""
    return pa.chunked_array([pa.nulls(len(column), pa.float64())])


def whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers as int64; as float64 where one is beyond it."""
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column.cast(pa.float64(), safe=False)


def floating(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Floats as int64 where none has a fraction, otherwise float64 without NaN."""
    if column.type != pa.float64():
        column = column.cast(pa.string()).cast(pa.float64())
    return real(column)


def decimal(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimals as the numbers that their text says."""
    text = column.cast(pa.string())
    try:
        return text.cast(pa.int64())
    except pa.ArrowInvalid:
        return real(text.cast(pa.float64()))


def time(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times of any unit and zone in UTC microseconds."""
    if getattr(column.type, "tz", None) is not None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC")).cast(pa.timestamp(column.type.unit))
    return column.cast(TIME, safe=False)


def date(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates as their midnight in UTC."""
    return column.cast(pa.date32()).cast(TIME)


CONVERTERS: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray], pa.ChunkedArray]]] = [
    (pa.types.is_null, without_type),
    (pa.types.is_boolean, lambda column: column),
    (pa.types.is_integer, whole),
    (pa.types.is_floating, floating),
    (pa.types.is_decimal, decimal),
    (pa.types.is_timestamp, time),
    (pa.types.is_date, date),
]


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """`column` as int64, float64, bool or timestamp[us]; float64 where all is null.

    Raises:
        TypeError: it holds anything else.
    """
    for fits, convert in CONVERTERS:
        if fits(column.type):
            found = convert(column)
            return without_type(found) if found.null_count == len(found) else found
    raise TypeError(f"{column.type} is no plain type")

"""Columns of Arrow that hold no text, in canonical types: whole numbers, other numbers, truths, and times in UTC."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TIME = pa.timestamp("us")
TYPE_NAMES = {
    pa.int64(): "int", pa.float64(): "float", pa.bool_(): "bool", TIME: "timestamp",
    pa.large_string(): "text",
}  # fmt: skip
"""What the types of a canonical table are called."""

EXACT_WHOLE = 2.0**53
DAYS = (-719_162, 2_932_896)
"""Of the years 1 to 9999, which are all that ISO 8601, Python and most databases know, the first and the last."""
YEARS = {
    unit: (max(DAYS[0] * 86_400 * each, -(2**63)), min((DAYS[1] + 1) * 86_400 * each - 1, 2**63 - 1))
    for unit, each in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
}
"""By unit, the first and the last moment of those."""


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
    """Times of any unit and zone in UTC microseconds; none where one is no time of the years 1 to 9999, as `infinity`."""
    unit = column.type.unit
    if getattr(column.type, "tz", None) is not None:
        column = column.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit))
    return _in_range(column, pa.int64(), *YEARS[unit]).cast(TIME, safe=False)


def date(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates as their midnight in UTC; none as for times."""
    return _in_range(column.cast(pa.date32()), pa.int32(), *DAYS).cast(TIME)


def _in_range(column: pa.ChunkedArray, counted: pa.DataType, first: int, last: int) -> pa.ChunkedArray:
    """`column` with nulls for what, counted from 1970, lies before `first` or after `last`."""
    counts = column.cast(counted)
    ends = pc.min_max(counts).as_py()
    if ends["min"] is None or (ends["min"] >= first and ends["max"] <= last):
        return column
    inside = pc.and_(pc.greater_equal(counts, first), pc.less_equal(counts, last))
    return pc.if_else(inside, column, pa.scalar(None, column.type))


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

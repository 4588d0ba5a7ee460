"""Loosely typed values as what training saw: the same meaning gives the same number or label, bit for bit."""

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from trainhouse_loader.reading import readings
from trainhouse_loader.reading.nested import nested_text
from trainhouse_loader.reading.readings import FALSE_WORDS, TRUE_WORDS, Reading

Floats = npt.NDArray[np.float64]
LARGEST_WHOLE = 2.0**63
LARGEST_NUMBER = 1e150
WHOLE = re.compile(r"[+-]?[0-9]{1,19}")


def read(frame: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """`frame` with those of its columns read as their `Reading.document` says: numbers, 0 and 1, or times.

    A column without a reading, and `frame` itself where there are none, stay as they are.
    """
    wanted = {name: document for name, document in columns.items() if name in frame.columns}
    if not wanted:
        return frame
    found = {name: column(frame[name], readings.from_document(document)) for name, document in wanted.items()}
    return frame.assign(**found)


def read_table(table: pa.Table, columns: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """A canonical table with those of its columns read as their `Reading.document` says, as float64 or timestamp[us]."""
    for name, document in columns.items():
        if name in table.column_names:
            series = table.select([name]).to_pandas(use_threads=False)[name]
            found = column(series, readings.from_document(document))
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.chunked_array([pa.array(found, from_pandas=True)]))
    return table


def column(series: pd.Series, reading: Reading) -> pd.Series:
    """The values as `reading` has it: float64, or datetime64[us] for times; missing where a value cannot be read."""
    if reading.kind == "datetime":
        found = _each(series, lambda words: readings.times(words, reading), times,
                      lambda values: readings.counted(values, reading) if reading.dates else np.full(len(values), np.nan))  # fmt: skip
        stamps = np.where(np.isnan(found), np.iinfo(np.int64).min, np.nan_to_num(found)).astype(np.int64)
        return pd.Series(stamps.view("datetime64[us]"), index=series.index)
    words = (lambda words: readings.truths(words, reading.missing)) if reading.kind == "boolean" else (
        lambda words: readings.numbers(words, reading))  # fmt: skip
    return pd.Series(_each(series, words, numbers, lambda values: values), index=series.index)


def _each(
    series: pd.Series,
    of_words: Callable[[Sequence[str]], Floats],
    of_others: Callable[[pd.Series], Floats],
    of_numbers: Callable[[Floats], Floats],
) -> Floats:
    """(rows,) Words by the first rule, each distinct one once; numbers by the last; anything else by the second."""
    if pd.api.types.is_numeric_dtype(series.dtype) and series.dtype != bool:
        return of_numbers(numbers(series))
    if pd.api.types.is_datetime64_any_dtype(series.dtype) or series.dtype == bool:
        return of_others(series)
    codes, distinct = pd.factorize(series, use_na_sentinel=True)
    values = [value.item() if isinstance(value, np.generic) else value for value in distinct.tolist()]
    out = np.full(len(values) + 1, np.nan)
    kinds = np.array(
        [0 if isinstance(value, str) else 2 if _is_number(value) else 1 for value in values], dtype=np.int8
    )
    rules: tuple[Callable[[list[Any]], Floats], ...] = (
        of_words, lambda rest: of_others(pd.Series(rest, dtype=object)),
        lambda rest: of_numbers(numbers(pd.Series(rest, dtype=object))),
    )  # fmt: skip
    for kind, rule in enumerate(rules):
        places = np.flatnonzero(kinds == kind)
        if len(places):
            out[places] = rule([values[place] for place in places])
    return out[codes]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def base_of(series: pd.Series) -> str:
    """What a column of a snapshot holds: `number`, `boolean`, `time` or `text`."""
    if isinstance(series.dtype, pd.BooleanDtype) or series.dtype == bool:
        return "boolean"
    if pd.api.types.is_numeric_dtype(series.dtype):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return "time"
    known = series.dropna()
    return (
        "boolean"
        if len(known) and series.dtype == object and all(isinstance(value, bool) for value in known)
        else "text"
    )


def numbers(series: pd.Series) -> Floats:
    """(rows,) The values as numbers; NaN where there is none, where it is no number, or beyond ±1e150.

    What is larger, and infinity above all, would overflow in the first square that a scaler takes of it.
    """
    found = _reals(series)
    usable = np.abs(found) <= LARGEST_NUMBER
    return found if usable.all() else np.where(usable, found, np.nan)


def _reals(series: pd.Series) -> Floats:
    """(rows,) The values as numbers, infinity too; NaN where there is none."""
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return times(series)
    if pd.api.types.is_numeric_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    return _numbers_of_words(series)


def _numbers_of_words(series: pd.Series) -> Floats:
    """Numbers out of text or mixed values; Arrow reads them, one by one only where a value is no number."""
    if series.dtype != object:
        try:
            return np.asarray(pa.array(series, pa.large_string()).cast(pa.float64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            pass
    return np.array([_number(value) for value in series.tolist()], dtype=np.float64)


def _number(value: Any) -> float:
    if isinstance(value, str):
        word = value.strip()
        if word.lower() in TRUE_WORDS | FALSE_WORDS:
            return float(word.lower() in TRUE_WORDS)
        if "_" in word:
            return math.nan
        value = word
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def labels(series: pd.Series, base: str) -> pd.Series:
    """The values as category labels, `str` with NaN for missing: `5`, `1.5`, `true`, a time, or the text itself."""
    if base == "number":
        return _labels_of_numbers(numbers(series))
    if base == "boolean":
        found = numbers(series)
        return pd.Series(np.where(found > 0, "true", "false"), dtype="str").where(~np.isnan(found))
    if base == "time":
        found = times(series)
        stamps = pd.Series(found).astype("Int64").astype("datetime64[us]")
        return stamps.dt.strftime("%Y-%m-%dT%H:%M:%S").astype("str").where(~np.isnan(found))
    text = series if series.dtype == "str" else pd.Series([_label(value) for value in series.tolist()], dtype="str")
    text = text.reset_index(drop=True)
    return text.where(text != "")


def _labels_of_numbers(values: Floats) -> pd.Series:
    """Distinct numbers are spelled once each."""
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    names = np.array([*(_label(value) for value in distinct.tolist()), None], dtype=object)  # code -1: missing
    return pd.Series(names[codes], dtype="str")


def _label(value: Any) -> str | None:
    """One value as a label; None where it is missing."""
    if isinstance(value, dict | list | tuple | np.ndarray):
        return nested_text(value)
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < LARGEST_WHOLE:
        return str(int(value))
    return str(value)


def times(series: pd.Series) -> Floats:
    """(rows,) Microseconds since 1970 in UTC; NaN where there is no time. Text may be ISO 8601 or what pandas reads."""
    if pd.api.types.is_numeric_dtype(series.dtype):
        return np.full(len(series), np.nan)
    if not pd.api.types.is_datetime64_any_dtype(series.dtype):
        series = pd.Series(
            [value if isinstance(value, str | dt.date) else None for value in series.tolist()], dtype=object
        )
        found = pd.to_datetime(series, utc=True, errors="coerce", format="ISO8601")
        rest = found.isna() & series.notna()
        if rest.any():
            found = found.astype("datetime64[us, UTC]")
            found[rest] = pd.to_datetime(series[rest], utc=True, errors="coerce", format="mixed").astype(
                "datetime64[us, UTC]"
            )
        series = found
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    stamps = series.astype("datetime64[us]").to_numpy()
    return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64).astype(np.float64))


def texts(series: pd.Series) -> list[str]:
    """The values as text; `""` where there is none."""
    return labels(series, "text").fillna("").tolist()


def as_stored(series: pd.Series, kind: str) -> pa.Array:
    """The values as a snapshot holds a column of `kind` (int, float, bool, timestamp, text); null where they are none."""
    array: pa.Array = STORED[kind](series)
    return array


def _stored_whole(series: pd.Series) -> pa.Array:
    if pd.api.types.is_integer_dtype(series.dtype):
        return pa.array(series, from_pandas=True).cast(pa.int64())
    return pa.array([_whole(value) for value in series.tolist()], pa.int64())


def _whole(value: Any) -> int | None:
    """A value as the whole number that it is, exactly; None where it is none or beyond 64 bits."""
    if isinstance(value, str):
        word = value.strip()
        value = int(word) if WHOLE.fullmatch(word) else _number(word)
    elif value is None or value is pd.NA or value is pd.NaT or isinstance(value, dt.date):
        return None
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found == value and -LARGEST_WHOLE <= found < LARGEST_WHOLE else None


def _stored_real(series: pd.Series) -> pa.Array:
    found = _reals(series) + 0.0
    return pa.array(found, mask=np.isnan(found))


def _stored_truth(series: pd.Series) -> pa.Array:
    found = numbers(series)
    return pa.array(found == 1.0, mask=~np.isin(found, (0.0, 1.0)))


def _stored_time(series: pd.Series) -> pa.Array:
    found = times(series)
    gone = np.isnan(found)
    return pa.array(np.where(gone, 0.0, found).astype(np.int64), mask=gone).cast(pa.timestamp("us"))


def _stored_text(series: pd.Series) -> pa.Array:
    return pa.array(labels(series, "text"), pa.large_string(), from_pandas=True)


STORED: dict[str, Callable[[pd.Series], pa.Array]] = {
    "int": _stored_whole, "float": _stored_real, "bool": _stored_truth, "timestamp": _stored_time, "text": _stored_text,
}  # fmt: skip

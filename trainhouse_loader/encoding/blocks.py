"""Kinds of encoding: each turns columns into numbers with the small state that training gave it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trainhouse_loader.encoding import labels, saying, texts
from trainhouse_loader.encoding.labels import MISSING
from trainhouse_loader.reading import coerce

Floats = npt.NDArray[np.float64]
State = dict[str, Any]
DAY_PARTS = ("year", "month", "day", "weekday", "hour", "epoch_seconds")
ROWS_AT_A_TIME = 4_096


def _numbers(frame: pd.DataFrame, block: State, out: Floats) -> None:
    _fill(out, [coerce.numbers(frame[name]) for name in block["columns"]])


def _fill(out: Floats, columns: list[Floats]) -> None:
    """Writes columns into rows; a few rows at a time, because whole columns would miss the cache at every value."""
    for start in range(0, len(out), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        for index, column in enumerate(columns):
            out[rows, index] = column[rows]


def _times(frame: pd.DataFrame, block: State, out: Floats) -> None:
    _fill(out, [part for name in block["columns"] for part in _parts(coerce.times(frame[name]))])


def _parts(micros: Floats) -> list[Floats]:
    """Year, month, day, weekday (Monday 0), hour and seconds since 1970; NaN where there is no time."""
    known = ~np.isnan(micros)
    stamps = pd.DatetimeIndex(np.where(known, micros, 0).astype(np.int64).astype("datetime64[us]"))
    parts = [stamps.year, stamps.month, stamps.day, stamps.day_of_week, stamps.hour]
    return [*(np.where(known, np.asarray(part, np.float64), np.nan) for part in parts), micros / 1e6]


def codes(frame: pd.DataFrame, block: State) -> npt.NDArray[np.int64]:
    """(rows, columns) Place of each label, that of rare ones, MISSING, or UNKNOWN."""
    learned = zip(block["columns"], block["labels"], block["bases"], block["rare"], strict=True)
    found = [labels.codes(frame[name], base, labels.restored(known), rare=rare) for name, known, base, rare in learned]
    return np.column_stack(found)


def _places(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """Codes as numbers; NaN where the label is missing or unknown."""
    learned = zip(block["columns"], block["labels"], block["bases"], block["rare"], strict=True)
    columns = []
    for name, known, base, rare in learned:
        codes = labels.codes(frame[name], base, labels.restored(known), rare=rare)
        column = codes.astype(np.float64)
        column[codes < 0] = np.nan
        columns.append(column)
    _fill(out, columns)


def _one_hot(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """A one for the label; for what is neither known nor has a feature for the others, no one at all."""
    out[:] = 0.0
    found, start = codes(frame, block), 0
    for place, empty in enumerate(block["empty"]):
        own = np.where(found[:, place] == MISSING, empty, found[:, place])
        rows = np.flatnonzero(own >= 0)
        out[rows, start + own[rows]] = 1.0
        start += block["origins"].count(place)


def _target(frame: pd.DataFrame, block: State, out: Floats) -> None:
    out[:] = block["encoder"].transform(codes(frame, block))


def _embedding(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """The directions of a text, and what it says of the target where that was learned."""

    def numbers(counts: Any) -> Floats:
        found = texts.directions(counts, block["learned"])
        return np.hstack([found, saying.scores(counts, block["says"])]) if "says" in block else found

    by_words = block["learned"]["by_words"]
    texts.embed(frame[block["columns"][0]], block["base"], numbers, out, by_words=by_words)


Apply = Callable[[pd.DataFrame, State, Floats], None]
APPLY: dict[str, Apply] = {
    "number": _numbers, "time": _times, "native": _places, "ordinal": _places, "one_hot": _one_hot, "target": _target,
    "embedding": _embedding,
}  # fmt: skip
"""By kind of block, what writes its numbers for the rows of a frame."""

"""Which date formats a column of words is written in; day and month are told apart over the whole column."""

import functools
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainhouse_loader.reading import readings
from trainhouse_loader.reading.readings import DATE_FORMATS, Reading
from workers.table.words import SAMPLE, Found, Words

DATE_LIKE = re.compile(
    r"(?i)(?=.*\d)(?:\d+|jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?"
    r"|nov(ember)?|dec(ember)?|mon|tue|wed|thu|fri|sat|sun|am|pm|gmt|t|z|[ ,:./+-])+"
)


SHAPES = {
    "%d": r"\d{1,2}", "%m": r"\d{1,2}", "%Y": r"\d{4}", "%y": r"\d{2}", "%H": r"\d{1,2}", "%I": r"\d{1,2}", "%M": r"\d{1,2}",
    "%S": r"\d{1,2}", "%f": r"\d{1,9}", "%p": r"[A-Za-z]{2}", "%b": r"[A-Za-z]{3,4}", "%B": r"[A-Za-z]{3,9}", "%a": r"[A-Za-z]{3}",
    "%z": r"(?:Z|[+-]\d{2}:?\d{2}(?::?\d{2})?)",
}  # fmt: skip


def of_dates(words: Words, column: pa.ChunkedArray) -> Found | None:
    """Dates in one format for the whole column, or in few that do not contradict each other."""
    if not all(DATE_LIKE.fullmatch(word.strip()) for word in words.sample):
        return None
    shaped = [name for name in DATE_FORMATS if all(_shape(name).fullmatch(word.strip()) for word in words.sample)]
    formats = [name for name in shaped if _fits(words.sample, name).all()]
    whole = [name for name in formats if _fits(words.words, name).all()]
    if not whole:
        return _mixed_dates(words)
    best, why = _settled(whole, column)
    concern = "ambiguous_dates" if why else None
    return Found("datetime", f"All {words.rows:,} values are dates or times written as {best}{why}", concern, (),
                 Reading("datetime", (), None, "", (best,)))  # fmt: skip


@functools.cache
def _shape(name: str) -> re.Pattern[str]:
    """What words of a format look like: cheaper to ask than the parser, and never narrower than it."""
    parts = re.split(r"(%[A-Za-z])", name)
    return re.compile("".join(SHAPES.get(part, re.escape(part).replace(r"\ ", r"\s+")) for part in parts))


def _fits(words: Sequence[str], name: str) -> npt.NDArray[np.bool_]:
    return ~np.isnan(readings.micros([word.strip() for word in words], name))


def _settled(formats: list[str], column: pa.ChunkedArray) -> tuple[str, str]:
    """(format, doubt): where day and month could change places, the order of the rows decides, else the habit."""
    first = formats[0]
    swapped = [name for name in formats if name != first and _swapped(name) == first]
    if not swapped:
        return first, ""
    written = [word.strip() for word in column.drop_null().to_pylist() if not readings.is_missing(word)]
    breaks = {name: int((np.diff(readings.micros(written, name)) < 0).sum()) for name in (first, swapped[0])}
    low, high = sorted(breaks, key=lambda name: breaks[name])
    if breaks[low] * 2 < breaks[high]:
        return low, "; day and month could change places, but only so do the rows stand in order of time"
    usual = next((name for name in (first, swapped[0]) if name.startswith("%m/" if "/" in first else "%d")), first)
    return usual, f"; every one of them could also be read as {next(name for name in breaks if name != usual)}"


def _swapped(name: str) -> str:
    """The format with day and month changed."""
    return name.replace("%d", "%\0").replace("%m", "%d").replace("%\0", "%m")


def _mixed_dates(words: Words) -> Found | None:
    """Two to four formats that together fit every word; one of day-first and month-first only."""
    rest = list(words.words)
    chosen: list[str] = []
    while rest and len(chosen) < 4:
        sample = rest[:: max(1, len(rest) // SAMPLE)][:SAMPLE]
        allowed = [
            name
            for name in DATE_FORMATS
            if any(_shape(name).fullmatch(word.strip()) for word in sample)
            and (_swapped(name) == name or not any(_clash(name, one) for one in chosen))
        ]
        if not allowed:
            return None
        best = max(allowed, key=lambda name: _fits(sample, name).sum())
        fits = _fits(rest, best)
        if not fits.any():
            return None
        chosen.append(best)
        rest = [word for word, good in zip(rest, fits, strict=True) if not good]
    if rest or len(chosen) < 2:
        return None
    return Found("datetime", f"All {words.rows:,} values are dates in {len(chosen)} formats: {', '.join(chosen)}",
                 "mixed_dates", (), Reading("datetime", (), None, "", tuple(chosen)))  # fmt: skip


def _clash(one: str, other: str) -> bool:
    """Whether two numeric formats put day and month in different order."""
    places = [name.find("%d") < name.find("%m") for name in (one, other) if "%d" in name and "%m" in name]
    return len(places) == 2 and places[0] != places[1] and not any("%Y-%m" in name or "%Y/%m" in name for name in (one, other))  # fmt: skip

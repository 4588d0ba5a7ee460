"""How written words are read: spellings of nothing, of yes and no, of numbers and of dates, one rule for a whole column.

What training found out of a column is a `Reading`; it travels with the model, so that serving reads the same way.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MISSING_WORDS = frozenset({
    "", "?", "??", "-", "--", "---", "–", "—", ".", "..", "...", "*", "n/a", "#n/a", "na", "#na", "n.a.", "n.a", "<na>",
    "nan", "-nan", "null", "(null)", "none", "(none)", "nil", "nat", "unknown", "unk", "missing", "(missing)", "blank",
    "(blank)", "undefined", "not available", "not applicable", "not known", "no data", "tbd", "tba", "#value!",
    "#div/0!", "#ref!",
})  # fmt: skip
TRUE_WORDS, FALSE_WORDS = frozenset({"true", "t", "yes", "y"}), frozenset({"false", "f", "no", "n"})
PAIRS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"})

NUMBER_FORMATS = {
    "1234.5": ("", r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"),
    "1,234.5": (",", r"\d{1,3}(?:,\d{3})*(?:\.\d*)?|\d+(?:\.\d*)?"),
    "1'234.5": ("'’", r"\d{1,3}(?:['’]\d{3})*(?:\.\d*)?|\d+(?:\.\d*)?"),
    "1 234.5": (" \u00a0\u202f", r"\d{1,3}(?:[ \u00a0\u202f]\d{3})*(?:\.\d*)?|\d+(?:\.\d*)?"),
    "1.234,5": (".", r"\d{1,3}(?:\.\d{3})*(?:,\d*)?|\d+(?:,\d*)?"),
    "1 234,5": (" \u00a0\u202f", r"\d{1,3}(?:[ \u00a0\u202f]\d{3})*(?:,\d*)?|\d+(?:,\d*)?"),
}
"""By an example of the format: the signs between thousands, and what the digits look like."""
SIGNS = ("", "%", "$", "€", "£", "¥", "₹", "USD", "EUR", "GBP", "CHF", "JPY")
DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%m.%d.%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y",
        "%m-%d-%y", "%d.%m.%y", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d %b %Y", "%b %d %Y", "%b %d, %Y",
        "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d %B %Y", "%B %d %Y", "%B %d, %Y", "%a, %d %b %Y")  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S %z")
ZONED = ("T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", "T%H:%M:%S%z", "T%H:%M:%S.%f%z")
DATE_FORMATS = (
    *(day + clock for clock in CLOCKS for day in DAYS), *("%Y-%m-%d" + clock for clock in ZONED),
    "%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%Y-%m", "%m/%Y", "%b %Y", "%B %Y", "%H:%M", "%H:%M:%S", "%I:%M %p",
)  # fmt: skip
EPOCHS = {"unix_seconds": 1e6, "unix_milliseconds": 1e3, "unix_microseconds": 1.0, "unix_nanoseconds": 1e-3}
"""Microseconds in one unit of a count since 1970."""
ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")


@dataclass(frozen=True)
class Reading:
    """How the values of one column are read.

    Attributes:
        kind: `numeric`, `boolean` or `datetime`; other kinds are taken as they stand.
        missing: Words, lower case and without blanks around, that stand for no value.
        number: A key of NUMBER_FORMATS, or None for numbers as programs write them.
        sign: A currency or percent sign that may stand beside a number.
        dates: strptime formats, the first that fits a value counts; or one key of EPOCHS.
    """

    kind: str
    missing: tuple[str, ...] = ()
    number: str | None = None
    sign: str = ""
    dates: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The reading as JSON."""
        found = {"kind": self.kind, "missing": list(self.missing), "number": self.number, "sign": self.sign,
                 "dates": list(self.dates)}  # fmt: skip
        return {name: value for name, value in found.items() if value}


def from_document(document: Mapping[str, Any]) -> Reading:
    """What `Reading.document` wrote."""
    return Reading(
        str(document["kind"]), tuple(document.get("missing", ())), document.get("number"), document.get("sign", ""),
        tuple(document.get("dates", ())),
    )  # fmt: skip


def is_missing(word: str) -> bool:
    """Whether a word is one of the usual spellings of no value."""
    return len(word) <= 20 and word.strip().lower() in MISSING_WORDS


def numbers(words: Sequence[str], reading: Reading) -> Floats:
    """(words,) The numbers that the words say; NaN where a word says none."""
    pattern = _pattern(reading.number or "1234.5", reading.sign)
    separators, comma = NUMBER_FORMATS[reading.number or "1234.5"][0], (reading.number or "").endswith(",5")
    drop = str.maketrans({**dict.fromkeys(separators, ""), **({",": "."} if comma else {})})
    missing = set(reading.missing)
    found = np.full(len(words), np.nan)
    for place, word in enumerate(words):
        match = pattern.fullmatch(word.strip())
        if match and word.strip().lower() not in missing:
            value = float(match["digits"].translate(drop))
            found[place] = -value if match["minus"] or match["open"] else value
    return found


def _pattern(number: str, sign: str) -> re.Pattern[str]:
    """A number of one format between blanks, a sign on either side, and a minus or brackets for what is below zero."""
    beside = rf"(?:{re.escape(sign)}\s*)?" if sign else ""
    after = rf"(?:\s*{re.escape(sign)})?" if sign else ""
    return re.compile(rf"(?P<open>\((?=.*\)$))?{beside}(?:(?P<minus>[-−])|\+)?\s*{beside}(?P<digits>{NUMBER_FORMATS[number][1]})"
                      rf"{after}(?(open)\))")  # fmt: skip


def truths(words: Sequence[str], missing: Iterable[str] = ()) -> Floats:
    """(words,) 1 for yes, 0 for no, NaN for anything else."""
    meaning = {**dict.fromkeys(TRUE_WORDS, 1.0), **dict.fromkeys(FALSE_WORDS, 0.0), "1": 1.0, "0": 0.0}
    for word in missing:
        meaning.pop(word, None)
    return np.array([meaning.get(word.strip().lower(), np.nan) for word in words], dtype=np.float64)


def times(words: Sequence[str], reading: Reading) -> Floats:
    """(words,) Microseconds since 1970 in UTC; NaN where no format fits. ISO 8601 is understood beside any format."""
    stripped = [word.strip() for word in words]
    out = np.full(len(words), np.nan)
    for name in (*reading.dates, "ISO8601"):
        rest = np.flatnonzero(np.isnan(out))
        if name == "ISO8601":
            rest = rest[[ISO.fullmatch(stripped[place]) is not None for place in rest]] if len(rest) else rest
        if len(rest) == 0:
            continue
        out[rest] = (
            _counted(np.array([_number(stripped[place]) for place in rest]), name)
            if name in EPOCHS
            else micros([stripped[place] for place in rest], name)
        )
    gone = np.array([word.lower() in set(reading.missing) for word in stripped], dtype=bool)
    return np.where(gone, np.nan, out)


def counted(values: Floats, reading: Reading) -> Floats:
    """(rows,) Microseconds since 1970 out of numbers: counts of seconds and their kin, or dates like 20240131."""
    name = reading.dates[0] if reading.dates else ""
    if name in EPOCHS:
        return _counted(values, name)
    known = np.isfinite(values) & (np.abs(values) < 1e15)
    words = [str(int(value)) if good and value == int(value) else "" for value, good in zip(values, known, strict=True)]
    return times(words, reading)


def _counted(values: Floats, name: str) -> Floats:
    found = np.rint(values * EPOCHS[name])
    return np.where(np.abs(found) < 2.5e17, found, np.nan)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return np.nan


def micros(words: Sequence[str], form: str) -> Floats:
    """(words,) Microseconds since 1970 of words in one strptime format; NaN where it does not fit."""
    parsed = pd.to_datetime(pd.Series(words, dtype="str"), format=form, errors="coerce", utc=True)
    stamps = parsed.dt.tz_localize(None).astype("datetime64[us]").to_numpy()
    return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64).astype(np.float64))

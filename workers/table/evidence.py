"""What the values of a column say of its type: numbers, truth, dates, sentences, categories or identifiers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trainhouse_loader.reading import coerce, readings
from trainhouse_loader.reading.readings import EPOCHS, NUMBER_FORMATS, PAIRS, SIGNS, Reading
from workers.table.dates import of_dates
from workers.table.words import SAMPLE, Found, Words, listed

LEAST_SAMPLED = 0.5
FREE_TEXT_WORDS = 2.0
FREE_TEXT_SHARE = 0.2
FREE_TEXT_DISTINCT = 50
ID_SHARE = 0.99
ID_ROWS = 50
MANY_CATEGORIES = 1_000
MOSTLY_NUMBERS = 0.95
UUID = re.compile(r"\{?[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\}?")
WIDE_SCRIPT = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]"


@dataclass(frozen=True)
class Readable:
    """How many values can be read as a given type, how many mean nothing, and some rows that cannot be read."""

    readable: int
    nothing: int
    missing: tuple[str, ...]
    reading: Reading | None
    examples: tuple[int, ...] = ()


def of_text(column: pa.ChunkedArray, rows: int, distinct: int) -> Found:
    """What a text column is: the first that all of its words say, nothing aside."""
    words = Words(column)
    if not words.words:
        return Found(None, f"Has no values but {listed(words.missing)}.", "empty", words.missing)
    found = _truth(words) or _numbers(words) or of_dates(words, column)
    if found is not None:
        reading = found.reading and replace(found.reading, missing=words.missing)
        aside = f" beside {words.nothing:,} that stand for nothing ({listed(words.missing)})" if words.missing else ""
        concern = found.concern or ("missing_words" if words.missing else None)
        return Found(found.type, f"{found.reason}{aside}.", concern, words.missing, reading)
    mostly = _mostly_numbers(words, column)
    return mostly or _of_words(words, column, rows, distinct)


def _truth(words: Words) -> Found | None:
    """Two words of one pair, like yes and no."""
    lower = {word.strip().lower() for word in words.words[:9]}
    if len(words.words) > 8 or lower not in PAIRS:
        return None
    said = " and ".join(sorted(lower, reverse=True))
    return Found("boolean", f"All {words.rows:,} values are {said}", None, (), Reading("boolean"))


def _numbers(words: Words) -> Found | None:
    """Numbers in one format, with one sign, that every word agrees with."""
    reading = number_reading(words)
    if reading is None:
        return None
    how = [f"as {reading.number}"] if reading.number not in {None, "1234.5"} else []
    how += [f"with {reading.sign}"] if reading.sign else []
    return Found(
        "numeric", f"All {words.rows:,} values are numbers written {' '.join(how) or 'as text'}", None, (), reading
    )


def number_reading(words: Words) -> Reading | None:
    """How every word is a number, or None; codes like 007 are no numbers."""
    if not all(any(sign.isdigit() for sign in word) for word in words.sample):
        return None
    if any(re.fullmatch(r"[+-]?0\d.*", word.strip()) for word in words.sample):
        return None
    for sign in SIGNS:
        having = [sign in word for word in words.sample]
        if sign and not (all(having) if sign == "%" else any(having)):
            continue
        for number in NUMBER_FORMATS:
            reading = Reading("numeric", (), number, sign)
            if np.isnan(readings.numbers(words.sample, reading)).any():
                continue
            if not np.isnan(readings.numbers(words.words, reading)).any() and not _codes(words.words):
                return reading
    return None


def _codes(words: Sequence[str]) -> bool:
    """Whether any word has a leading zero, as codes have."""
    return any(re.fullmatch(r"[+-]?0\d.*", word.strip()) for word in words)


def _mostly_numbers(words: Words, column: pa.ChunkedArray) -> Found | None:
    """Numbers with a few other words among them."""
    reading = Reading("numeric", words.missing, "1234.5")
    if np.isnan(readings.numbers(words.sample, reading)).mean() > 1 - LEAST_SAMPLED:
        return None
    values = readings.numbers(words.words, reading)
    if words.share(values) < MOSTLY_NUMBERS or _codes(words.words):
        return None
    others = int(words.counts[np.isnan(values)].sum())
    rows = ", ".join(str(row) for row in unread(column, reading)[:5])
    reason = f"{words.rows - others:,} of {words.rows:,} values are numbers; the other {others:,} count as missing (rows {rows})."
    return Found("numeric", reason, "mixed_values", words.missing, reading)


def unread(column: pa.ChunkedArray, reading: Reading) -> list[int]:
    """The rows whose value is there and no spelling of nothing, and that `reading` cannot read."""
    series = column.to_pandas()
    there = series.notna().to_numpy()
    if column.type == pa.large_string():
        there = there & ~np.array(
            [isinstance(word, str) and readings.is_missing(word) for word in series.tolist()], dtype=bool
        )
    return np.flatnonzero(coerce.column(series, reading).isna().to_numpy() & there).tolist()


def _of_words(words: Words, column: pa.ChunkedArray, rows: int, distinct: int) -> Found:
    """Sentences, identifiers or categories."""
    aside = f"; {listed(words.missing)} may stand for nothing" if words.missing else ""
    concern = "missing_words" if words.missing else None
    mean = words_per_value(column)
    share = f"{distinct:,} of {rows:,} values differ"
    if mean >= FREE_TEXT_WORDS and distinct >= max(FREE_TEXT_DISTINCT, FREE_TEXT_SHARE * rows):
        return Found("text", f"{share}, with {mean:.1f} words each on average{aside}.", concern, words.missing)
    if rows >= ID_ROWS and distinct >= ID_SHARE * rows:
        kind = "UUIDs" if all(UUID.fullmatch(word.strip()) for word in words.sample) else "single words"
        return Found(None, f"{share}, and they are {kind}: identifiers.", "id_like", words.missing)
    if distinct > MANY_CATEGORIES:
        return Found("categorical", f"{share}: many labels{aside}.", concern or "many_categories", words.missing)
    return Found("categorical", f"{share}; they are labels{aside}.", concern, words.missing)


def words_per_value(column: pa.ChunkedArray) -> float:
    """The mean count of words; scripts without blanks between words count two signs as one."""
    blanks = pc.mean(pc.add(pc.count_substring(column, " "), 1)).as_py()
    wide = column.drop_null().slice(0, SAMPLE)
    signs = pc.mean(pc.count_substring_regex(wide, WIDE_SCRIPT)).as_py() or 0.0
    return float(max(blanks, signs / 2))


def of_days(column: pa.ChunkedArray, rows: int) -> Found | None:
    """Whole numbers that are all days of the calendar, like 20240131."""
    reading = Reading("datetime", (), None, "", ("%Y%m%d",))
    known = pc.unique(column.drop_null()).to_pandas()
    if coerce.column(known, reading).isna().any():
        return None
    return Found("datetime", f"All {rows:,} whole numbers are days written like 20240131.", None, (), reading)


def as_kind(column: pa.ChunkedArray, given: str) -> Readable:
    """How well the values of a canonical column can be read as `given`: numeric, boolean or datetime."""
    rows = len(column) - column.null_count
    if column.type != pa.large_string():
        return _numbers_as(column, given, rows)
    words = Words(column)
    if given == "numeric":
        reading = number_reading(words) or Reading("numeric")
    elif given == "datetime":
        found = of_dates(words, column)
        reading = (found and found.reading) or Reading("datetime")
    else:
        reading = Reading("boolean")
    reading = replace(reading, missing=words.missing)
    bad = unread(column, reading)
    return Readable(rows - words.nothing - len(bad), words.nothing, words.missing, reading, tuple(bad[:5]))


def _numbers_as(column: pa.ChunkedArray, given: str, rows: int) -> Readable:
    """Numbers, truth or times as another kind."""
    reading = None
    if given == "datetime" and column.type in {pa.int64(), pa.float64()}:
        reading = Reading("datetime", (), None, "", (_count_of_time(column),))
    elif given == "boolean" and column.type != pa.bool_():
        series = column.to_pandas()
        wrong = np.flatnonzero(~series.isin([0, 1]).to_numpy() & series.notna().to_numpy()).tolist()
        return Readable(rows - len(wrong), 0, (), None, tuple(wrong[:5]))
    elif given == "datetime" and column.type == pa.bool_():
        reading = Reading("datetime")
    bad = [] if reading is None else unread(column, reading)
    return Readable(rows - len(bad), 0, (), reading, tuple(bad[:5]))


def _count_of_time(column: pa.ChunkedArray) -> str:
    """Days like 20240131, or the unit in which numbers of this size count from 1970 to about today."""
    if column.type == pa.int64() and of_days(column, len(column)) is not None:
        return "%Y%m%d"
    size = float(pd.Series(column.to_pandas()).abs().median())
    return next(
        (name for name, most in zip(EPOCHS, (1e11, 1e14, 1e17), strict=False) if size < most), "unix_nanoseconds"
    )

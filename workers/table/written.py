"""What text says: numbers, booleans, times or words, decided for a whole column although its blocks come one by one."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import InvalidData, bounded
from trainhouse_loader.reading.arrow import TIME, real

TEXT = pa.large_string()
NULL_WORDS = frozenset({
    "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "none", "NaT",
})  # fmt: skip
BOOLEAN_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NUMBER_SIGNS = frozenset("+-.0123456789iInN")
PROBE = 64

Convert = Callable[[pa.Array], pa.Array | None]
"""A block of text as another type; None, or ArrowInvalid, where a value does not say that."""


class Growing:
    """One column of text that comes in blocks; what it is made into does not depend on where the blocks end.

    The first value that is no spelling of null says what is tried. `failed` says that a later value spoke against it;
    then nothing more is kept, and the column must be read again with `as_text`.
    """

    def __init__(self, name: str, *, as_text: bool = False) -> None:
        self._name = name
        self._convert: Convert | None = self._words if as_text else None
        self._pending: list[pa.Array] = []
        self._made: list[pa.Array] = []
        self._spoken = False
        self.failed = False

    def add(self, block: pa.Array) -> None:
        """The next rows, as string or large_string.

        Raises:
            InvalidData: `nul_character`.
        """
        if self.failed:
            return
        text = block.cast(TEXT)
        if pc.any(pc.equal(pc.binary_length(text), 0)).as_py():
            text = pc.if_else(pc.equal(pc.binary_length(text), 0), pa.scalar(None, TEXT), text)
        if self._convert is None:
            text = self._decided(text)
        if self._convert is not None and text is not None:
            self._make(text)

    def _decided(self, text: pa.Array) -> pa.Array | None:
        """Everything so far, once a value says what is to be tried; None before."""
        self._spoken = self._spoken or text.null_count < len(text)
        first = first_word(text)
        self._pending.append(text)
        if first is None:
            return None
        self._convert = {"boolean": booleans, "time": times, "number": self._numbers}.get(kind_of(first), self._words)
        whole = pa.concat_arrays(self._pending) if len(self._pending) > 1 else text
        self._pending.clear()
        return whole

    def _make(self, text: pa.Array) -> None:
        if self._convert is None:
            raise ValueError("nothing was decided")
        try:
            made = self._convert(text)
        except pa.ArrowInvalid:
            made = None
        if made is None and not self._made:  # nothing is lost yet
            self._convert = self._words
            made = self._words(text)
        if made is None:
            self.failed = True
            self._made.clear()
        else:
            self._made.append(made)

    def _numbers(self, text: pa.Array) -> pa.Array | None:
        """Whole numbers are not tried again once there was another: together they are float64 anyway."""
        return numbers(text, whole=not any(made.type == pa.float64() for made in self._made[:1] + self._made[-1:]))

    def _words(self, text: pa.Array) -> pa.Array:
        try:
            text.validate(full=True)
        except pa.ArrowInvalid:
            raise InvalidData(f"Column {bounded(self._name)!r} holds bytes that are not UTF-8 text.", code="not_utf8",
                              hint="Save the file as UTF-8.") from None  # fmt: skip
        if _has_nul(text):
            raise InvalidData(f"Column {bounded(self._name)!r} holds a NUL character.", code="nul_character",
                              hint="Remove U+0000 from the text.")  # fmt: skip
        return text

    def column(self) -> pa.ChunkedArray:
        """The whole column: int64, float64, bool, timestamp[us] or large_string; float64 where all is null."""
        if self._convert is None and self._spoken:  # spellings of null and nothing else are words
            self._made = [self._words(text) for text in self._pending]
        elif self._convert is None:
            return pa.chunked_array([pa.nulls(sum(map(len, self._pending)), pa.float64())])
        kinds = {made.type for made in self._made}
        if kinds == {pa.int64(), pa.float64()}:
            self._made = [made.cast(pa.float64(), safe=False) for made in self._made]
        whole = pa.chunked_array(self._made)
        self._made = []
        if whole.null_count == len(whole):
            return pa.chunked_array([pa.nulls(len(whole), pa.float64())])
        return real(whole) if whole.type == pa.float64() else whole


def first_word(text: pa.Array) -> str | None:
    """The first value that is no spelling of null, without blanks around it."""
    given = text.slice(0, 4 * PROBE).cast(pa.large_binary()).drop_null().to_pylist()
    probe = [word.decode(errors="replace").strip() for word in given]
    found = next((word for word in probe if word not in NULL_WORDS), None)
    if found is not None or len(text) <= 4 * PROBE:
        return found
    rest = text.filter(pc.invert(_says_null(pc.utf8_trim_whitespace(text))))
    return rest[0].as_buffer().to_pybytes().decode(errors="replace").strip() if len(rest) else None


def _says_null(text: pa.Array) -> pa.Array:
    return pc.or_kleene(pc.is_null(text), pc.is_in(text, value_set=pa.array(sorted(NULL_WORDS), TEXT)))


def kind_of(word: str) -> str:
    """What a column whose first value is `word` may be: boolean, number, time or word."""
    if word in BOOLEAN_WORDS:
        return "boolean"
    if word and word[0] not in NUMBER_SIGNS:
        return "word"
    return "time" if len(word) >= len("2000-01-01") and word[4:5] == "-" else "number"


def without_blanks(text: pa.Array) -> pa.Array:
    """`text` without blanks around values; null where only those, or a spelling of null, are left."""
    trimmed = pc.utf8_trim_whitespace(text)
    null = pc.is_in(trimmed, value_set=pa.array([*sorted(NULL_WORDS), ""], TEXT))
    return pc.if_else(null, pa.scalar(None, TEXT), trimmed)


def numbers(text: pa.Array, *, whole: bool = True) -> pa.Array | None:
    """int64 where all are whole, otherwise float64; None where one has a leading zero or is hexadecimal: a code.

    Args:
        whole: Whether int64 is tried at all.
    """
    if has_codes(text):
        return None
    found = _whole(text) if whole else None
    if found is not None:
        return found
    try:
        found = text.cast(pa.float64())
        if not pc.any(pc.is_nan(found)).as_py():
            return found
    except pa.ArrowInvalid:
        pass
    clean = without_blanks(text)
    if has_codes(clean):
        return None
    found = _whole(clean) if whole else None
    return clean.cast(pa.float64()) if found is None else found


def _whole(text: pa.Array) -> pa.Array | None:
    """int64, or None; a cast that fails is slow, so that a few values are tried first."""
    try:
        text.slice(0, PROBE).cast(pa.int64())
        return text.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _has_nul(text: pa.Array) -> bool:
    if text.buffers()[2] is None:
        return False
    offsets = np.frombuffer(text.buffers()[1], np.int64)[text.offset : text.offset + len(text) + 1]
    letters = np.frombuffer(text.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return not letters.all() and bool(pc.any(pc.match_substring(text, "\x00")).as_py())


def has_codes(text: pa.Array) -> bool:
    """Whether a value begins, after a sign or none, with a zero and then a digit or an x."""
    count = len(text)
    if not count or text.buffers()[2] is None:
        return False
    offsets = np.frombuffer(text.buffers()[1], np.int64)[text.offset : text.offset + count + 1]
    letters = np.frombuffer(text.buffers()[2], np.uint8)
    if not len(letters):
        return False
    start, end = offsets[:-1], offsets[1:]
    if text.null_count:
        valid = text.is_valid().to_numpy(zero_copy_only=False)
        start, end = start[valid], end[valid]
    first = letters[np.minimum(start, len(letters) - 1)]
    start = start + ((first == ord("+")) | (first == ord("-")))
    start = start[end - start > 1]  # a zero alone is a number
    second = letters[start[letters[start] == ord("0")] + 1]
    return bool((((second >= ord("0")) & (second <= ord("9"))) | (second | 32 == ord("x"))).any())


def booleans(text: pa.Array) -> pa.Array | None:
    """Booleans; None where a value says something else."""
    true = pc.is_in(text, value_set=pa.array([word for word, truth in BOOLEAN_WORDS.items() if truth], TEXT))
    known = pc.or_(pc.is_null(text), pc.is_in(text, value_set=pa.array(list(BOOLEAN_WORDS), TEXT)))
    if pc.all(known).as_py():
        return pc.if_else(pc.is_null(text), pa.scalar(None, pa.bool_()), true)
    clean = without_blanks(text)
    return None if clean.equals(text) else booleans(clean)


def times(text: pa.Array) -> pa.Array:
    """ISO dates and times, each with or without its own zone; raises ArrowInvalid where a value is none."""
    try:
        return text.cast(TIME)
    except pa.ArrowInvalid:
        text = without_blanks(text)
    zoned = pc.match_substring_regex(text, r"\d{2}:\d{2}.*(Z|[+-]\d{2}(:?\d{2})?)$")
    nothing = pa.scalar(None, TEXT)
    with_zone = _moments(pc.if_else(zoned, text, nothing), "UTC")
    return pc.coalesce(with_zone, _moments(pc.if_else(zoned, nothing, text), None))


def _moments(text: pa.Array, zone: str | None) -> pa.Array:
    """Times as microseconds; those that are written finer are cut, each by itself."""
    try:
        return text.cast(pa.timestamp("us", zone)).cast(TIME)
    except pa.ArrowInvalid:
        fine, nothing = pc.match_substring_regex(text, r"\.\d{7,9}"), pa.scalar(None, TEXT)
        cut = pc.if_else(fine, text, nothing).cast(pa.timestamp("ns", zone)).cast(pa.timestamp("ns"))
        rest = pc.if_else(fine, nothing, text).cast(pa.timestamp("us", zone)).cast(TIME)
        return pc.coalesce(rest, cut.cast(TIME, safe=False))

"""Which columns are features, of what type each one is, and why: every decision with its evidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import InvalidData, Violation, bounded, step
from app.spec.data import Validation
from app.spec.job import JobSpec
from trainhouse_loader.reading.readings import Reading
from workers.context import Warned
from workers.table import evidence
from workers.table.words import Found, listed

ID_SHARE = 0.99
ID_ROWS = 50
ID_NAMES = frozenset({"id", "uuid", "guid", "rowid", "index", "key", "no", "nr", "number"})
LEAST_READABLE = 0.5
LEAST_KNOWN = 0.01
SHOWN_ROWS = 5
WHOLE, TEXT = pa.int64(), pa.large_string()
PLAIN = {pa.bool_(): "boolean", pa.timestamp("us"): "datetime", WHOLE: "numeric", pa.float64(): "numeric"}


@dataclass(frozen=True)
class Decision:
    """What becomes of one column.

    Attributes:
        name: The column.
        type: A type of the spec, or None where the column is left out of the features.
        reason: One sentence with the evidence; no values of the data but spellings of nothing, yes and no.
        given: Whether `data.features.types` said so.
        concern: What a person should look at: constant, empty, mostly_empty, id_like, duplicate_column,
            ambiguous_dates, mixed_dates, mixed_values, missing_words, many_categories, type_mismatch; None where there is nothing.
        missing_words: Spellings of no value among the words; read as missing in numbers, truth and times, and a
            category of their own among categories.
        date_format: The strptime formats, several of them joined by ` or `.
        reading: How the values are read, where they need it.
        fault: `type_mismatch`, where fewer than half of the values can be what `data.features.types` says.
    """

    name: str
    type: str | None
    reason: str
    given: bool
    concern: str | None = None
    missing_words: tuple[str, ...] = ()
    date_format: str | None = None
    reading: Reading | None = None
    fault: Violation | None = None

    def document(self) -> dict[str, Any]:
        """The decision as JSON."""
        found = {"type": self.type, "reason": self.reason, "given": self.given, "concern": self.concern,
                 "missing_words": list(self.missing_words), "date_format": self.date_format}  # fmt: skip
        return {name: value for name, value in found.items() if value or name in {"type", "reason", "given"}}


def roles(spec: JobSpec) -> set[str]:
    """The columns that play another part than a feature's: target, identifiers, what divides or weighs rows."""
    task = spec.task
    named = {task.target, *task.id_columns, task.group_column, task.time_column, task.weight_column, spec.split.column}
    return {name for name in named if name is not None}


def not_features(spec: JobSpec) -> set[str]:
    """The columns that are no features: those of `roles`, and what is excluded."""
    return {*roles(spec), *spec.data.features.exclude}


def decide(table: pa.Table, spec: JobSpec) -> list[Decision]:
    """What becomes of each column of a canonical `table` that may be a feature, in order.

    Raises:
        InvalidData: `type_mismatch`, with one violation for each column of which fewer than half of the values can be
            what `data.features.types` says; its facts name column, share and rows of `table`.
    """
    others = not_features(spec)
    # A contract stricter than the usual one is to fail, not to be obeyed by leaving columns out.
    least = LEAST_KNOWN if spec.validation.max_null_fraction >= Validation().max_null_fraction else 0.0
    decisions = []
    firsts: dict[Any, list[str]] = {}
    for name in table.column_names:
        if name in others:
            continue
        column = table.column(name)
        given = spec.data.features.types.get(name)
        twin = None if given else _twin(table, name, firsts)
        if given:
            decision = _given(name, column, given)
        elif twin is not None:
            decision = Decision(name, None, f"Holds the same value as {bounded(twin)!r} in every row.",
                                given=False, concern="duplicate_column")  # fmt: skip
        else:
            decision = _inferred(name, column, least=least)
        decisions.append(decision)
    faults = [each.fault for each in decisions if each.fault is not None]
    if faults:
        raise InvalidData(faults[0].message, code="type_mismatch", hint=faults[0].hint, violations=faults[:100])
    return decisions


def as_types(decisions: Iterable[Decision]) -> dict[str, str]:
    """The type of each feature, in order."""
    return {each.name: each.type for each in decisions if each.type is not None}


def readings_of(decisions: Iterable[Decision]) -> dict[str, dict[str, Any]]:
    """By feature that needs one, how its values are read, as JSON for `coerce.read` and `coerce.read_table`."""
    return {each.name: each.reading.document() for each in decisions if each.reading is not None and each.type}


def warnings_of(decisions: Iterable[Decision]) -> list[Warned]:
    """A warning for each decision with a concern."""
    return [
        Warned(each.concern if each.concern.endswith("_column") else f"{each.concern}_column", f"Column {bounded(each.name)!r}: {each.reason}", column=each.name, hint=_hint(each))
        for each in decisions if each.concern is not None and each.fault is None
    ]  # fmt: skip


def _hint(decision: Decision) -> str:
    if decision.type is None:
        return "Name it in data.features.types to keep it, or in data.features.exclude or task.id_columns."
    return "Name its type in data.features.types, or derive a cleaner column with data.features.columns."


def _twin(table: pa.Table, name: str, firsts: dict[Any, list[str]]) -> str | None:
    """An earlier column with the same values in every row, or None; `firsts` remembers those seen, by a cheap key."""
    column = table.column(name)
    key = (
        column.type,
        column.null_count,
        *column.slice(0, 32).to_pylist(),
        *column.slice(max(0, len(column) - 8)).to_pylist(),
    )
    alike = firsts.setdefault(key, [])
    for earlier in alike:
        if column.null_count < len(column) and column.equals(table.column(earlier)):
            return earlier
    alike.append(name)
    return None


def _inferred(name: str, column: pa.ChunkedArray, *, least: float) -> Decision:
    """What the values of a canonical column suggest; one with a smaller share of values than `least` is left out."""
    rows = len(column) - column.null_count
    if rows == 0:
        return Decision(name, None, "Has no values.", given=False, concern="empty")
    if rows < least * len(column):
        reason = f"Has values in {rows:,} of {len(column):,} rows only ({rows / len(column):.2%})."
        return Decision(name, None, reason, given=False, concern="mostly_empty")
    distinct = _distinct(column)
    if distinct == 1 and column.null_count == 0:
        return Decision(name, None, f"Has one value only, in all {rows:,} rows.", given=False, concern="constant")
    if column.type == TEXT:
        found = evidence.of_text(column, rows, distinct)
        return _made(name, found)
    if column.type == WHOLE:
        return _whole(name, column, rows, distinct)
    kind = PLAIN[column.type]
    what = {"boolean": "true or false", "datetime": "times", "numeric": "numbers with fractions"}[kind]
    return Decision(name, kind, f"All {rows:,} values are {what}.", given=False)


def _distinct(column: pa.ChunkedArray) -> int:
    """How many different values there are; of fractions, truth and times only whether there are several."""
    if column.type == TEXT:
        return int(pc.count_distinct(column, mode="only_valid").as_py())
    if column.type == WHOLE:
        values = np.sort(column.drop_null().to_numpy())
        return 1 + int(np.count_nonzero(values[1:] != values[:-1]))
    ends = pc.min_max(column)
    return 1 if ends["min"] == ends["max"] else 2


def _made(name: str, found: Found, *, given: bool = False) -> Decision:
    formats = " or ".join(found.reading.dates) if found.reading and found.reading.dates else None
    return Decision(name, found.type, found.reason, given, found.concern, found.missing, formats, found.reading)


def _whole(name: str, column: pa.ChunkedArray, rows: int, distinct: int) -> Decision:
    """Whole numbers: dates like 20240131, identifiers, or numbers."""
    ends = pc.min_max(column).as_py()
    low, high = ends["min"], ends["max"]
    if rows >= ID_ROWS and distinct >= ID_SHARE * rows:
        if distinct == rows and high - low < 1.1 * rows:
            reason = f"{rows:,} different whole numbers fill the range of {high - low + 1:,} as row numbers do."
            return Decision(name, None, reason, given=False, concern="id_like")
        if _named_id(name):
            reason = f"{distinct:,} of {rows:,} whole numbers differ, and the name is one of an identifier."
            return Decision(name, None, reason, given=False, concern="id_like")
    if low >= 19_000_101 and high <= 21_001_231 and distinct >= 5:
        found = evidence.of_days(column, rows)
        if found is not None:
            return _made(name, found)
    return Decision(
        name, "numeric", f"All {rows:,} values are whole numbers, {distinct:,} different ones.", given=False
    )


def _named_id(name: str) -> bool:
    """Whether a name is `id` or ends so: `customer_id`, `customerId`, `Customer ID`."""
    spaced = "".join(f" {sign}" if sign.isupper() and before.islower() else sign
                     for before, sign in zip(" " + name, name, strict=False))  # fmt: skip
    words = spaced.replace("_", " ").replace("-", " ").replace(".", " ").lower().split()
    return bool(words) and words[-1] in ID_NAMES


def _given(name: str, column: pa.ChunkedArray, given: str) -> Decision:
    """The decision that the spec asks for, with a fault where fewer than half of the values allow it."""
    rows = len(column) - column.null_count
    said = f"Is {given} by data.features.types"
    if given in {"categorical", "text"} or rows == 0:
        return Decision(name, given, f"{said}.", given=True)
    found = evidence.as_kind(column, given)
    meant = rows - found.nothing
    bad = meant - found.readable
    words = f"; {listed(found.missing)} count as missing" if found.missing else ""
    if bad == 0:
        reason = f"{said}; all {found.readable:,} values can be read so{words}."
        return _made(name, Found(given, reason, None, found.missing, found.reading), given=True)
    share = found.readable / meant
    places = ", ".join(str(place) for place in found.examples[:SHOWN_ROWS])
    reason = (f"{said}, but {bad:,} of {meant:,} values ({1 - share:.1%}) cannot be read so and count as missing "
              f"(rows {places}){words}.")  # fmt: skip
    decision = _made(name, Found(given, reason, "mixed_values", found.missing, found.reading), given=True)
    if share >= LEAST_READABLE:
        return decision
    return replace(decision, concern="type_mismatch", fault=_mismatch(name, given, share, meant, found.examples))


def _mismatch(name: str, given: str, share: float, values: int, examples: Sequence[int]) -> Violation:
    pointer = "/data/features/types" + step(name)
    places = ", ".join(str(place) for place in examples[:SHOWN_ROWS])
    return Violation(
        pointer=pointer, code="type_mismatch",
        message=f"Column {bounded(name)!r} is to be {given}, but only {share:.1%} of {values:,} values can be read so "
                f"(not those of rows {places}).",
        hint="Leave the type out, name another, or derive the column with data.features.columns.",
        facts={"column": name, "check": "type", "share": round(share, 6), "rows": list(examples[:SHOWN_ROWS])},
    )  # fmt: skip


def as_pairs(types: Mapping[str, str]) -> list[list[str]]:
    """`types` as JSON that keeps their order."""
    return [[name, kind] for name, kind in types.items()]


def from_output(pairs: Iterable[Any]) -> dict[str, str]:
    """What `as_pairs` wrote."""
    return {str(name): str(kind) for name, kind in pairs}

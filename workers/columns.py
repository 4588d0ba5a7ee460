"""Which columns are features, and what kind each one is."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from app.spec.job import JobSpec
from workers.context import Warned

FREE_TEXT_WORDS = 2.0
FREE_TEXT_SHARE = 0.2
FREE_TEXT_DISTINCT = 50
ID_SHARE = 0.99
ID_ROWS = 50
PLAIN = {pa.bool_(): "boolean", pa.timestamp("us"): "datetime"}


def not_features(spec: JobSpec) -> set[str]:
    """The columns that play another part: target, identifiers, and what divides or weighs rows."""
    task = spec.task
    others = {task.target, *task.id_columns, task.group_column, task.time_column, task.weight_column, spec.split.column}
    return {name for name in others if name is not None}


def feature_types(table: pa.Table, spec: JobSpec) -> tuple[dict[str, str], list[Warned]]:
    """The type of each feature in snapshot order, and a warning for each column that is left out.

    A column of one value, and text that differs in every row without being sentences, are left out unless
    `data.features.types` names them.
    """
    types: dict[str, str] = {}
    warned = []
    others = not_features(spec)
    for name in table.column_names:
        if name in others:
            continue
        column = table.column(name)
        given = spec.data.features.types.get(name)
        kind, reason = (given, None) if given else inferred(column)
        if reason is not None:
            warned.append(_warned(name, reason, left_out=kind is None))
        if kind is not None:
            types[name] = kind
    return types, warned


def _warned(name: str, reason: str, *, left_out: bool) -> Warned:
    message = {"constant": "has one value only", "empty": "has no values",
               "id_like": "differs in nearly every row, as an identifier does"}[reason]  # fmt: skip
    ending = " and is left out of the features." if left_out else "."
    return Warned(f"{reason}_column", f"Column {name!r} {message}{ending}", column=name,
                  hint="Name it in data.features.types to keep it, or in data.features.exclude or task.id_columns.")  # fmt: skip


def inferred(column: pa.ChunkedArray) -> tuple[str | None, str | None]:
    """(type, concern): the type that a canonical column's values suggest, None where it is to be left out."""
    rows = len(column) - column.null_count
    if rows == 0:
        return None, "empty"
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    if distinct == 1 and column.null_count == 0:
        return None, "constant"
    if column.type in PLAIN:
        return PLAIN[column.type], None
    unique = rows >= ID_ROWS and distinct >= ID_SHARE * rows
    if column.type in (pa.int64(), pa.float64()):
        return "numeric", "id_like" if unique and column.type == pa.int64() and _is_counter(column, rows) else None
    words = pc.mean(pc.add(pc.count_substring(column, " "), 1)).as_py()
    if words >= FREE_TEXT_WORDS and distinct >= max(FREE_TEXT_DISTINCT, FREE_TEXT_SHARE * rows):
        return "text", None
    return (None, "id_like") if unique else ("categorical", None)


def _is_counter(column: pa.ChunkedArray, rows: int) -> bool:
    """Whether whole numbers fill their range almost without gaps, as row numbers do."""
    ends = pc.min_max(column).as_py()
    return bool(ends["max"] - ends["min"] < 1.1 * rows)


def as_pairs(types: Mapping[str, str]) -> list[list[str]]:
    """`types` as JSON that keeps their order."""
    return [[name, kind] for name, kind in types.items()]


def from_output(pairs: Iterable[Any]) -> dict[str, str]:
    """What `as_pairs` wrote."""
    return {str(name): str(kind) for name, kind in pairs}

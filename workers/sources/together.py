"""Tables of several files as one: equal columns, and the type that fits all parts."""

import pyarrow as pa

from app.errors import InvalidData, Violation, bounded


def together(tables: list[pa.Table], names: list[str]) -> pa.Table:
    """Tables of equal columns as one; a column's type is what fits all of its parts.

    Raises:
        InvalidData: `schema_mismatch`.
    """
    first = tables[0]
    faults = []
    for table, name in zip(tables[1:], names[1:], strict=True):
        if set(table.column_names) != set(first.column_names):
            differing = sorted(set(table.column_names) ^ set(first.column_names))[:10]
            faults.append(Violation(pointer=f"/files/{bounded(name)}", code="schema_mismatch",
                                    message="Differing columns: " + ", ".join(repr(bounded(column)) for column in differing)))  # fmt: skip
    if faults:
        raise InvalidData(f"{len(faults)} files have other columns than {bounded(names[0])}.", code="schema_mismatch",
                          hint="Name the common ones in `columns`, or read the files as sources of their own.",
                          violations=faults[:20])  # fmt: skip
    if len(tables) == 1:
        return first
    columns = [one_column([table.column(name) for table in tables]) for name in first.column_names]
    return pa.table(columns, names=first.column_names)


def of_several_kinds(tables: list[pa.Table]) -> list[str]:
    """The columns that say numbers, truths or times in some of the tables and something else in others."""
    first, *_ = tables
    shared = [name for name in first.column_names if all(name in table.column_names for table in tables)]
    return [name for name in shared if len(_kinds([table.column(name) for table in tables])) > 1]


def _kinds(parts: list[pa.ChunkedArray]) -> set[pa.DataType]:
    """The types of the parts that have values; numbers are of one, which holds them all."""
    kinds = {part.type for part in parts if part.null_count < len(part)}
    return {pa.float64()} if kinds == {pa.int64(), pa.float64()} else kinds


def one_column(parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Canonical columns end to end: numbers as numbers, otherwise as text where they differ."""
    kinds = _kinds(parts)
    kind = pa.large_string() if len(kinds) > 1 else next(iter(kinds), pa.float64())
    return pa.chunked_array([chunk for part in parts for chunk in _as_type(part, kind).chunks], kind)


def _as_type(part: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if part.null_count == len(part):
        return pa.chunked_array([pa.nulls(len(part), kind)])
    return part.cast(kind, safe=False)

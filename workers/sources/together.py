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
    found = []
    for name in tables[0].column_names:
        parts = [table.column(name) for table in tables if name in table.column_names]
        kinds = {part.type for part in parts if part.null_count < len(part)}
        if len(kinds) > 1 and kinds != {pa.int64(), pa.float64()}:
            found.append(name)
    return found


def one_column(parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Canonical columns end to end: numbers as numbers, otherwise as text where they differ."""
    kinds = {part.type for part in parts if part.null_count < len(part)}
    if len(kinds) <= 1:
        kind = next(iter(kinds), pa.float64())
    else:
        kind = pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.large_string()
    return pa.chunked_array([chunk for part in parts for chunk in _as_type(part, kind).chunks], kind)


def _as_type(part: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if part.null_count == len(part):
        return pa.chunked_array([pa.nulls(len(part), kind)])
    return part.cast(kind, safe=False)

"""The contract of `validation.columns`, compiled to pandera; every breach is counted and located."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import bounded
from app.spec.base import Scalar
from app.spec.data import ColumnContract
from workers.quality.findings import Finding, examples, listed, pointer_to
from workers.table import repeats

Mask = npt.NDArray[np.bool_]
Test = Callable[[pa.ChunkedArray, ColumnContract], pa.ChunkedArray]
"""(column, contract) to: does each value keep the rule? Null counts as yes."""

PART = "/validation/columns"
MEND = "Mend the data, or change validation.columns."
FITTING: dict[str, tuple[pa.DataType, ...]] = {
    "float": (pa.int64(), pa.float64()), "int": (pa.int64(),), "boolean": (pa.bool_(),),
    "datetime": (pa.timestamp("us"),), "string": (pa.large_string(), pa.int64()),
}  # fmt: skip
"""Digits only are read as whole numbers, so they are good strings too."""
HELD = {pa.int64(): "int", pa.float64(): "float", pa.bool_(): "boolean", pa.timestamp("us"): "datetime",
        pa.large_string(): "string"}  # fmt: skip


@dataclass
class Column:
    """One column under its contract, and what broke each rule so far: (rows,) True where it is broken."""

    name: str
    data: pa.ChunkedArray
    contract: ColumnContract
    broken: dict[str, Mask]


def check(table: pa.Table, columns: Mapping[str, ColumnContract]) -> list[Finding]:
    """Every breach of `columns` by the canonical `table`, each with column, check, count, share and example rows.

    A column that is not there, one of another type and a pattern that is no RE2 expression are findings too.
    """
    found = []
    for name, contract in columns.items():
        if name not in table.column_names:
            found.append(_said(name, "exists", "is not in the data", code="unknown_column"))
            continue
        found.extend(_column(Column(name, table.column(name), contract, {})))
    return found


def _column(column: Column) -> list[Finding]:
    wrong = _wrong_type(column)
    if wrong:
        return [wrong]
    schema, faults = _compiled(column)
    try:
        schema.validate(pd.Series([0]), lazy=True)
    except pandera.errors.SchemaErrors as error:
        if len(error.schema_errors) != len(column.broken):  # pandera takes an exception inside a rule for a breach
            raise
        faults.extend(_located(column, rule, failing) for rule, failing in column.broken.items())
    return faults


def _compiled(column: Column) -> tuple[pandera.SeriesSchema, list[Finding]]:
    """(schema, faults in the contract itself): each rule answers once for the whole column, and keeps its rows."""
    faults: list[Finding] = []
    asked = {"nullable": not column.contract.nullable, "unique": column.contract.unique}
    rules = {rule: test for rule, test in RULES.items()
             if asked.get(rule, getattr(column.contract, rule) is not None)}  # fmt: skip
    if {"min", "max"} & rules.keys() and column.data.type not in (pa.int64(), pa.float64()):
        faults.append(_said(column.name, "min_max_of_no_number", "holds no numbers, so min and max mean nothing"))
        rules = {rule: test for rule, test in rules.items() if rule not in {"min", "max"}}
    if "pattern" in rules and (refused := _bad_pattern(column)):
        faults.append(refused)
        del rules["pattern"]
    checks = [pandera.Check(_answer(column, rule, test), name=rule) for rule, test in rules.items()]
    return pandera.SeriesSchema(checks=checks), faults


def _answer(column: Column, rule: str, test: Test) -> Callable[[pd.Series], bool]:
    """The rule as pandera calls it: whether the whole column keeps it."""

    def kept(_rows: pd.Series) -> bool:
        passed = test(column.data, column.contract)
        if pc.all(passed, skip_nulls=True, min_count=0).as_py():
            return True
        column.broken[rule] = ~np.asarray(pc.fill_null(passed, True).to_numpy(), dtype=bool)
        return False

    return kept


def _allowed(column: pa.ChunkedArray, contract: ColumnContract) -> pa.ChunkedArray:
    values = pa.array([_spelled(value) for value in contract.allowed or []], pa.large_string())
    if column.type == pa.large_string():
        column = column.dictionary_encode()
        parts = [pa.DictionaryArray.from_arrays(part.indices, pc.is_in(part.dictionary, value_set=values))
                 for part in column.chunks]  # fmt: skip
        return pa.chunked_array([pc.take(part.dictionary, part.indices) for part in parts], pa.bool_())
    known = pc.is_in(column.cast(pa.large_string()), value_set=values)
    return pc.if_else(pc.is_valid(column), known, None)


def _spelled(value: Scalar) -> str:
    """An allowed value as canonical columns spell it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _matches(column: pa.ChunkedArray, contract: ColumnContract) -> pa.ChunkedArray:
    """Where the text of a value holds the pattern; RE2 takes linear time whatever the pattern."""
    return pc.match_substring_regex(column.cast(pa.large_string()), contract.pattern)


def _unique(column: pa.ChunkedArray, _contract: ColumnContract) -> pa.ChunkedArray:
    """False from the second row of a value on; nulls repeat nothing."""
    repeated = repeats.repeated(repeats.value_hashes(column))
    if column.null_count:
        repeated = repeated & column.is_valid().to_numpy()
    return pa.chunked_array([~repeated])


def _as_bound(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers as the floats that bounds are; Arrow itself refuses those beyond 2**53."""
    return column.cast(pa.float64(), safe=False) if pa.types.is_integer(column.type) else column


RULES: dict[str, Test] = {
    "nullable": lambda column, _contract: pc.is_valid(column),
    "unique": _unique,
    "min": lambda column, contract: pc.greater_equal(_as_bound(column), contract.min),
    "max": lambda column, contract: pc.less_equal(_as_bound(column), contract.max),
    "allowed": _allowed,
    "pattern": _matches,
}


def _bad_pattern(column: Column) -> Finding | None:
    try:
        pc.match_substring_regex(pa.array([""], pa.large_string()), column.contract.pattern)
    except pa.ArrowInvalid as error:
        return _said(column.name, "pattern", f"has a pattern that is not usable: {bounded(error)}", code="bad_pattern",
                     hint="Patterns are RE2: no look-around, no back-references.")  # fmt: skip
    return None


def _wrong_type(column: Column) -> Finding | None:
    """The finding of a column whose type is another; a column of nulls is of every type."""
    values, wanted = column.data, column.contract.type
    if wanted is None or values.type in FITTING[wanted] or values.null_count == len(values):
        return None
    return _said(column.name, "type", f"holds values of type {HELD.get(values.type, 'unknown')}, the contract says {wanted}",
                  hint=_type_hint(values, wanted))  # fmt: skip


def _type_hint(values: pa.ChunkedArray, wanted: str) -> str:
    """Where numbers or times stand among words, how many values stand in the way is what helps."""
    if values.type == pa.large_string() and wanted != "string":
        return "Some of its values are words; mend them, or list the words that mean missing where the data is made."
    return MEND


def _located(column: Column, rule: str, failing: Mask) -> Finding:
    """One finding for all rows that break one rule."""
    count, rows = int(failing.sum()), examples(failing)
    found = _said(
        column.name, rule, f"breaks {rule!r} in {count:,} row{'s' if count != 1 else ''} ({listed(rows, count)})"
    )
    return replace(found, count=count, share=round(count / len(failing), 6), rows=rows)


def _said(name: str, rule: str, what: str, *, code: str = "contract_broken", hint: str = MEND) -> Finding:
    return Finding("fail", code, f"Column {bounded(name)!r} {what}.", column=name, check=rule, hint=hint,
                   pointer=pointer_to(PART, name))  # fmt: skip

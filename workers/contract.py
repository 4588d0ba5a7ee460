"""The contract of `validation.columns`, compiled to pandera; every breach is counted and located."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import InvalidData, Violation, bounded
from app.spec.base import Scalar
from app.spec.data import ColumnContract

SHOWN_ROWS = 5
MAX_VIOLATIONS = 200
FITTING: dict[str, tuple[pa.DataType, ...]] = {
    "float": (pa.int64(), pa.float64()), "int": (pa.int64(),), "boolean": (pa.bool_(),),
    "datetime": (pa.timestamp("us"),), "string": (pa.large_string(), pa.int64()),
}  # fmt: skip
"""Digits only are read as whole numbers, so they are good strings too."""


def check(table: pa.Table, columns: dict[str, ColumnContract]) -> None:
    """Every breach of `columns` by `table`, at once.

    Raises:
        InvalidData: `contract_broken`, with column, check, count and example row numbers (from 0) in each violation;
            `bad_pattern` where a pattern is no RE2 expression.
    """
    faults = []
    for name, contract in columns.items():
        column = table.column(name)
        wrong = _wrong_type(name, column, contract)
        faults.extend([wrong] if wrong else _breaches(name, column, contract))
    if faults:
        raise InvalidData(f"{len(faults)} rule{'s' if len(faults) != 1 else ''} of the contract are broken; first: "
                          f"{faults[0].message}", code="contract_broken", hint="Mend the data, or change validation.columns.",
                          violations=faults[:MAX_VIOLATIONS])  # fmt: skip


def _wrong_type(name: str, column: pa.ChunkedArray, contract: ColumnContract) -> Violation | None:
    """The violation of a column whose type is another; a column of nulls is of every type."""
    if contract.type is None or column.type in FITTING[contract.type] or column.null_count == len(column):
        return None
    return _violation(name, "type", f"is {bounded(column.type)} where the contract says {contract.type}")


def _breaches(name: str, column: pa.ChunkedArray, contract: ColumnContract) -> list[Violation]:
    """What pandera finds in one column."""
    checks = [pandera.Check(test, name=label, element_wise=False, ignore_na=False)
              for label, test in _tests(name, column, contract)]  # fmt: skip
    schema = pandera.SeriesSchema(
        checks=checks, nullable=contract.nullable, unique=contract.unique, name=None,
        report_duplicates="exclude_first",
    )  # fmt: skip
    try:
        schema.validate(_series(column), lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        return [_counted(name, str(label), found) for label, found in cases.groupby("check", sort=False)]
    return []


def _series(column: pa.ChunkedArray) -> pd.Series:
    """Row number to value; only nulls and repetition are judged on it, so classes of values are enough."""
    codes = column.combine_chunks().dictionary_encode().indices if len(column) else pa.array([], pa.int32())
    return pd.Series(codes.to_pandas())


def _tests(
    name: str, column: pa.ChunkedArray, contract: ColumnContract
) -> list[tuple[str, Callable[[pd.Series], pd.Series]]]:
    """(rule, test) pairs; each test answers for all rows with one vectorised pass, and nulls pass."""
    kept: list[tuple[str, pa.ChunkedArray]] = []
    if contract.min is not None or contract.max is not None:
        kept.extend(_bounds(column, contract))
    if contract.allowed is not None:
        kept.append(("allowed", pc.is_in(column.cast(pa.large_string()), value_set=_allowed(contract.allowed))))
    if contract.pattern is not None:
        kept.append(("pattern", _matches(name, column, contract.pattern)))
    return [(label, _answer(passed)) for label, passed in kept]


def _answer(passed: pa.ChunkedArray) -> Callable[[pd.Series], pd.Series]:
    values = pc.fill_null(passed, True).to_numpy()
    return lambda series: pd.Series(values, index=series.index) | series.isna()


def _bounds(column: pa.ChunkedArray, contract: ColumnContract) -> list[tuple[str, pa.ChunkedArray]]:
    if column.type not in (pa.int64(), pa.float64()):
        nothing = pa.chunked_array([pa.array(np.zeros(len(column), dtype=bool))])
        return [("min_max_of_no_number", nothing)]
    found = []
    if contract.min is not None:
        found.append(("min", pc.greater_equal(column, contract.min)))
    if contract.max is not None:
        found.append(("max", pc.less_equal(column, contract.max)))
    return found


def _allowed(values: list[Scalar]) -> pa.Array:
    """The allowed values as canonical columns spell them."""
    texts = []
    for value in values:
        if isinstance(value, bool):
            texts.append("true" if value else "false")
        else:
            texts.append(str(int(value)) if isinstance(value, float) and value.is_integer() else str(value))
    return pa.array(texts, pa.large_string())


def _matches(name: str, column: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Where the text of a value holds `pattern`; RE2 takes linear time whatever the pattern."""
    try:
        return pc.match_substring_regex(column.cast(pa.large_string()), pattern)
    except pa.ArrowInvalid as error:
        raise InvalidData(f"The pattern for column {bounded(name)!r} is not usable: {bounded(error)}.", code="bad_pattern",
                          hint="Patterns are RE2: no look-around, no back-references.",
                          violations=[_violation(name, "pattern", "has a pattern that is not RE2")]) from None  # fmt: skip


def _counted(name: str, label: str, cases: pd.DataFrame) -> Violation:
    """One violation for all rows that break one rule."""
    rule = {"not_nullable": "nullable", "field_uniqueness": "unique"}.get(label, label)
    rows = sorted(int(row) for row in cases["index"].dropna().unique())
    shown = ", ".join(str(row) for row in rows[:SHOWN_ROWS]) + (" …" if len(rows) > SHOWN_ROWS else "")
    return _violation(name, rule, f"breaks {rule!r} in {len(rows):,} rows (row {shown})")


def _violation(name: str, rule: str, what: str) -> Violation:
    step = name.replace("~", "~0").replace("/", "~1")
    return Violation(pointer=f"/validation/columns/{step}", code=rule, message=f"Column {bounded(name)!r} {what}.")

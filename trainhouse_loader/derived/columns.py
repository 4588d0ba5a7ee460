"""Derived columns: expressions over one row, made at ingest, packed with the model, and made again at serving."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trainhouse_loader.derived import engine as duck
from trainhouse_loader.derived import expressions
from trainhouse_loader.derived.expressions import Expression, refused
from trainhouse_loader.errors import InvalidData, bounded
from trainhouse_loader.reading import coerce
from trainhouse_loader.reading.arrow import TYPE_NAMES, plain

LONGEST_CHAIN = 20
SERVING_BYTES = 2**30
STORED_AS = {name: kind for kind, name in TYPE_NAMES.items() if kind != pa.string()}
TEXT = ("VARCHAR", "UUID", "TIME WITH", "ENUM", "JSON")
PLAIN = (*TEXT, "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
         "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "DATE", "TIME", "TIMESTAMP", '"NULL"')  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Checked expressions over a table, those that need no other derived column first.

    Attributes:
        levels: Expressions by how many others stand before them.
        inputs: The table's columns that any of them uses, with the name of their type in a snapshot.
    """

    levels: tuple[tuple[Expression, ...], ...]
    inputs: Mapping[str, str]

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """All of them, in the order in which they can be made."""
        return tuple(each for level in self.levels for each in level)

    def behind(self, names: Iterable[str]) -> set[str]:
        """The columns, derived ones too, that those of `names` that are derived are made of."""
        by_name = {each.name: each.columns for each in self.expressions}
        waiting, found = [name for name in names if name in by_name], set[str]()
        while waiting:
            for used in by_name[waiting.pop()]:
                if used not in found:
                    found.add(used)
                    waiting += [used] if used in by_name else []
        return found

    def document(self) -> dict[str, Any]:
        """The plan as JSON."""
        columns = [
            {"name": each.name, "expression": each.text, "uses": list(each.columns)} for each in self.expressions
        ]
        inputs = [{"name": name, "type": kind} for name, kind in self.inputs.items()]
        return {"version": 1, "columns": columns, "inputs": inputs}


def part_of(document: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """What `Plan.document` gave, with nothing but what the columns `wanted` need."""
    uses = {column["name"]: column["uses"] for column in document["columns"]}
    kept: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept.add(name)
            waiting += uses.get(name, [])
    columns = [column for column in document["columns"] if column["name"] in kept]
    used = {name for column in columns for name in column["uses"]}
    return {**document, "columns": columns, "inputs": [each for each in document["inputs"] if each["name"] in used]}


def plan(engine: duck.Engine, texts: Mapping[str, str], types: Mapping[str, str]) -> Plan:
    """The expressions `texts`, by the column they make, over a table whose columns have `types`.

    Raises:
        InvalidData: `column_exists`, `expression_cycle`, and what `expressions.parse` refuses.
    """
    for name in texts:
        if name in types:
            raise refused(name, "the table has a column of this name", code="column_exists",
                          hint="Choose another name; to replace a column, exclude the old one.")  # fmt: skip
    known = [*types, *texts]
    waiting = {name: expressions.parse(engine, name, text, known) for name, text in texts.items()}
    levels: list[tuple[Expression, ...]] = []
    while waiting:
        ready = tuple(each for each in waiting.values() if not any(used in waiting for used in each.columns))
        if not ready or len(levels) == LONGEST_CHAIN:
            chain = ", ".join(repr(bounded(name)) for name in list(waiting)[:5])
            why = f"it stands in a circle or a chain of more than {LONGEST_CHAIN} with {chain}"
            raise refused(next(iter(waiting)), why, code="expression_cycle",
                          hint="Let no column depend on itself.")  # fmt: skip
        levels.append(ready)
        waiting = {name: each for name, each in waiting.items() if each not in ready}
    used = {name for level in levels for each in level for name in each.columns}
    return Plan(tuple(levels), {name: kind for name, kind in types.items() if name in used})


@dataclass(frozen=True)
class Query:
    """What the engine runs: over a table `rows` with the columns `inputs`, one column for each of `names`."""

    inputs: tuple[str, ...]
    names: tuple[str, ...]
    sql: str


def query(engine: duck.Engine, made: Plan, *, forgiving: bool) -> Query:
    """The plan as SQL; `forgiving` gives null where an expression fails for a row.

    Raises:
        InvalidData: `expression_error` where types do not fit, `expression_type` where the result is no plain value.
    """
    places = {name: f"·{place}" for place, name in enumerate(made.inputs)}
    places |= {each.name: f"·d{place}" for place, each in enumerate(made.expressions)}
    source = "rows"
    for level in made.levels:
        written = [(expressions.statement(engine, each, places), places[each.name]) for each in level]
        selected = ", ".join(f'{f"TRY({sql})" if forgiving else sql} AS "{place}"' for sql, place in written)
        source = f"(SELECT *, {selected} FROM {source})"  # noqa: S608  # parsed, checked and written by the engine
    names = tuple(each.name for each in made.expressions)
    columns = [f'"{places[name]}"' for name in names]
    empty = pa.table({f"·{place}": pa.array([], STORED_AS[kind]) for place, kind in enumerate(made.inputs.values())})
    with _registered(engine, empty):
        kinds = [str(kind) for kind in engine.sql(f"SELECT {', '.join(columns)} FROM {source}").types]  # noqa: S608
    for name, kind in zip(names, kinds, strict=True):
        if not kind.startswith(PLAIN) or kind.endswith("]"):
            raise refused(name, f"it gives {bounded(kind)}", code="expression_type",
                          hint="Make a number, text, truth or time of it: epoch(a - b) for times, list_sum(a) for lists.")  # fmt: skip
    taken = [f"CAST({column} AS VARCHAR)" if kind.startswith(TEXT) else column
             for column, kind in zip(columns, kinds, strict=True)]  # fmt: skip
    return Query(tuple(made.inputs), names, f"SELECT {', '.join(taken)} FROM {source}")  # noqa: S608


@contextmanager
def _registered(engine: duck.Engine, table: pa.Table) -> Iterator[None]:
    """`table` is known as `rows`; one without a column gets an empty one, so that it has rows."""
    if not table.num_columns:
        table = pa.table({"·": pa.nulls(table.num_rows, pa.int64())})
    engine.register("rows", table)
    try:
        yield
    finally:
        engine.unregister("rows")


def run(engine: duck.Engine, asked: Query, table: pa.Table) -> pa.Table:
    """(rows, derived columns) of a table with the columns `asked.inputs`, in canonical types but that text stays text.

    Raises:
        duckdb.Error: an expression fails; never where the query is forgiving.
    """
    rows = pa.table([table.column(name) for name in asked.inputs],
                    names=[f"·{place}" for place in range(len(asked.inputs))]) if asked.inputs else table  # fmt: skip
    with _registered(engine, rows):
        found = engine.sql(asked.sql).to_arrow_table()
    return pa.table([_plain(column) for column in found.columns],
                    names=list(asked.names))  # fmt: skip


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of the engine in its canonical type; text is not taken for anything else."""
    if pa.types.is_time(column.type):
        column = column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return plain(column)
    text = column.cast(pa.large_string())
    return pc.if_else(pc.equal(pc.binary_length(text), 0), pa.scalar(None, pa.large_string()), text)


class Derivation:
    """Derived columns at serving, on an engine that is kept; several threads may use one."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Takes what `Plan.document` gave.

        Raises:
            InvalidData: an expression is none that training would have accepted.
        """
        self.inputs: dict[str, str] = {each["name"]: each["type"] for each in document["inputs"]}
        self.names = tuple(each["name"] for each in document["columns"])
        self._engine = duck.opened(memory_bytes=SERVING_BYTES)
        self._turn = threading.Lock()
        texts = {each["name"]: each["expression"] for each in document["columns"]}
        try:
            self._query = query(self._engine, plan(self._engine, texts, self.inputs), forgiving=True)
        except duckdb.Error as error:
            raise InvalidData(f"The derived columns do not fit their inputs: {duck.said(error)}", code="expression_error") from None  # fmt: skip

    def extend(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`frame` with the derived columns, made of its inputs as training would have read them.

        An expression that fails for a row is missing there.

        Raises:
            InvalidData: `missing_column`.
        """
        lacking = [name for name in self.inputs if name not in frame.columns]
        if lacking:
            raise InvalidData(f"The rows lack the column {bounded(lacking[0])!r}.", code="missing_column")
        arrays = [coerce.as_stored(frame[name], kind) for name, kind in self.inputs.items()]
        rows = pa.table(arrays, names=list(self.inputs)) if arrays else pa.table({"·": pa.nulls(len(frame))})
        with self._turn:
            found = run(self._engine, self._query, rows)
        made = found.to_pandas(use_threads=False, date_as_object=False).set_axis(frame.index)
        again = [name for name in self.names if name in frame.columns]
        rest = frame.drop(columns=again) if again else frame
        return pd.concat([rest, made], axis=1)

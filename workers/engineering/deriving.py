"""Makes the derived columns of a table, and says which expression cannot be worked out and for which rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from app.errors import InvalidData, bounded
from trainhouse_loader.derived.columns import Plan, Query, plan, query, run
from trainhouse_loader.derived.engine import Engine, said
from trainhouse_loader.derived.expressions import Expression, refused
from trainhouse_loader.reading.arrow import TYPE_NAMES
from workers.engineering import duck

SUSPECTS, SHOWN_ROWS = 50, 5


def extended(
    table: pa.Table, texts: Mapping[str, str], *, scratch: Path, threads: int, memory_bytes: int | None, seconds: float
) -> tuple[pa.Table, Plan]:
    """A canonical `table` with the columns that the expressions `texts` make, and their plan.

    Raises:
        InvalidData: what `plan` refuses; `expression_failed` where an expression cannot be worked out for some row.
        DeadlineExceeded: it took longer than `seconds`.
    """
    with duck.spilling(scratch, threads=threads, memory_bytes=memory_bytes) as engine:
        made = plan(engine, texts, {field.name: TYPE_NAMES[field.type] for field in table.schema})
        with duck.watched(engine, seconds, what="data.features.columns", code="sql_timeout"):
            asked = _bound(engine, made)
            try:
                found = run(engine, asked, table)
            except duckdb.InterruptException:
                raise
            except duckdb.Error as error:
                raise _failed(engine, made, table, error) from None
    for name in texts:
        table = table.append_column(name, found.column(name))
    return table, made


def _singles(made: Plan) -> Iterator[tuple[Expression, Plan]]:
    """Each expression with the plan of what it alone needs."""
    for each in made.expressions:
        needed = {each.name, *made.behind([each.name])}
        levels = [tuple(one for one in level if one.name in needed) for level in made.levels]
        yield each, Plan(tuple(level for level in levels if level), made.inputs)


def _bound(engine: Engine, made: Plan) -> Query:
    """The plan as SQL whose types fit.

    Raises:
        InvalidData: `expression_error`, for the first expression whose types do not.
    """
    try:
        return query(engine, made, forgiving=False)
    except duckdb.Error as error:
        for each, single in _singles(made):
            try:
                query(engine, single, forgiving=False)
            except duckdb.Error as own:
                raise refused(each.name, _said(own, made), code="expression_error",
                              hint="Cast the values, as in try_cast(a AS DOUBLE).") from None  # fmt: skip
        raise InvalidData(f"data.features.columns: {said(error)}", code="expression_error") from None


def _said(error: duckdb.Error, made: Plan) -> str:
    """The engine's words with the columns' own names."""
    text = said(error)
    for place, name in reversed(list(enumerate(made.inputs))):
        text = text.replace(f"·{place}", name)
    for place, each in reversed(list(enumerate(made.expressions))):
        text = text.replace(f"·d{place}", each.name)
    return bounded(text)


def _failed(engine: Engine, made: Plan, table: pa.Table, error: duckdb.Error) -> InvalidData:
    """The error for the first expression that fails, with rows for which it does."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return InvalidData(f"data.features.columns needs more memory: {said(error)}", code="sql_memory",
                           hint="Raise resources.memory_bytes, or make smaller values.")  # fmt: skip
    for each, single in _singles(made):
        asked = query(engine, single, forgiving=False)
        if not _fails(engine, asked, table):
            continue
        without = run(engine, query(engine, single, forgiving=True), table).column(each.name)
        suspects = np.flatnonzero(without.is_null().to_numpy())[:SUSPECTS].tolist()
        rows = [row for row in suspects if _fails(engine, asked, table.slice(row, 1))][:SHOWN_ROWS]
        shown = f" (rows {', '.join(str(row) for row in rows)})" if rows else ""
        kind = type(error).__name__.removesuffix("Exception")
        return refused(each.name, f"it cannot be worked out for every row{shown}: {kind}", code="expression_failed",
                       hint="Use try_cast or TRY(...) where a value may not allow it; then it is null.")  # fmt: skip
    return InvalidData("data.features.columns cannot be worked out for every row.", code="expression_failed")


def _fails(engine: Engine, asked: Query, table: pa.Table) -> bool:
    try:
        run(engine, asked, table)
    except duckdb.InterruptException:
        raise
    except duckdb.Error:
        return True
    return False

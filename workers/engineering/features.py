"""Feature engineering in SQL: DuckDB over the named tables, walled off from files, network and settings."""

import time
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from app.errors import InvalidData
from trainhouse_loader.derived.engine import said
from workers.engineering import duck
from workers.table.canonical import canonical

LONGEST_SECONDS = 1_800.0


def select(
    sql: str,
    tables: Mapping[str, pa.Table],
    *,
    scratch: Path,
    threads: int = 1,
    memory_bytes: int | None = None,
    seconds: float = LONGEST_SECONDS,
) -> pa.Table:
    """The canonical result of the one SELECT `sql` over `tables`, by name.

    Raises:
        InvalidData: `sql_error` with the engine's words, `sql_denied` where the statement reaches outside,
            `sql_memory`, `ambiguous_columns`, `no_rows`, or what a canonical table refuses.
        DeadlineExceeded: it ran longer than `seconds`.
    """
    with duck.sandbox(tables, scratch=scratch, threads=threads, memory_bytes=memory_bytes) as engine:
        statement = _single(engine, sql)
        with duck.watched(engine, min(seconds, LONGEST_SECONDS), what="features.sql", code="sql_timeout"):
            try:
                table = engine.sql(statement).to_arrow_table()
            except duckdb.InterruptException:
                raise
            except duckdb.Error as error:
                raise _explained(error) from None
    if table.num_rows == 0:
        raise InvalidData("features.sql gives no rows.", code="no_rows", hint="Check its joins and conditions.")
    return canonical(table)


def _single(engine: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The only statement of `sql`, which is a SELECT."""
    try:
        statements = engine.extract_statements(sql)
    except duckdb.Error as error:
        raise _explained(error) from None
    if len(statements) != 1:
        raise InvalidData(f"features.sql holds {len(statements)} statements; it must be one SELECT.", code="sql_error")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise InvalidData(f"features.sql is a {statements[0].type.name} statement; it must be a SELECT.",
                          code="sql_denied", hint="Only the named tables can be read, and nothing written.")  # fmt: skip
    return statements[0]


def _explained(error: duckdb.Error) -> InvalidData:
    """The engine's words, bounded; its fence has a code of its own."""
    words = said(error)
    if isinstance(error, duckdb.PermissionException):
        return InvalidData(f"features.sql reaches outside its tables: {words}", code="sql_denied",
                           hint="Only the named tables can be read; give files as sources.")  # fmt: skip
    if isinstance(error, duckdb.OutOfMemoryException):
        return InvalidData(f"features.sql needs more memory: {words}", code="sql_memory",
                           hint="Raise resources.memory_bytes, or join on fewer rows.")  # fmt: skip
    return InvalidData(f"features.sql: {words}", code="sql_error", hint="The tables are named as in data.sources.")


def seconds_left(deadline: float) -> float:
    """Seconds from now to `deadline`, a reading of `time.monotonic()`, within the longest that SQL may run."""
    return min(deadline - time.monotonic(), LONGEST_SECONDS)

"""Feature engineering in SQL: DuckDB over the named tables, walled off from files, network and settings."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from app.errors import DeadlineExceeded, InvalidData, bounded
from workers.canonical import canonical

LONGEST_SECONDS = 1_800.0
MEMORY_SHARE = 0.5


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
            `sql_memory`, `no_rows`, or what a canonical table refuses.
        DeadlineExceeded: it ran longer than `seconds`.
    """
    with _sandbox(tables, scratch, threads, memory_bytes) as engine:
        statement = _single(engine, sql)
        watch = threading.Timer(max(0.0, min(seconds, LONGEST_SECONDS)), engine.interrupt)
        watch.start()
        try:
            table = engine.sql(statement).to_arrow_table()
        except duckdb.InterruptException:
            raise DeadlineExceeded(f"features.sql ran longer than {seconds:,.0f} seconds.", code="sql_timeout",
                                   hint="Join on fewer rows, or raise resources.max_seconds.") from None  # fmt: skip
        except duckdb.Error as error:
            raise _explained(error) from None
        finally:
            watch.cancel()
    if table.num_rows == 0:
        raise InvalidData("features.sql gives no rows.", code="no_rows", hint="Check its joins and conditions.")
    return canonical(table)


@contextmanager
def _sandbox(
    tables: Mapping[str, pa.Table], scratch: Path, threads: int, memory_bytes: int | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine that knows `tables` and nothing else, its configuration locked."""
    memory = memory_bytes or int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
    engine = duckdb.connect(":memory:")
    try:
        for name, table in tables.items():
            engine.register(name, table)
        engine.execute(f"SET temp_directory = '{str(scratch).replace(chr(39), chr(39) * 2)}'")
        for setting in (
            "TimeZone = 'UTC'", f"threads = {threads}", f"memory_limit = '{memory}B'",
            "python_enable_replacements = false", "autoinstall_known_extensions = false",
            "autoload_known_extensions = false", "allow_community_extensions = false",
            "enable_external_access = false", "lock_configuration = true",
        ):  # fmt: skip
            engine.execute(f"SET {setting}")
        engine.execute("SELECT setseed(0.42)").fetchall()
        yield engine
    finally:
        engine.close()


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
    words = bounded(str(error).split("\n\n")[0].strip())
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

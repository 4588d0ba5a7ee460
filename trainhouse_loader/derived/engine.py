"""An SQL engine that knows the tables it is given and nothing else: no files, no network, no settings, bounded."""

import os
import re
from pathlib import Path

import duckdb

from trainhouse_loader.errors import bounded

Engine = duckdb.DuckDBPyConnection
MEMORY_SHARE = 0.5
SPILL_BYTES = 16 * 2**30
DEEPEST = 250
OF_VALUES = (
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.InvalidInputException,
    duckdb.ConstraintException,
)


VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\([^)]*\)|(?<![A-Za-z])-?\d[\d.:eE+-]*")
LOCKED = (
    "TimeZone = 'UTC'", "Calendar = 'gregorian'", "error_on_division_by_zero = false", f"max_expression_depth = {DEEPEST}",
    "python_enable_replacements = false", "python_scan_all_frames = false", "autoinstall_known_extensions = false",
    "autoload_known_extensions = false", "allow_community_extensions = false", "allow_unsigned_extensions = false",
    "enable_external_access = false", "lock_configuration = true",
)  # fmt: skip


def opened(*, threads: int = 1, memory_bytes: int | None = None, spill: Path | None = None) -> Engine:
    """An engine of its own without tables, its configuration locked; without `spill`, a folder, nothing goes to disk."""
    memory = memory_bytes or int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
    engine = duckdb.connect(":memory:")
    place = "" if spill is None else str(spill).replace("'", "''")
    settings = (f"temp_directory = '{place}'", f"max_temp_directory_size = '{SPILL_BYTES}B'", f"threads = {threads}",
                f"memory_limit = '{memory}B'", *LOCKED)  # fmt: skip
    try:
        for setting in settings:
            engine.execute(f"SET {setting}").fetchall()
        engine.execute("SELECT setseed(0.42)").fetchall()
    except duckdb.Error:
        engine.close()
        raise
    return engine


def said(error: duckdb.Error) -> str:
    """The engine's words without the statement and without values of the data, bounded."""
    words = str(error).split("\n\n")[0].split("\nLINE ")[0].strip()
    if isinstance(error, OF_VALUES):
        words = VALUES.sub("…", words)
    return bounded(words)

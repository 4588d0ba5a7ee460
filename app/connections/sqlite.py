"""Opens a SQLite file of the operator's folder so that a statement can read its tables and nothing else."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.errors import SourceRefused, SourceUnavailable, TrainhouseError, bounded
from app.settings import Settings

MAX_VALUE_BYTES = 64 * 1024**2
MAX_HEAP_BYTES = 1024**3
BUSY_SECONDS = 5.0
STEPS = 20_000
"""Of SQLite's machine between two looks at the clock: some milliseconds."""
SAFE = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
    f"PRAGMA hard_heap_limit = {MAX_HEAP_BYTES}",
    "PRAGMA query_only = ON",
    "BEGIN",
)
MAY = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
MAY_NOT_CALL = frozenset(
    {"printf", "format", "load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "fsdir"}
)
"""Functions that reach files, and two that can work for minutes in one step, where no clock is looked at."""
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

for _name in ("DATE", "DATETIME", "TIMESTAMP"):
    sqlite3.register_converter(_name, bytes.decode)
for _name in ("BOOL", "BOOLEAN"):
    sqlite3.register_converter(_name, lambda said: {b"0": False, b"1": True}.get(said, said.decode("utf-8", "replace")))
# converters belong to the module; only connections that ask for declared types, as ours do, meet them


def open_file(config: Mapping[str, Any], *, settings: Settings) -> Path:
    """The file that `config` names in the operator's folder.

    Raises:
        SourceRefused: `sqlite_off`, `no_such_file`, or `not_a_sqlite`.
    """
    folder, name = settings.sqlite_dir, str(config.get("file", ""))
    if folder is None:
        raise SourceRefused("This installation reads no SQLite files.", code="sqlite_off",
                            hint="The operator can name a folder with TRAINHOUSE_SQLITE_DIR.")  # fmt: skip
    if not name or "\0" in name or name in {".", ".."} or Path(name).name != name:
        raise SourceRefused("The connection's file is no plain name.", code="bad_connection")
    try:
        found = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SourceRefused(f"The operator's folder has no file of that name to read ({type(error).__name__}).",
                            code="no_such_file", hint="The name must be that of a file, not of a link.") from None  # fmt: skip
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode) or os.read(found, 16) != b"SQLite format 3\x00":
            raise SourceRefused("The file is no SQLite database.", code="not_a_sqlite")
    finally:
        os.close(found)
    return folder / name


@contextmanager
def session(config: Mapping[str, Any], *, settings: Settings, late: Callable[[], bool]) -> Iterator[sqlite3.Connection]:
    """A session that reads one state of the file; a statement ends when `late()` says so.

    Raises:
        SourceRefused: what `open_file` refuses, and a statement that does more than read or is no SQL.
        SourceUnavailable: the file stays locked, or `source_timeout`.
    """
    path, made = open_file(config, settings=settings), None
    try:
        made = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None,
            detect_types=sqlite3.PARSE_DECLTYPES, cached_statements=0,
        )  # fmt: skip
        made.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        made.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        made.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256)
        for statement in SAFE:
            made.execute(statement)
        made.set_authorizer(_may)
        made.set_progress_handler(late, STEPS)
        yield made
    except (sqlite3.Error, sqlite3.Warning, MemoryError, UnicodeError, OverflowError) as error:
        raise explained(error) from None
    finally:
        if made is not None:
            made.close()


def _may(action: int, __first: str | None, second: str | None, _database: str | None, _by: str | None) -> int:
    if action in MAY or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in MAY_NOT_CALL):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def explained(error: BaseException) -> TrainhouseError:
    """Whose turn it is after SQLite's `error`."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_INTERRUPT:
        return SourceUnavailable("The query did not end in time.", code="source_timeout")
    if code in BUSY:
        return SourceUnavailable("The file is locked by whoever writes to it.")
    if isinstance(error, MemoryError) or code == sqlite3.SQLITE_NOMEM:
        return SourceRefused("The query needs more memory than it may have.", code="too_many_bytes",
                             hint="Select less, or fewer and shorter columns.")  # fmt: skip
    if code == sqlite3.SQLITE_CANTOPEN:
        return SourceRefused("The file cannot be opened for reading alone.", code="sqlite_refused",
                             hint="A file in WAL mode needs PRAGMA journal_mode = DELETE before it is offered.")  # fmt: skip
    return SourceRefused(
        f"SQLite refused: {bounded(error)}.", hint="The query must be one SELECT over the file's tables."
    )

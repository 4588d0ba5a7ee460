"""An SQL engine that knows the tables it is given and nothing else: no files, no network, no settings, bounded."""

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from app.errors import DeadlineExceeded, InvalidData, bounded
from trainhouse_loader.derived.engine import Engine, opened

INTERRUPT_SECONDS = 0.1


@contextmanager
def sandbox(
    tables: Mapping[str, pa.Table], *, scratch: Path, threads: int = 1, memory_bytes: int | None = None
) -> Iterator[Engine]:
    """An engine with `tables` by name.

    Raises:
        InvalidData: `ambiguous_columns`, where names of one table differ in case only, which SQL cannot tell apart.
    """
    for name, table in tables.items():
        _tell_apart(name, table.column_names)
    with spilling(scratch, threads=threads, memory_bytes=memory_bytes) as engine:
        for name, table in tables.items():
            engine.register(name, table)
        yield engine


@contextmanager
def spilling(scratch: Path, *, threads: int = 1, memory_bytes: int | None = None) -> Iterator[Engine]:
    """An engine that may spill into a folder of its own in `scratch`; SQL may read that folder, so nothing else is in it."""
    with tempfile.TemporaryDirectory(prefix="spill-", dir=scratch) as folder:
        engine = opened(threads=threads, memory_bytes=memory_bytes, spill=Path(folder))
        try:
            yield engine
        finally:
            engine.close()


def _tell_apart(table: str, names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(name.lower(), name)
        if twin != name:
            raise InvalidData(
                f"Columns {bounded(twin)!r} and {bounded(name)!r} of {table} differ in case only.", code="ambiguous_columns",
                hint="SQL cannot tell them apart: read one of them, by `columns` of the source, or rename one.",
            )  # fmt: skip


@contextmanager
def watched(engine: Engine, seconds: float, *, what: str, code: str) -> Iterator[None]:
    """Ends what `engine` does after `seconds`.

    It is told more than once: an interrupt between two statements is forgotten when the next one begins.

    Raises:
        DeadlineExceeded: it was still at it.
    """
    over = threading.Event()

    def watch() -> None:
        wait = min(max(0.0, seconds), threading.TIMEOUT_MAX)
        while not over.wait(wait):
            engine.interrupt()
            wait = INTERRUPT_SECONDS

    watching = threading.Thread(target=watch, name="watch", daemon=True)
    watching.start()
    try:
        yield
    except duckdb.InterruptException:
        raise DeadlineExceeded(f"{what} ran longer than {seconds:,.0f} seconds.", code=code,
                               hint="Join on fewer rows, or raise resources.max_seconds.") from None  # fmt: skip
    finally:
        over.set()
        watching.join()  # so that none interrupts an engine that is closed

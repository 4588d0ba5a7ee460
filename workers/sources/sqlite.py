"""One SELECT of a SQLite file in the operator's folder, streamed into Arrow batches by a session that can only read."""

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from app.connections import sqlite
from app.settings import settings
from app.spec.data import DatabaseSource
from workers.context import ConnectionRef, Context
from workers.sources.sql import Rows, counted, seconds_left, statement

BATCH_ROWS = 16_384
TEXT = pa.large_string()


class _Watch:
    """Looks at the clock, and whether the job is still wanted, while SQLite works."""

    def __init__(self, ctx: Context, seconds: float) -> None:
        self._ctx, self._until, self._next = ctx, time.monotonic() + seconds, 0.0
        self.stopped: BaseException | None = None

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 1.0
            try:
                self._ctx.progress(0, 1)
            except BaseException as signal:  # noqa: BLE001  # SQLite would swallow it; it is raised again by `read`
                self.stopped = signal
        return self.stopped is not None or now >= self._until


def read(found: ConnectionRef, source: DatabaseSource, ctx: Context) -> Rows:
    """The rows of one SELECT; raises as `database.read`."""
    watch = _Watch(ctx, seconds_left(ctx))
    try:
        with sqlite.session(found.config, settings=settings(), late=watch) as session:
            cursor = session.execute(statement(source, '"'))
            names = [name for name, *_ in cursor.description or ()]
            batches = counted(_batches(cursor, names), source.max_rows, ctx)
    except Exception:
        if watch.stopped is not None:
            raise watch.stopped from None
        raise
    columns = [_joined([batch.column(index) for batch in batches]) for index in range(len(names))]
    table = pa.table(columns, names=names)
    return Rows(table, table.nbytes, {"product": "SQLite", "server": sqlite3.sqlite_version})


def _batches(cursor: sqlite3.Cursor, names: list[str]) -> Iterator[pa.RecordBatch]:
    while rows := cursor.fetchmany(BATCH_ROWS):
        yield pa.RecordBatch.from_arrays([_array(values) for values in zip(*rows, strict=True)], names=names)


def _array(values: tuple[Any, ...]) -> pa.Array:
    """The values in the first type that holds them all; as text where they are of several."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    if len(kinds) == 1 or kinds == {int, float}:
        plain = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: TEXT, bytes: pa.large_binary()}
        if len(kinds) == 2:  # Arrow refuses whole numbers that no float holds exactly
            values = tuple(None if value is None else float(value) for value in values)
        return pa.array(values, plain[float if float in kinds else kinds.pop()])
    return pa.array([None if value is None else _as_text(value) for value in values], TEXT)


def _as_text(value: float | str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _joined(parts: list[pa.Array]) -> pa.ChunkedArray:
    """The column's batches in one type."""
    kinds = {part.type for part in parts if part.type != pa.null()}
    if not kinds:
        return pa.chunked_array(parts)
    if kinds == {pa.int64(), pa.float64()}:
        wanted: pa.DataType = pa.float64()
    else:
        wanted = kinds.pop() if len(kinds) == 1 else TEXT
    return pa.chunked_array([part.cast(wanted, safe=False) for part in parts])

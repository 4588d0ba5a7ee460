"""One SELECT of a MySQL or MariaDB database, streamed into Arrow batches by a session that can only read."""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pymysql.constants import FIELD_TYPE, FLAG

from app.connections import mysql
from app.errors import SourceRefused, SourceUnavailable, TrainhouseError
from app.settings import settings
from app.spec.data import DatabaseSource
from workers.context import ConnectionRef, Context
from workers.sources.base import MAX_EXPANDED_BYTES, without_secrets
from workers.sources.sql import Rows, counted, seconds_left, statement
from workers.table.canonical import trimmed_clock

BATCH_ROWS = 16_384
BATCH_BYTES = 16 * 1024**2
BINARY_CHARSET = 63
BYTES, TEXT = pa.large_binary(), pa.large_string()
WHOLE = {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.YEAR}
MAYBE_BINARY = {FIELD_TYPE.BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.STRING,
                FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.GEOMETRY}  # fmt: skip
Convert = Callable[[pa.ChunkedArray], pa.ChunkedArray]


def read(found: ConnectionRef, source: DatabaseSource, ctx: Context) -> Rows:
    """The rows of one SELECT; raises as `database.read`."""
    try:
        with mysql.session(
            found.config, found.secret, settings=settings(), seconds=seconds_left(ctx), max_bytes=2 * MAX_EXPANDED_BYTES
        ) as session:
            product, version = mysql.product(session)
            fields = mysql.ask(session, statement(source, "`"))
            batches = counted(_batches(session, [field.name for field in fields]), source.max_rows, ctx)
            taken = session.relay.received
    except (SourceRefused, SourceUnavailable) as error:
        raise _of(error, found) from None
    table = pa.Table.from_batches(batches)
    columns = [_converted(column, field) for column, field in zip(table.columns, fields, strict=True)]
    return Rows(pa.table(columns, names=table.column_names), taken, {"product": product, "server": version})


def _batches(session: mysql.Reader, names: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows as batches of bytes columns, which Arrow converts in one go; never all as Python's objects."""
    rows: list[list[bytes | None]] = []
    size = 0
    for packet in mysql.packets(session):
        row = mysql.fields(packet)
        if len(row) != len(names):
            raise ValueError("a row of another width")
        rows.append(row)
        size += len(packet)
        if len(rows) == BATCH_ROWS or size > BATCH_BYTES:
            yield _batch(rows, names)
            rows, size = [], 0
    if rows:
        yield _batch(rows, names)


def _batch(rows: list[list[bytes | None]], names: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, BYTES) for values in zip(*rows, strict=True)], names=names)


def _converted(column: pa.ChunkedArray, field: Any) -> pa.ChunkedArray:
    """`column` as the type that the server says of its field; as text or bytes where a value does not fit."""
    if field.type_code == FIELD_TYPE.BIT:
        return pa.chunked_array([pa.array([_bits(value, field.length) for value in column.to_pylist()])])
    if field.charsetnr == BINARY_CHARSET and field.type_code in MAYBE_BINARY:
        return column
    try:
        text = column.cast(TEXT)
    except pa.ArrowInvalid:
        return column
    try:
        if field.type_code in WHOLE:
            return _whole(text, field)
        return CONVERTERS.get(field.type_code, _same)(text)
    except pa.ArrowInvalid:
        return text


def _whole(text: pa.ChunkedArray, field: Any) -> pa.ChunkedArray:
    if field.type_code == FIELD_TYPE.TINY and field.length == 1:
        return _truth(text)
    return text.cast(pa.uint64() if field.flags & FLAG.UNSIGNED else pa.int64())


def _same(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return text


def _truth(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """TINYINT(1) is how these servers store BOOLEAN; a value beyond 0 and 1 says that it was meant as a number."""
    whole = text.cast(pa.int64())
    return whole.cast(pa.bool_()) if pc.all(pc.is_in(whole, pa.array([0, 1, None]))).as_py() else whole


def _bits(value: bytes | None, width: int) -> int | bool | None:
    if value is None:
        return None
    return bool(int.from_bytes(value)) if width == 1 else int.from_bytes(value)


def _day(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return _without_zero(text).cast(pa.date32())


def _moment(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return _without_zero(text).cast(pa.timestamp("us"))


def _without_zero(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """The zero date is how these servers write that there is none."""
    return pc.if_else(pc.starts_with(text, "0000-00-00"), pa.scalar(None, TEXT), text)


CONVERTERS: dict[int, Convert] = {
    FIELD_TYPE.FLOAT: lambda text: text.cast(pa.float64()),
    FIELD_TYPE.DOUBLE: lambda text: text.cast(pa.float64()),
    FIELD_TYPE.DATE: _day,
    FIELD_TYPE.NEWDATE: _day,
    FIELD_TYPE.DATETIME: _moment,
    FIELD_TYPE.TIMESTAMP: _moment,
    FIELD_TYPE.TIME: trimmed_clock,
    FIELD_TYPE.NULL: lambda text: pa.chunked_array([pa.nulls(len(text))]),
}


def _of(error: TrainhouseError, found: ConnectionRef) -> TrainhouseError:
    """`error`, naming the connection."""
    detail = f"Connection {found.name!r}: {without_secrets(error.detail, found)}"
    return type(error)(detail, code=error.stable_code, hint=error.hint, violations=error.violations)

"""One SELECT of a Postgres database, streamed as Arrow batches by a session that can only read."""

import re

import adbc_driver_manager as adbc
import adbc_driver_postgresql.dbapi as driver
import pyarrow as pa

from app.connections import postgres
from app.errors import InvalidData, SourceRefused, SourceUnavailable, TrainhouseError, bounded
from app.settings import settings
from app.spec.data import DatabaseSource
from workers.context import ConnectionRef, Context
from workers.sources.base import MAX_EXPANDED_BYTES, without_secrets
from workers.sources.sql import Rows, counted, seconds_left, statement
from workers.sources.stderr import bounded_stderr

BATCH_BYTES = 4 * 1024**2
SILENT = re.compile(r"refused|timed? ?out|timeout expired|could not translate|unreachable|starting up|shutting down|too many"
                    r"|closed the connection|reset by peer|no route|server closed", re.IGNORECASE)  # fmt: skip
PLACE = re.compile(r'connection to server at "[^"]*"( \([^)]*\))?, port \d+ failed: ')
"""The driver names the relay, which nobody else knows."""


def read(found: ConnectionRef, source: DatabaseSource, ctx: Context) -> Rows:
    """The rows of one SELECT; raises as `database.read`."""
    seconds = seconds_left(ctx)
    with postgres.reached(
        found.config, found.secret, settings=settings(), seconds=seconds, max_bytes=2 * MAX_EXPANDED_BYTES
    ) as way:  # fmt: skip
        try:
            with bounded_stderr(), driver.connect(way.conninfo) as session, session.cursor() as cursor:
                cursor.execute(postgres.ABOUT)
                powers, own, version = cursor.fetchall()[0]
                postgres.judge(powers, own=bool(own))
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
                cursor.execute(statement(source, '"'))
                reader = cursor.fetch_record_batch()
                table = pa.Table.from_batches(counted(reader, source.max_rows, ctx), reader.schema)
        except (adbc.Error, pa.ArrowException, OSError) as error:  # a fault between two batches comes as Arrow's
            raise _explained(error, found, cut=way.relay.cut) from None
    return Rows(_plain(table), way.relay.received, {"product": "PostgreSQL", "server": bounded(version)})


def _plain(table: pa.Table) -> pa.Table:
    """What Arrow has no type for, numeric above all, as the text that the driver stores it as."""
    columns = [column.cast(column.type.storage_type) if isinstance(column.type, pa.OpaqueType) else column
               for column in table.columns]  # fmt: skip
    return pa.table(columns, names=table.column_names)


def _explained(error: Exception, found: ConnectionRef, *, cut: str | None) -> TrainhouseError:
    """Whose turn it is after the engine's `error`."""
    if cut == "late":
        return SourceUnavailable(
            f"The database of connection {found.name!r} did not answer in time.", code="source_timeout"
        )
    if cut == "long":
        return InvalidData(f"The database of connection {found.name!r} sends more than may be read.",
                           code="too_many_bytes", hint="Select fewer rows or columns.")  # fmt: skip
    text = PLACE.sub("", " ".join(without_secrets(str(error), found).split("Query was:")[0].split()))
    if fault := postgres.tls_fault(text):
        return fault
    state = str(getattr(error, "sqlstate", "") or "")
    if state == "57014":
        return SourceRefused("The database ended the query: it took too long.", code="query_timeout",
                             hint="Select less, or add an index.")  # fmt: skip
    silent = state.startswith(("08", "53", "57P")) or (not state.strip("0") and SILENT.search(text) is not None)
    detail = f"The database of connection {found.name!r} {'does not answer' if silent else 'refused'}: {bounded(text)}"
    if silent:
        return SourceUnavailable(detail)
    return SourceRefused(detail, hint="Check the role's rights, and that the query is one SELECT.")

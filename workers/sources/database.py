"""One SELECT of a Postgres database, streamed as Arrow batches by a session that can only read."""

import re
import time

import adbc_driver_manager as adbc
import adbc_driver_postgresql.dbapi as postgres
import pyarrow as pa
from psycopg.conninfo import make_conninfo

from app.egress import resolve
from app.errors import InvalidData, SourceRefused, SourceUnavailable, TrainhouseError, bounded
from app.spec.data import DatabaseSource
from workers.canonical import canonical
from workers.context import ConnectionRef, Context
from workers.sources.base import MAX_EXPANDED_BYTES, SourceResult, connection, without_secrets

CONNECT_SECONDS = 10
LONGEST_SECONDS = 3_600
BATCH_BYTES = 4 * 1024**2
SSL_MODES = frozenset({"disable", "allow", "prefer", "require"})
POWERS = """
    select string_agg(rolname, ', ' order by rolname) from pg_roles
    where (rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
           and pg_has_role(current_user, oid, 'member'))
       or (rolsuper and pg_has_role(current_user, oid, 'member'))
"""
SILENT = re.compile(r"refused|timed? ?out|timeout expired|could not translate|unreachable|starting up|shutting down|too many"
                    r"|closed the connection|reset by peer|no route|server closed", re.IGNORECASE)  # fmt: skip


def read(source: DatabaseSource, ctx: Context) -> SourceResult:
    """The rows of one SELECT, or of a table, as a canonical table.

    Raises:
        SourceRefused: the engine refuses the role, the password or the query; `too_powerful` where the role could
            do more to the server than read tables.
        SourceUnavailable: the engine does not answer.
        EgressDenied: the host may not be reached.
        InvalidData: `too_many_rows`, `no_rows`, and what a canonical table refuses.
    """
    found = connection(ctx, source.connection, ("postgres",))
    seconds = max(1, int(min(ctx.deadline - time.monotonic(), LONGEST_SECONDS)))
    try:
        with postgres.connect(_address(found, seconds)) as session, session.cursor() as cursor:
            cursor.execute(POWERS)
            powers = cursor.fetchall()[0][0]
            if powers:
                raise SourceRefused(f"The role of connection {found.name!r} has the power of {powers}.",
                                    code="too_powerful", hint="Use a role that may only read the tables.")  # fmt: skip
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            cursor.execute(_select(source))
            table = _rows(cursor.fetch_record_batch(), source.max_rows, ctx)
    except (adbc.Error, pa.ArrowException, OSError) as error:  # a fault between two batches comes as Arrow's
        raise _explained(error, found) from None
    return SourceResult(canonical(_plain(table)), table.nbytes, 1)


def _address(found: ConnectionRef, seconds: int) -> str:
    """The connection string, built from fields; the host is pinned to the address that passed the way out."""
    host, port = str(found.config.get("host", "")), int(found.config.get("port") or 5432)
    mode = str(found.config.get("sslmode") or "prefer")
    if not host or host.startswith(("/", "@")) or "," in host or mode not in SSL_MODES:
        raise SourceRefused(f"Connection {found.name!r} names no usable host or sslmode.", code="bad_connection",
                            hint=f"host is one name or address; sslmode one of {', '.join(sorted(SSL_MODES))}.")  # fmt: skip
    addresses = resolve(host, port)
    return make_conninfo(
        host=host, hostaddr=addresses[0], port=port, dbname=str(found.config.get("database", "")),
        user=str(found.config.get("user", "")), password=found.secret.get("password", ""), passfile="/dev/null",
        sslmode=mode, connect_timeout=CONNECT_SECONDS, application_name="trainhouse", client_encoding="UTF8",
        keepalives_idle=30, tcp_user_timeout=60_000,
        options=f"-c default_transaction_read_only=on -c statement_timeout={seconds}s -c timezone=UTC -c datestyle=ISO",
    )  # fmt: skip


def _select(source: DatabaseSource) -> str:
    """The one statement to run: as a subquery, anything but a single SELECT is a syntax error to the engine."""
    if source.table is not None:
        inner = "SELECT * FROM " + ".".join(f'"{step}"' for step in source.table.split("."))  # noqa: S608
    else:
        inner = (source.query or "").strip().rstrip(";").rstrip()
    return f"SELECT * FROM (\n{inner}\n) AS source LIMIT {source.max_rows + 1}"  # noqa: S608


def _rows(batches: pa.RecordBatchReader, max_rows: int, ctx: Context) -> pa.Table:
    """All batches, counted while they arrive."""
    kept: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        rows, size = rows + batch.num_rows, size + batch.nbytes
        ctx.progress(min(rows, max_rows), max_rows)
        if rows > max_rows or size > MAX_EXPANDED_BYTES:
            raise InvalidData(f"The query gives more than {min(rows, max_rows):,} rows.", code="too_many_rows",
                              hint="Raise max_rows, or select fewer rows.")  # fmt: skip
        kept.append(batch)
    if not rows:
        raise InvalidData(
            "The query gives no rows.", code="no_rows", hint="Run the query yourself; it selects nothing."
        )
    return pa.Table.from_batches(kept, batches.schema)


def _plain(table: pa.Table) -> pa.Table:
    """What Arrow has no type for, numeric above all, as the text that the driver stores it as."""
    columns = [column.cast(column.type.storage_type) if isinstance(column.type, pa.OpaqueType) else column
               for column in table.columns]  # fmt: skip
    return pa.table(columns, names=table.column_names)


def _explained(error: Exception, found: ConnectionRef) -> TrainhouseError:
    """Whose turn it is after the engine's `error`."""
    text = " ".join(without_secrets(str(error), found).split("Query was:")[0].split())
    state = str(getattr(error, "sqlstate", "") or "")
    silent = state.startswith(("08", "53", "57P")) or (not state.strip("0") and SILENT.search(text) is not None)
    detail = f"The database of connection {found.name!r} {'does not answer' if silent else 'refused'}: {bounded(text)}"
    if silent:
        return SourceUnavailable(detail)
    return SourceRefused(detail, hint="Check the role's rights, and that the query is one SELECT.")

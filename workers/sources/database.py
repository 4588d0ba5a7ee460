"""One SELECT of a database, streamed by a session that can only read: one reader for each product."""

from app.spec.data import DatabaseSource
from workers.context import Context
from workers.sources import mysql, postgres, sqlite
from workers.sources.base import SourceResult, connection
from workers.sources.sql import ReadRows
from workers.table.canonical import canonical

PRODUCTS: dict[str, ReadRows] = {"postgres": postgres.read, "mysql": mysql.read, "sqlite": sqlite.read}
"""By kind of connection."""


def read(source: DatabaseSource, ctx: Context) -> SourceResult:
    """The rows of one SELECT, or of a table, as a canonical table.

    Raises:
        SourceRefused: the engine refuses the role, the password or the query; `too_powerful` where the role could
            do more to the server than read tables; `own_database` where it is the service's own; `query_timeout`.
        SourceUnavailable: the engine does not answer, or not in time.
        EgressDenied: the host may not be reached.
        InvalidData: `too_many_rows`, `no_rows`, and what a canonical table refuses.
    """
    found = connection(ctx, source.connection, tuple(PRODUCTS))
    rows = PRODUCTS[found.kind](found, source, ctx)
    return SourceResult(canonical(rows.table), rows.bytes, 1, version=rows.version)

"""What every database's reader shares: the one statement, the rows counted while they arrive, the time left."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from app.errors import InvalidData
from app.spec.data import DatabaseSource
from workers.context import ConnectionRef, Context
from workers.sources.base import MAX_EXPANDED_BYTES

LONGEST_SECONDS = 3_600.0


@dataclass(frozen=True)
class Rows:
    """A result as Arrow, the bytes that it took, and what tells this state of the database from another."""

    table: pa.Table
    bytes: int
    version: Mapping[str, Any] = field(default_factory=dict)


ReadRows = Callable[[ConnectionRef, DatabaseSource, Context], Rows]


def statement(source: DatabaseSource, quote: str) -> str:
    """The one statement to run: as a subquery, anything but a single SELECT is a syntax error to the engine.

    Args:
        quote: What the engine puts around names.
    """
    if source.table is not None:
        inner = "SELECT * FROM " + ".".join(f"{quote}{step}{quote}" for step in source.table.split("."))  # noqa: S608
    else:
        inner = (source.query or "").strip().rstrip(";").rstrip()
    return f"SELECT * FROM (\n{inner}\n) AS source LIMIT {source.max_rows + 1}"  # noqa: S608


def seconds_left(ctx: Context) -> float:
    """How long a query may take: until the stage's end, at least a second."""
    return max(1.0, min(ctx.deadline - time.monotonic(), LONGEST_SECONDS))


def counted(batches: Iterable[pa.RecordBatch], max_rows: int, ctx: Context) -> list[pa.RecordBatch]:
    """All batches, counted while they arrive.

    Raises:
        InvalidData: `too_many_rows`, `no_rows`.
    """
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
    return kept

"""What every source gives back, and the limits that every source keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from app.errors import SourceRefused
from workers.context import ConnectionRef, Context

MAX_EXPANDED_BYTES = 16 * 1024**3
"""No input may grow beyond this when it is unpacked."""
MAX_RATIO = 250
"""Nor, once it is large, beyond this many times its stored size."""
LARGE_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class SourceResult:
    """A canonical table, and what reading it took."""

    table: pa.Table
    bytes: int
    files: int

    @property
    def facts(self) -> dict[str, int]:
        """Rows, columns, bytes and files, for the stage's summary."""
        return {"rows": self.table.num_rows, "columns": self.table.num_columns, "bytes": self.bytes,
                "files": self.files}  # fmt: skip


Open = Callable[[Any, Context], SourceResult]
Version = Callable[[Any, Context], str | None]
Enrich = Callable[[Any, Context, pa.Table], SourceResult]


def connection(ctx: Context, name: str, kinds: tuple[str, ...]) -> ConnectionRef:
    """The connection `name` of one of `kinds`.

    Raises:
        SourceRefused: `unknown_connection`, or `wrong_connection_kind`.
    """
    found = ctx.connections.get(name)
    if found is None:
        raise SourceRefused(f"There is no connection named {name!r}.", code="unknown_connection",
                            hint="Create it with POST /v1/connections.")  # fmt: skip
    if found.kind not in kinds:
        raise SourceRefused(f"Connection {name!r} is of kind {found.kind}; this source needs {' or '.join(kinds)}.",
                            code="wrong_connection_kind")  # fmt: skip
    return found


def without_secrets(text: str, found: ConnectionRef) -> str:
    """`text` with every value of the connection's secret blotted out."""
    for value in found.secret.values():
        if value:
            text = text.replace(value, "***")
    return text

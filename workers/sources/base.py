"""What every source gives back, and the limits that every source keeps."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from app.errors import SourceRefused
from workers.context import ConnectionRef, Context
from workers.formats.limits import Limits

MAX_EXPANDED_BYTES = Limits().expanded_bytes
"""No input may grow beyond this when it is unpacked."""
SHOWN_PARTS = 20


@dataclass(frozen=True)
class Part:
    """One file that was read: its name (bounded), its size, and what tells it from another of that name."""

    name: str
    bytes: int
    digest: str | None = None
    etag: str | None = None
    modified_at: str | None = None

    def document(self) -> dict[str, Any]:
        """The part as JSON, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class SourceResult:
    """A canonical table, and what reading it took.

    Attributes:
        bytes: As they came, before they were unpacked.
        parts: The files, for people; the first few are shown.
        version: What else tells this state of the source from another, by name.
    """

    table: pa.Table
    bytes: int
    files: int
    parts: tuple[Part, ...] = ()
    version: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """Rows, columns, bytes and files, and which they were, for the stage's summary."""
        counts = {"rows": self.table.num_rows, "columns": self.table.num_columns, "bytes": self.bytes,
                  "files": self.files}  # fmt: skip
        shown = {"parts": [part.document() for part in self.parts[:SHOWN_PARTS]]} if self.parts else {}
        return {**counts, **shown, **({"version": dict(self.version)} if self.version else {})}


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

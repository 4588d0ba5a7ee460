"""Present features from Feast's feature server, which speaks JSON."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from app.errors import SourceRefused
from trainhouse_loader.reading.nested import nested_text
from workers.context import ConnectionRef, Context
from workers.sources.feast.registry import DUMMY_KEY, View
from workers.sources.feast.wire import call, not_feast

NO_TIME = -(2**63)
"""How the feature server writes a time that is not known."""


@dataclass(frozen=True)
class Online:
    """The feature server of one connection."""

    found: ConnectionRef
    ctx: Context

    def features(self, view: View, rows: pa.Table) -> pa.Table:
        """What Feast serves now for each of `rows`, in their order; null where it has nothing, or nothing young enough.

        Args:
            rows: (rows,) Join keys, and what on-demand views need.

        Raises:
            SourceRefused, SourceUnavailable
        """
        url = str(self.found.config.get("url") or "").rstrip("/")
        if not url:
            raise SourceRefused(f"Connection {self.found.name!r} names no feature server, which serves the present.",
                                code="no_feature_server",
                                hint="Give the connection `url`, or take mode historical.")  # fmt: skip
        entities = {name: rows.column(name).to_pylist() for name in rows.column_names} or {
            DUMMY_KEY: [""] * rows.num_rows
        }
        said = call("POST", url + "/get-online-features", self.found, self.ctx,
                    document={"features": view.refs, "entities": entities, "full_feature_names": True})  # fmt: skip
        try:
            return self._read(said, rows.num_rows, view.answers)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, pa.ArrowException) as error:
            raise not_feast(self.found, f"its features cannot be read ({type(error).__name__})") from None

    def _read(self, said: Any, rows: int, types: Mapping[str, str]) -> pa.Table:
        names: Sequence[str] = said["metadata"]["feature_names"]
        results = dict(zip(names, said["results"], strict=True))
        columns = []
        for name, kind in types.items():
            values, statuses = results[name]["values"], results[name]["statuses"]
            if not (len(values) == len(statuses) == rows):
                raise ValueError(name)
            known = [value if status == "PRESENT" else None for value, status in zip(values, statuses, strict=True)]
            columns.append(READERS.get(kind, _as_text)(known))
        return pa.table(columns, names=list(types))


def _as_whole(values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else int(value) for value in values], pa.int64())


def _as_real(kind: pa.DataType) -> Callable[[list[Any]], pa.Array]:
    def read(values: list[Any]) -> pa.Array:
        return pa.array([None if value is None else float(value) for value in values], pa.float64()).cast(
            kind, safe=False
        )

    return read


def _as_time(values: list[Any]) -> pa.Array:
    """Seconds since 1970."""
    seconds = [None if value is None or int(value) == NO_TIME else int(value) for value in values]
    return pa.array(seconds, pa.timestamp("s", "UTC"))


def _as_bytes(values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else base64.b64decode(value) for value in values], pa.large_binary())


def _as_text(values: list[Any]) -> pa.Array:
    """Text as it is; lists and records as JSON text."""
    texts = [value if value is None or isinstance(value, str) else nested_text(value) for value in values]
    return pa.array(texts, pa.large_string())


READERS: Mapping[str, Callable[[list[Any]], pa.Array]] = {
    "INT32": _as_whole, "INT64": _as_whole, "FLOAT": _as_real(pa.float32()), "DOUBLE": _as_real(pa.float64()),
    "BOOL": lambda values: pa.array(values, pa.bool_()), "UNIX_TIMESTAMP": _as_time, "BYTES": _as_bytes,
}  # fmt: skip

"""Point-in-time features from Feast's offline server, which speaks Arrow Flight."""

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from pyarrow import flight

from app.egress.asking import reachable
from app.errors import InvalidData, SourceRefused, SourceUnavailable, TrainhouseError
from app.settings import settings
from workers.context import ConnectionRef, Context
from workers.sources.base import MAX_EXPANDED_BYTES
from workers.sources.feast.registry import View
from workers.sources.feast.wire import LONGEST_SECONDS, bearer, feast_words, not_feast, refusal_of, refused, waited

MAX_MESSAGE_BYTES = 1_600_000_000
"""Feast sends no batch above 1.5 GB."""
UPLOAD_ROWS = 65_536
ENDS_OF_WORDS = (". Detail:", ". gRPC client debug context", " Client context:")


@dataclass
class Offline:
    """A connection to the offline server; use it as a context, which ends it."""

    found: ConnectionRef
    ctx: Context
    _client: flight.FlightClient = field(init=False, repr=False)
    _legacy: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        host, port, tls = _address(self.found)
        address = reachable(host, port, tls=tls, settings=settings())[0]
        location = f"grpc+{'tls' if tls else 'tcp'}://{f'[{address}]' if ':' in address else address}:{port}"
        self._client = flight.FlightClient(
            location, override_hostname=host if tls else None,
            generic_options=[("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)],
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._client.close()

    def features(self, view: View, rows: pa.Table) -> pa.Table:
        """What Feast knew of each of `rows` at its `event_timestamp`; in any order, rows of which it knew nothing left out.

        Args:
            rows: (rows,) Join keys, `event_timestamp` and further columns, which come back as they are.

        Raises:
            SourceRefused, SourceUnavailable, InvalidData: `too_large`.
        """
        stored = view.sources or (view,)
        refs = dict.fromkeys([ref for one in stored for ref in one.refs] + view.refs)
        command = {
            "command_id": str(uuid.uuid4()), "api": "get_historical_features", "project": self.found.config.get("project"),
            "feature_view_names": [one.name for one in stored], "name_aliases": [None for _ in stored],
            "feature_refs": list(refs), "full_feature_names": True,
        }  # fmt: skip
        descriptor = flight.FlightDescriptor.for_command(json.dumps(command))
        stops: list[Callable[[], None]] = []
        try:
            return waited(self.ctx, lambda: self._asked(descriptor, rows, stops), stop=lambda: _all(stops))
        except (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError, OSError) as error:
            raise self._explained(error) from None  # Flight hands on the server's exceptions as Python's own

    def _asked(self, descriptor: flight.FlightDescriptor, rows: pa.Table, stops: list[Callable[[], None]]) -> pa.Table:
        if not self._legacy:
            try:
                return self._exchanged(descriptor, rows, stops)
            except pa.ArrowNotImplementedError:
                self._legacy = True  # a server from before Feast spoke DoExchange
        writer, _ = self._client.do_put(descriptor, rows.schema, self._options())
        _write(writer, rows)
        writer.close()
        ticket = self._client.get_flight_info(descriptor, self._options()).endpoints[0].ticket
        reader = self._client.do_get(ticket, self._options())
        stops.append(reader.cancel)
        return self._read(reader, rows.num_rows)

    def _exchanged(
        self, descriptor: flight.FlightDescriptor, rows: pa.Table, stops: list[Callable[[], None]]
    ) -> pa.Table:
        writer, reader = self._client.do_exchange(descriptor, self._options())
        stops.append(reader.cancel)
        try:
            writer.begin(rows.schema)
            _write(writer, rows)
            writer.done_writing()
            return self._read(reader, rows.num_rows)
        finally:
            with contextlib.suppress(Exception):  # left to its destructor, it would print the server's words
                writer.close()

    def _options(self) -> flight.FlightCallOptions:
        seconds = max(1.0, min(LONGEST_SECONDS, self.ctx.deadline - time.monotonic()))
        headers = [(name.lower().encode(), value.encode()) for name, value in bearer(self.found).items()]
        return flight.FlightCallOptions(timeout=seconds, headers=headers)

    def _read(self, reader: flight.FlightStreamReader, most: int) -> pa.Table:
        """The whole answer, counted and checked while it arrives."""
        limit = self.ctx.spec.resources.memory_bytes or MAX_EXPANDED_BYTES
        batches: list[pa.RecordBatch] = []
        rows = size = 0
        while (batch := _next(reader)) is not None:
            batch.validate(full=True)  # what came over the wire may point anywhere
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows > most:
                raise not_feast(self.found, f"it sends more than the {most:,} rows it was asked about")
            if size > limit:
                raise InvalidData(f"The features are larger than {limit:,} bytes.", code="too_large",
                                  hint="Ask for fewer features, or for fewer rows.")  # fmt: skip
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)

    def _explained(self, error: Exception) -> TrainhouseError:
        """Whose turn it is after the server's `error`."""
        text = str(error)
        if isinstance(error, flight.FlightUnavailableError | flight.FlightTimedOutError):
            return SourceUnavailable(f"The offline server of connection {self.found.name!r} does not answer.",
                                     hint="Is it started (`feast serve_offline`), and is offline_tls right?")  # fmt: skip
        if isinstance(error, flight.FlightUnauthenticatedError | flight.FlightUnauthorizedError):
            return refused(self.found, _words(text), code="source_refused", hint="Check the connection's token.")
        if isinstance(error, flight.FlightCancelledError):  # all that gRPC says of a message beyond its limit
            return refused(self.found, "the call was ended, most likely because one message is larger than 1.6 GB",
                           code="answer_too_long", hint="Ask for fewer features, or for shorter ones.")  # fmt: skip
        return refusal_of(_words(text), self.found)


def _address(found: ConnectionRef) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken.

    Raises:
        SourceRefused: `no_offline_server`, where the connection names none.
    """
    host, _, port = str(found.config.get("offline") or "").rpartition(":")
    if not host or not port.isdigit():
        raise SourceRefused(f"Connection {found.name!r} names no offline server, which alone knows the past.",
                            code="no_offline_server",
                            hint="Give the connection `offline`, or take mode online.")  # fmt: skip
    return host.strip("[]"), int(port), bool(found.config.get("offline_tls", True))


def _all(stops: list[Callable[[], None]]) -> None:
    for stop in stops:
        stop()


def _write(writer: Any, rows: pa.Table) -> None:
    writer.write_table(rows, max_chunksize=UPLOAD_ROWS)


def _next(reader: flight.FlightStreamReader) -> pa.RecordBatch | None:
    try:
        return reader.read_chunk().data
    except StopIteration:
        return None


def _words(text: str) -> str:
    """The sentence of a server's error: Feast writes its own as JSON, and of all others the stack is left out."""
    for end in ENDS_OF_WORDS:
        text = text.partition(end)[0]
    text = text.removeprefix("Flight error: ")
    return feast_words(text) or text

"""Servers that speak as Feast's do, or as they never should: for the client's side of the wire, without a Feast."""

import ast
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
from pyarrow import flight

VIEW = {"name": "drivers", "entityColumns": [{"name": "driver_id", "valueType": "INT64"}], "features": [
    {"name": "rating", "valueType": "DOUBLE"}, {"name": "trips", "valueType": "INT64"}]}  # fmt: skip
Say = Callable[["Said"], None]


@dataclass
class Said:
    """One request to a fake, and the handler that answers it."""

    handler: BaseHTTPRequestHandler
    path: str
    body: bytes

    def answer(self, status: int, body: object, **headers: str) -> None:
        """Answers; what is no bytes goes as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.handler.send_response(status)
        for name, value in {"Content-Length": str(len(sent)), **headers}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(sent)


def registry(said: Said) -> None:
    """A registry with one view."""
    name = said.path.partition("?")[0].rpartition("/")[2]
    if name == "drivers":
        return said.answer(200, {"spec": VIEW})
    return said.answer(404, {"status_code": 404, "detail": f"Feature view {name} does not exist in project rides"})


def online(said: Said) -> None:
    """A feature server that knows ten times the key, and of some keys nothing (young enough)."""
    asked = json.loads(said.body)
    keys = asked["entities"]["driver_id"]
    statuses = [{0: "NOT_FOUND", 1: "OUTSIDE_MAX_AGE"}.get(key % 10, "PRESENT") for key in keys]
    results = [{"values": [key * 10 for key in keys], "statuses": statuses} for _ref in asked["features"]]
    names = [ref.replace(":", "__") for ref in asked["features"]]
    said.answer(
        200,
        {
            "metadata": {"feature_names": ["driver_id", *names]},
            "results": [{"values": keys, "statuses": statuses}, *results],
        },
    )


@contextmanager
def http(say: Say) -> Iterator[str]:
    """The URL of a server where `say` answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                say(Said(self, self.path, self.rfile.read(int(self.headers.get("Content-Length", 0)))))

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_words: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


Answer = Callable[[dict[str, Any], pa.Table], pa.Table]


def told(command: dict[str, Any], rows: pa.Table) -> pa.Table:
    """Ten times the key; the rows backwards, and none whose key ends in 0."""
    kept = [number for number, key in enumerate(rows["driver_id"].to_pylist()) if key % 10][::-1]
    rows = rows.take(pa.array(kept, pa.int64()))
    for ref in command["feature_refs"]:
        tenfold = pa.array([key * 10.0 for key in rows["driver_id"].to_pylist()], pa.float64())
        rows = rows.append_column(ref.replace(":", "__"), tenfold)
    return rows


class Headers(flight.ServerMiddlewareFactory):
    """Keeps the authorization of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def start_call(self, _info: Any, headers: dict[str, list[str]]) -> None:
        self.seen += headers.get("authorization", [])


class Offline(flight.FlightServerBase):
    """An offline server that `answer` speaks for, by DoExchange."""

    def __init__(self, answer: Answer) -> None:
        self.headers = Headers()
        super().__init__("grpc+tcp://127.0.0.1:0", middleware={"seen": self.headers})
        self.answer = answer
        self.asked: list[pa.Table] = []
        self.release = threading.Event()

    def do_exchange(self, _context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Answers one question."""
        rows = reader.read_all()
        self.asked.append(rows)
        found = self.answer(json.loads(descriptor.command), rows)
        writer.begin(found.schema)
        writer.write_table(found)


@dataclass
class _Waiting:
    questions: dict[bytes, pa.Table] = field(default_factory=dict)


class OldOffline(flight.FlightServerBase):
    """An offline server of before DoExchange: it is put a question, and then asked for the answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("grpc+tcp://127.0.0.1:0")
        self.answer = answer
        self.waiting = _Waiting()

    def do_put(self, _context: Any, descriptor: Any, reader: Any, _writer: Any) -> None:
        """Keeps the question."""
        self.waiting.questions[descriptor.command] = reader.read_all()

    def get_flight_info(self, _context: Any, descriptor: Any) -> Any:
        """Where the answer is: as in Feast, at a host of which only the server knows."""
        endpoint = flight.FlightEndpoint(
            repr((2, descriptor.command, ())), [flight.Location.for_grpc_tcp("elsewhere.invalid", 1)]
        )
        return flight.FlightInfo(pa.schema([]), descriptor, [endpoint], -1, -1)

    def do_get(self, _context: Any, ticket: Any) -> Any:
        """The answer."""
        command = ast.literal_eval(ticket.ticket.decode())[1]
        return flight.RecordBatchStream(self.answer(json.loads(command), self.waiting.questions.pop(command)))


@contextmanager
def offline(answer: Answer, kind: type[Offline] | type[OldOffline] = Offline) -> Iterator[Any]:
    """A running offline server; `port` is where."""
    server = kind(answer)
    try:
        yield server
    finally:
        if isinstance(server, Offline):
            server.release.set()
        server.shutdown()

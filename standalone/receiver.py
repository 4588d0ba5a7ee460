"""A small webhook receiver that checks each signature as the Standard Webhooks specification says."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOLERANCE_SECONDS = 300
LARGEST_BODY_BYTES = 1_000_000


@dataclass(frozen=True)
class Received:
    """One webhook that arrived: its id, its type, its body, and whether its signature holds."""

    webhook_id: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    verified: bool

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        return dict(json.loads(self.body))

    @property
    def type(self) -> str:
        """The event's type, such as `model.version.registered`."""
        return str(self.document["type"])


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, now: float | None = None) -> bool:
    """Whether one of the signatures in `headers` is HMAC-SHA256 of `id.timestamp.body` under `secret` (whsec_…).

    A timestamp further than five minutes from `now` is refused, so that a recorded message cannot be sent again.
    """
    try:
        stamp = headers["webhook-timestamp"]
        age = abs((time.time() if now is None else now) - int(stamp))
        signed = b".".join((headers["webhook-id"].encode(), stamp.encode(), body))
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        offered = headers["webhook-signature"].split()
    except (KeyError, ValueError):
        return False
    right = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return age <= TOLERANCE_SECONDS and any(hmac.compare_digest(right.encode(), one.encode()) for one in offered)


class Receiver:
    """An HTTP server on 127.0.0.1 that remembers what it was sent; a context manager.

    Attributes:
        secret: The endpoint's secret; set it once the endpoint is made, before its first message.
        answers: Statuses to answer with, one for each request, before it answers 200 to all.
        received: Everything that came, in order; `arrived` is notified at each.
    """

    def __init__(self, secret: str = "", answers: list[int] | None = None) -> None:
        self.secret = secret
        self.answers = answers or []
        self.received: list[Received] = []
        self.arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            """Hands each POST to the receiver."""

            def do_POST(self) -> None:
                """One webhook."""
                length = min(int(self.headers.get("content-length") or 0), LARGEST_BODY_BYTES)
                status = receiver.take(
                    {name.lower(): text for name, text in self.headers.items()}, self.rfile.read(length)
                )
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where webhooks are to be sent."""
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        """Remembers one request and gives the status to answer with."""
        verified = is_signed(self.secret, headers, body)
        with self.arrived:
            self.received.append(Received(headers.get("webhook-id", ""), body, headers, verified))
            self.arrived.notify_all()
            return self.answers.pop(0) if self.answers else HTTPStatus.OK

    def of_type(self, kind: str) -> list[Received]:
        """What came of one type, in order."""
        with self.arrived:
            return [one for one in self.received if one.type == kind]

    def wait_for(self, kind: str, timeout: float = 30.0) -> Received:
        """The first message of type `kind`.

        Raises:
            TimeoutError: none came.
        """
        with self.arrived:
            if not self.arrived.wait_for(lambda: any(one.type == kind for one in self.received), timeout):
                raise TimeoutError(f"no webhook {kind} within {timeout:.0f} s")
            return next(one for one in self.received if one.type == kind)

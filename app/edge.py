"""The outermost layer of the API: request ids, hosts, security headers, metrics and one log line a request."""

import json
import re
from time import perf_counter
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import telemetry
from app.errors import InvalidRequest, NotFound, TooLarge, TrainhouseError
from app.ids import new_id
from app.problems import MEDIA_TYPE

log = structlog.get_logger()

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET = frozenset({"/livez", "/readyz", "/metrics"})
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""What every answer carries unless its handler said otherwise."""


class Edge:
    """Wraps the whole app, the framework's own error answers included."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: str) -> None:
        self._app = app
        self._hosts = tuple(host.strip().lower() for host in allowed_hosts.split(",") if host.strip())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        try:
            fault, status = self._fault(scope)
            if fault is not None:
                await answer.refuse(fault, status=status)
            else:
                await self._app(scope, receive, answer.send)
        except Exception:
            if not answer.ended:  # a broken stream must break the connection; an answered error was logged
                raise
        finally:
            answer.record()

    def _fault(self, scope: Scope) -> tuple[TrainhouseError | None, int]:
        """What is wrong with the head of the request; Postgres could not even be asked about a NUL."""
        if "\x00" in scope["path"]:
            return NotFound(), 404
        if b"%00" in scope["query_string"] or b"\x00" in scope["query_string"]:
            return InvalidRequest("A query parameter holds NUL.", code="nul_in_query"), 400
        if "*" not in self._hosts and not self._is_ours(Headers(scope=scope).get("host", "")):
            return InvalidRequest("This service does not answer to that Host.", code="host_not_allowed"), 400
        return None, 0

    def _is_ours(self, given: str) -> bool:
        host = re.sub(r":\d+$", "", given).lower()
        return any(host == ours or (ours.startswith("*.") and host.endswith(ours[1:])) for ours in self._hosts)


class _Answer:
    """One answer on its way out: adds headers, remembers status and time."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send, self._started_at = scope, send, perf_counter()
        self._status, self.ended = 0, False
        given = Headers(scope=scope).get("x-request-id", "")
        self._id = given if REQUEST_ID.fullmatch(given) else new_id("req")
        scope.setdefault("state", {})["request_id"] = self._id
        self._dropping = False

    async def send(self, message: Message) -> None:
        """Passes a message on; a plain 413 of the framework becomes a problem document."""
        if self._dropping:
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if message["status"] == 413 and headers.get("content-type", "").startswith("text/plain"):
                self._dropping = True
                self._scope.setdefault("state", {})
                await self.refuse(TooLarge("The body is larger than this operation accepts."), status=413)
                return
            self._status = message["status"]
            headers["X-Request-Id"] = self._id
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body", False)
        await self._send(message)

    async def refuse(self, error: TrainhouseError, *, status: int) -> None:
        """Answers with `error` before any handler is asked."""
        document: dict[str, Any] = {**error.document(), "status": status, "request_id": self._id}
        body = json.dumps(document).encode()
        head = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "x-request-id": self._id, **SECURITY}
        headers = [(name.lower().encode(), value.encode()) for name, value in head.items()]
        self._status, self.ended = status, True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def record(self) -> None:
        """Counts and logs the answer; neither ids nor query strings become labels or text."""
        seconds = perf_counter() - self._started_at
        route = getattr(self._scope.get("route"), "path", "unmatched")
        method, status = self._scope["method"], self._status or 499
        telemetry.observe(method, route, status=status, seconds=seconds)
        if route not in QUIET:
            log.info(
                "request", method=method[:16], route=route, path=self._scope["path"][:200], status=status,
                duration_seconds=round(seconds, 4), request_id=self._id,
            )  # fmt: skip

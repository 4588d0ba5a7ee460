"""Sends to callers' URLs: to the address that was judged, once, within a deadline."""

import http.client
import io
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import IO, Any
from urllib.parse import SplitResult, urlsplit

from app.egress.addresses import judge, networks
from app.egress.urls import refuse_engine, refuse_port, split
from app.errors import EgressDenied, ReceiverUnavailable, SourceUnavailable
from app.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
PRIVATE_NAMES = (
    "localhost",
    "local",
    "internal",
    "localdomain",
    "lan",
    "intranet",
    "corp",
    "home",
    "home.arpa",
    "onion",
)


@dataclass(frozen=True)
class EgressResponse:
    """What a receiver answered. `body` is cut; `headers` have lower-case names and the first value of each."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def own_ports(settings: Settings) -> frozenset[int]:
    """The ports at which this service and its engines listen."""
    redis = settings.redis_url.get_secret_value() if settings.redis_url else ""
    urls = [settings.database_url.get_secret_value(), redis, f"s3://{settings.s3_endpoint}", settings.public_url]
    return frozenset(port for url in urls if (port := urlsplit(url).port) is not None)


class Egress:
    """Sends to callers' URLs, within the operator's allow-list."""

    def __init__(self, settings: Settings) -> None:
        self._allow = networks(settings.egress_allow)
        self._own = own_ports(settings)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def check_url(self, url: str) -> None:
        """Refuses a URL that could never be sent to; a public name that has no address yet passes.

        Raises:
            EgressDenied
        """
        parts, port = split(url)
        host = str(parts.hostname)
        try:
            self._judge_target(parts.scheme, host, port=port)
        except (EgressDenied, SourceUnavailable) as error:
            private = "." not in host or host.rstrip(".").endswith(tuple(f".{name}" for name in PRIVATE_NAMES))
            unknown = error.stable_code in {"unknown_host", "lookup_failed"}
            if not unknown or private or parts.scheme != "https":
                raise EgressDenied(error.detail, code=error.stable_code, hint=error.hint) from None
            refuse_port(port)

    def _judge_target(self, scheme: str, host: str, *, port: int) -> list[str]:
        judged = judge(host, port, self._allow)
        if any(target.allowed for target in judged):
            refuse_engine(port, self._own)
        if not all(target.allowed for target in judged):
            if scheme != "https":
                raise EgressDenied("The URL must start with https://.", code="invalid_url")
            refuse_port(port)
        return [target.address for target in judged]

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, deadline_seconds: float = 15.0,
        max_response_bytes: int = 65_536,
    ) -> EgressResponse:  # fmt: skip
        """POSTs `body` to the address that was judged; follows no redirect, reads no proxy or netrc, decodes nothing.

        Args:
            deadline_seconds: For all of it, however slowly the receiver drips.
            max_response_bytes: The answer's body is cut there.

        Raises:
            EgressDenied: the URL may not be reached.
            ReceiverUnavailable: it did not answer in time, or not in HTTP.
            SourceUnavailable: its name cannot be looked up at present.
        """
        until = monotonic() + deadline_seconds
        parts, port = split(url)
        host = str(parts.hostname)
        addresses = self._judge_target(parts.scheme, host, port=port)
        try:
            with self._connect(addresses, port, host=host, tls=parts.scheme == "https", until=until) as connected:
                connected.settimeout(_left(until))
                connected.sendall(_request(parts, port, body=body, headers=headers))
                return _answer(connected, until=until, limit=max_response_bytes)
        except TimeoutError:
            raise ReceiverUnavailable(
                f"No answer within {deadline_seconds:g} seconds.", code="receiver_timeout"
            ) from None
        except ssl.SSLError as error:
            raise ReceiverUnavailable(f"TLS failed: {_tls_words(error)}.", code="receiver_tls") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ReceiverUnavailable(f"The receiver did not answer in HTTP ({type(error).__name__}).") from None

    def _connect(self, addresses: list[str], port: int, *, host: str, tls: bool, until: float) -> socket.socket:
        failure: OSError = TimeoutError()
        for address in addresses[:3]:
            try:
                plain = socket.create_connection((address, port), timeout=_left(until))
                plain.settimeout(_left(until))
                return self._tls.wrap_socket(plain, server_hostname=host) if tls else plain
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or "handshake").replace("_", " ").lower()


def _request(parts: SplitResult, port: int, *, body: bytes, headers: Mapping[str, str]) -> bytes:
    default = {"https": 443, "http": 80}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
    lines = {
        "Host": host if port == default else f"{host}:{port}", "User-Agent": "Trainhouse-Webhooks/1", "Accept": "*/*",
        "Accept-Encoding": "identity", "Connection": "close", "Content-Length": str(len(body)), **headers,
    }  # fmt: skip
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    if head.count("\n") != len(lines):
        raise ValueError("a header holds a line break")
    return f"POST {target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


class _Deadlined(io.RawIOBase):
    """The bytes of a socket, until a point in time and up to a number of bytes."""

    def __init__(self, connected: socket.socket, *, until: float, limit: int) -> None:
        self._connected, self._until, self._limit = connected, until, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connected.settimeout(_left(self._until))
        count = self._connected.recv_into(buffer)
        self._limit -= count
        if self._limit < 0:
            raise ValueError("the answer is too long")
        return count

    def makefile(self, _mode: str) -> IO[bytes]:
        """What http.client asks of a socket."""
        return io.BufferedReader(self, 4_096)


def _answer(connected: socket.socket, *, until: float, limit: int) -> EgressResponse:
    stream = _Deadlined(connected, until=until, limit=MAX_HEAD_BYTES + limit)
    response = http.client.HTTPResponse(stream, method="POST")  # type: ignore[arg-type]  # it only calls makefile
    response.begin()
    headers = {name.lower(): value for name, value in reversed(response.getheaders())}
    return EgressResponse(response.status, headers, _excerpt(response, limit))


def _excerpt(response: http.client.HTTPResponse, limit: int) -> bytes:
    """As much of the body as comes; the status is known, so a receiver that breaks off now has answered all the same."""
    body = b""
    try:
        while len(body) < limit and (piece := response.read1(limit - len(body))):
            body += piece
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return body

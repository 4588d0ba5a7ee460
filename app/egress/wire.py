"""Bytes on the way out: connected to judged addresses, one HTTP request sent, its answer read within a deadline."""

import http.client
import io
import socket
import ssl
from collections.abc import Mapping
from time import monotonic
from typing import IO, Any
from urllib.parse import SplitResult

MAX_HEAD_BYTES = 64 * 1024


def left(until: float) -> float:
    """Seconds from now until `until`, a reading of `monotonic()`.

    Raises:
        TimeoutError: it has passed.
    """
    seconds = until - monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def connect(
    addresses: list[str], port: int, *, host: str, tls: ssl.SSLContext | None, until: float
) -> socket.socket:  # fmt: skip
    """A connection to the first of the addresses that takes one; with `tls` its certificate must name `host`.

    Raises:
        OSError: none does, or TLS failed.
    """
    failure: OSError = TimeoutError()
    for address in addresses[:3]:
        try:
            plain = socket.create_connection((address, port), timeout=left(until))
            plain.settimeout(left(until))
            return tls.wrap_socket(plain, server_hostname=host) if tls else plain
        except ssl.SSLError:
            raise
        except OSError as error:
            failure = error
    raise failure


def tls_words(error: ssl.SSLError) -> str:
    """Why TLS failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or "handshake").replace("_", " ").lower()


def request(method: str, parts: SplitResult, port: int, *, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The request as bytes; `headers` come on top of those that HTTP needs.

    Raises:
        ValueError: a header holds a line break, or what is no ASCII.
    """
    default = {"https": 443, "http": 80}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
    length = {"Content-Length": str(len(body))} if body or method == "POST" else {}
    lines = {
        "Host": host if port == default else f"{host}:{port}", "User-Agent": "Trainhouse/1", "Accept": "*/*",
        "Accept-Encoding": "identity", "Connection": "close", **length, **headers,
    }  # fmt: skip
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    if head.count("\n") != len(lines) or head.count("\r") != len(lines):
        raise ValueError("a header holds a line break")
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


class Deadlined(io.RawIOBase):
    """The bytes of a socket, until a point in time, with no silence longer than `idle`, up to a number of bytes."""

    def __init__(self, connected: socket.socket, *, until: float, limit: int, idle: float = float("inf")) -> None:
        self._connected, self._until, self._limit, self._idle = connected, until, limit, idle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connected.settimeout(min(left(self._until), self._idle))
        count = self._connected.recv_into(buffer)
        self._limit -= count
        if self._limit < 0:
            raise ValueError("the answer is too long")
        return count

    def makefile(self, _mode: str) -> IO[bytes]:
        """What http.client asks of a socket."""
        return io.BufferedReader(self, 64 * 1024)


def answer(stream: Deadlined, method: str) -> tuple[http.client.HTTPResponse, dict[str, str]]:
    """The answer's head, read, and its headers: lower-case names and the first value of each.

    Raises:
        OSError, http.client.HTTPException, ValueError: it is no HTTP, too long or too late.
    """
    response = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]  # it only calls makefile
    response.begin()
    return response, {name.lower(): value for name, value in reversed(response.getheaders())}

"""Small servers on loopback that say what a test tells them to, byte by byte."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Answer = Callable[[socket.socket, bytes], None]
"""Given a connection and what came first on it, answers."""


@dataclass
class Listening:
    """A server's port, and what its clients said first."""

    port: int
    scheme: str = "http"
    heard: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its root."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextlib.contextmanager
def listening(
    answer: Answer, *, speaks_first: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[Listening]:  # fmt: skip
    """A server that lets `answer` speak on each connection; with `speaks_first` before the client does."""
    listener = socket.create_server(("127.0.0.1", 0))
    found, open_now = Listening(listener.getsockname()[1], "https" if tls else "http"), []

    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), tls.wrap_socket(plain, server_side=True) if tls else plain as connected:
            first = b"" if speaks_first else connected.recv(65_536)
            found.heard.append(first)
            answer(connected, first)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = listener.accept()
                open_now.append(connected)
                threading.Thread(target=serve, args=(connected,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connected in open_now:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        thread.join(3)


def saying(status: str, body: bytes = b"", **headers: str) -> Answer:
    """Answers HTTP with that status, body and headers (`content_type` for Content-Type); nothing else is added."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    def answer(connected: socket.socket, _first: bytes) -> None:
        connected.sendall(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)

    return answer


def offering(body: bytes, **headers: str) -> Answer:
    """Answers 200 with the body and its length."""
    return saying("200 OK", body, **{"content_length": str(len(body)), **headers})

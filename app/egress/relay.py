"""Carries one driver's connections to a judged address, so that no driver outlasts a deadline or takes in too much.

Drivers in C hand out no socket, and trust their server to end. Between them and the server stands this relay: it alone
knows the address, and cuts the connections at the deadline or after so many bytes, whatever the server does.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Literal, Self

from app.errors import SourceUnavailable

BUFFER = 256 * 1024
CONNECT_SECONDS = 10.0
MOST = 4
"""Connections that a driver may make, one after another or at once."""
LOOPBACK = "127.0.0.1"


class Relay:
    """The way to `address`; use it as a context, which ends its connections.

    `cut` says why the relay ended them by itself: `late` at the deadline, `long` after `max_bytes`.

    Args:
        until: Reading of `monotonic()` at which the connections end.
        max_bytes: As many may come from the server.

    Raises:
        SourceUnavailable: nothing takes a connection.
    """

    def __init__(self, address: str, port: int, *, until: float, max_bytes: int) -> None:
        self._target, self._until, self._max_bytes = (address, port), until, max_bytes
        self.cut: Literal["late", "long"] | None = None
        self.received = 0
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._port, self._over = 0, False
        try:
            self._dialled: socket.socket | None = self._dial()
        except OSError as error:
            raise SourceUnavailable(f"Nothing answers at the host and port ({type(error).__name__}).") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._over = True
        if self._port:
            with contextlib.suppress(OSError):
                socket.create_connection((LOOPBACK, self._port), timeout=1).close()  # wakes the thread that accepts
            self._threads.pop(0).join()
        _shut(*self._ends)
        for thread in self._threads:
            thread.join()
        for end in (*self._ends, *([self._dialled] if self._dialled else [])):
            end.close()

    def end(self) -> socket.socket:
        """The driver's end of a connection, for a driver that takes a socket."""
        near, far = socket.socketpair()
        self._join(far)
        return near

    def port(self) -> int:
        """A port on 127.0.0.1 that takes connections, for a driver that wants an address."""
        listener = socket.create_server((LOOPBACK, 0), backlog=MOST)
        self._port = int(listener.getsockname()[1])
        self._start(self._accept, listener)
        return self._port

    def _start(self, work: Callable[..., None], *given: object) -> None:
        self._threads.append(threading.Thread(target=work, args=given, daemon=True, name="relay"))
        self._threads[-1].start()

    def _dial(self) -> socket.socket:
        made = socket.create_connection(self._target, timeout=min(CONNECT_SECONDS, self._left()))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _left(self) -> float:
        return max(0.001, self._until - monotonic())

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            for _ in range(MOST + 1):
                near, _ = listener.accept()
                if self._over:
                    near.close()
                    return
                with contextlib.suppress(OSError):
                    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._join(near)

    def _join(self, near: socket.socket) -> None:
        self._ends.append(near)
        server, self._dialled = self._dialled or self._dial(), None
        self._ends.append(server)
        self._start(self._copy, near, server)
        self._start(self._copy, server, near, self._count)

    def _copy(
        self, source: socket.socket, target: socket.socket, count: Callable[[int], None] = lambda _size: None
    ) -> None:
        piece = memoryview(bytearray(BUFFER))
        try:
            while not self.cut:
                source.settimeout(self._left())
                size = source.recv_into(piece)
                if not size:
                    break
                count(size)
                target.settimeout(self._left())
                target.sendall(piece[:size])
        except TimeoutError:
            self.cut = self.cut or "late"
        except OSError:  # the other side is gone, and the driver will notice
            pass
        finally:
            _shut(source, target)

    def _count(self, size: int) -> None:
        self.received += size
        if self.received > self._max_bytes:
            self.cut = "long"


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

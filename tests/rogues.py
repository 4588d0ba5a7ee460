"""Servers that speak the protocol of Postgres or MySQL just well enough to do harm."""

import socket
import struct
import time
from collections.abc import Callable

from tests.wire import Answer

OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
Reply = Callable[[socket.socket, bytes], None]
"""Answers one query of MySQL."""


def packet(number: int, payload: bytes) -> bytes:
    """One packet of MySQL's protocol."""
    return struct.pack("<I", len(payload))[:3] + bytes([number % 256]) + payload


def counted(text: bytes) -> bytes:
    """A short text with its length before it."""
    return bytes([len(text)]) + text


def column(name: bytes, kind: int = 0xFD) -> bytes:
    """The description of a text column."""
    parts = b"".join(counted(part) for part in (b"def", b"", b"", b"", name, b""))
    return parts + b"\x0c" + struct.pack("<HIBHBxx", 45, 400, kind, 0, 0)


def result(names: list[bytes], rows: list[list[bytes]]) -> bytes:
    """A whole result set of text."""
    payloads = [bytes([len(names)]) if len(names) < 251 else b"\xfc" + struct.pack("<H", len(names))]
    payloads += [*(column(name) for name in names), EOF, *(b"".join(map(counted, row)) for row in rows), EOF]
    return b"".join(packet(number + 1, payload) for number, payload in enumerate(payloads))


def mysql(reply: Reply, *, asks_for: bytes = b"mysql_native_password") -> Answer:
    """Lets anybody in, says that it is MariaDB and grants nothing, and gives every query to `reply`."""

    def answer(connected: socket.socket, _first: bytes) -> None:
        hello = (
            b"\x0a10.11.0-MariaDB\x00"
            + struct.pack("<I", 1)
            + b"saltsalt\x00"
            + struct.pack("<HBHHB", 0xF7DF, 45, 2, 0x00BF, 21)
        )
        connected.sendall(packet(0, hello + b"\x00" * 10 + b"saltsaltsalt\x00" + asks_for + b"\x00"))
        connected.recv(65_536)
        if asks_for != b"mysql_native_password":
            connected.sendall(packet(2, b"\xfe" + asks_for + b"\x00saltsaltsaltsaltsalt\x00"))
            connected.recv(65_536)
        connected.sendall(packet(2, OK))
        while query := connected.recv(65_536):
            if b"SHOW GRANTS" in query:
                connected.sendall(result([b"grants"], []))
            elif b"version()" in query:
                connected.sendall(result([b"version()"], [[b"10.11.0-MariaDB"]]))
            elif b"SELECT * FROM" in query:
                reply(connected, query)
            else:
                connected.sendall(packet(1, OK))

    return answer


def forever(piece: bytes, *, first: bytes = b"") -> Reply:
    """Sends `first` and then `piece` until nobody listens."""

    def reply(connected: socket.socket, _query: bytes) -> None:
        connected.sendall(first)
        while True:
            connected.sendall(piece)

    return reply


def message(kind: bytes, body: bytes) -> bytes:
    """One message of Postgres' protocol."""
    return kind + struct.pack(">I", len(body) + 4) + body


NOTICE = message(b"N", b"SNOTICE\x00VNOTICE\x00C00000\x00M" + b"x" * 8_000 + b"\x00\x00")


def postgres(reply: Reply, *, before_ready: bytes = b"") -> Answer:
    """Lets anybody in, without TLS, and gives the connection to `reply`; sends `before_ready` forever where given."""

    def answer(connected: socket.socket, first: bytes) -> None:
        if first[4:8] == struct.pack(">I", 80877103):
            connected.sendall(b"N")
            connected.recv(65_536)
        connected.sendall(message(b"R", struct.pack(">I", 0)))
        while before_ready:
            connected.sendall(before_ready)
        for name, value in (
            (b"server_version", b"18.0"),
            (b"client_encoding", b"UTF8"),
            (b"standard_conforming_strings", b"on"),
        ):
            connected.sendall(message(b"S", name + b"\x00" + value + b"\x00"))
        connected.sendall(message(b"K", struct.pack(">II", 1, 1)) + message(b"Z", b"I"))
        reply(connected, connected.recv(65_536))

    return answer


def silent(_connected: socket.socket, _query: bytes) -> None:
    """Says nothing for as long as anybody may wait."""
    time.sleep(60)

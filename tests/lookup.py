"""Names that resolve to what a test says, whatever a name server would answer today."""

import re
import socket
from typing import Any

import pytest

NUMERIC = re.compile(r"[0-9.]+|[0-9a-f:.]*:[0-9a-f:.]*")


def answers(monkeypatch: pytest.MonkeyPatch, *rounds: list[str]) -> list[int]:
    """Every look-up of a name gives the next round of addresses, the last one again and again; an empty round, or none
    at all, is a name that nobody has. The list says how often was asked, and for which ports."""
    asked: list[int] = []

    def look(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        if NUMERIC.fullmatch(host):  # an address is looked up on connecting to it, and is itself
            return [entry(host, port)]
        asked.append(port)
        found = rounds[min(len(asked), len(rounds)) - 1] if rounds else []
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry(one, port) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return asked


def entry(address: str, port: int) -> tuple[Any, ...]:
    """One address as `getaddrinfo` gives it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", (address, port))


__all__ = ["answers"]

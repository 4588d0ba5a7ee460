"""Which addresses may be reached: public ones, and those that the operator allows."""

import ipaddress
import re
import socket
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from app.errors import EgressDenied, SourceUnavailable
from app.settings import settings as read_settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOKUP_SECONDS = 5.0
NAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
NUMERIC = re.compile(r"(\d+|0x[0-9a-f]*)")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
OLD_TUNNELS = (
    ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"), ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("::/96"),
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """An address that may be reached, and why."""

    address: str
    allowed: bool
    """Whether the operator's allow-list names it, rather than its being public."""


def resolve(host: str, port: int, allow: str | None = None) -> list[str]:
    """The addresses of `host`, each of which may be reached; connect to one of them, not to the name again.

    Args:
        host: A name or a literal address, as a caller wrote it.
        port: 1 to 65535.
        allow: Comma-separated CIDR ranges that may be reached although they are not public; None means those of
            this process's settings.

    Raises:
        EgressDenied: the host is malformed, unknown, or has an address that may not be reached.
        SourceUnavailable: its name cannot be looked up at present.
    """
    ranges = read_settings().egress_allow if allow is None else allow
    return [judged.address for judged in judge(host, port, networks(ranges))]


def networks(allow: str) -> list[Network]:
    """The ranges of a comma-separated list."""
    return [ipaddress.ip_network(part.strip()) for part in allow.split(",") if part.strip()]


def judge(host: str, port: int, allow: list[Network]) -> list[Judged]:
    """All addresses of `host`, each of which may be reached; see `resolve`."""
    if not 1 <= port <= 65_535:
        raise EgressDenied("The port must be 1 to 65535.")
    literal = _literal(host)
    addresses = [literal] if literal else _lookup(_canonical_name(host), port)
    return [Judged(str(address), _may_reach(address, allow)) for address in addresses]


def _literal(host: str) -> Address | None:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if "%" in bare:
        raise EgressDenied("An address with a zone may not be reached.")
    try:
        return ipaddress.ip_address(bare) if bare.isascii() else None
    except ValueError:
        return None


def _canonical_name(host: str) -> str:
    name = host.lower().removesuffix(".")
    if not NAME.fullmatch(name):
        raise EgressDenied("The host is no name in ASCII.", hint="Write an international name in its xn-- form.")
    if NUMERIC.fullmatch(name.rpartition(".")[2]):
        raise EgressDenied("The host is an odd spelling of an address.", hint="Write 203.0.113.7 or [2001:db8::7].")
    return name


def _lookup(name: str, port: int) -> list[Address]:
    """Looked up in a thread, since the C library knows no deadline."""
    found: list[Any] = []

    def look() -> None:
        try:
            found.append(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look, daemon=True, name="lookup")
    thread.start()
    thread.join(LOOKUP_SECONDS)
    if not found or (isinstance(found[0], socket.gaierror) and found[0].errno == socket.EAI_AGAIN):
        raise SourceUnavailable("The host's name cannot be looked up at present.", code="lookup_failed")
    if isinstance(found[0], Exception):
        raise EgressDenied("There is no host of that name.", code="unknown_host")
    known = dict.fromkeys(ipaddress.ip_address(info[4][0].partition("%")[0]) for info in found[0])
    # The system puts first what this machine can reach; of itself, most servers listen on IPv4 alone.
    local = all(address.is_loopback for address in known)
    return sorted(known, key=lambda address: address.version) if local else list(known)


def _may_reach(address: Address, allow: list[Network]) -> bool:
    """True where the allow-list names `address`, False where it is public.

    Raises:
        EgressDenied: it is neither.
    """
    real = _embedded(address)
    if any(real.version == network.version and real in network for network in allow):
        return True
    tunnel = isinstance(real, IPv6Address) and any(real in network for network in OLD_TUNNELS)
    if tunnel or not real.is_global or real.is_multicast:
        raise EgressDenied(
            "The host has an address that is not public.",
            hint="The operator of this installation can allow ranges with TRAINHOUSE_EGRESS_ALLOW.",
        )
    return False


def _embedded(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address

"""Which URLs may be sent to, as far as their text tells."""

import re
from urllib.parse import SplitResult, urlsplit

from app.errors import EgressDenied, Violation

MAX_URL = 2_048
URL_SAFE = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")


def split(url: str) -> tuple[SplitResult, int]:
    """The parts of `url`, and its port.

    Raises:
        EgressDenied: it is no plain http or https URL.
    """
    faults = {
        f"is longer than {MAX_URL} characters": len(url) > MAX_URL,
        "holds a character that no URL may hold": not URL_SAFE.fullmatch(url),
    }
    parts, port = None, 0
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        faults["is malformed"] = True
    if parts is not None:
        faults["must start with https://"] = parts.scheme not in {"https", "http"}
        faults["must name a host"] = not parts.hostname
        faults["must not hold credentials"] = "@" in parts.netloc
        faults["must not hold a fragment"] = "#" in url
    found = [Violation("/url", "invalid_url", words) for words, wrong in faults.items() if wrong]
    if found or parts is None:
        raise EgressDenied(f"The URL {found[0].message}.", code="invalid_url", violations=found)
    return parts, port


ENGINE_PORTS = frozenset(
    {1433, 1521, 2375, 2376, 2379, 3306, 5432, 5672, 5984, 6379, 8086, 9042, 9200, 9300, 11211, 27017}
)
"""Where databases, brokers and container engines listen, which may take an HTTP request for something of theirs."""


def refuse_engine(port: int, own: frozenset[int]) -> None:
    """Refuses, at an address that is not public, the ports of engines: the usual ones, and those of this service.

    Raises:
        EgressDenied
    """
    if port in ENGINE_PORTS or port in own:
        raise EgressDenied("The port belongs to a database, a broker or this service itself.", code="port_denied")


def refuse_port(port: int) -> None:
    """Refuses a port where other things than receivers listen.

    Raises:
        EgressDenied
    """
    if port != 443 and port < 1_024:
        raise EgressDenied("The port must be 443 or above 1023.", code="port_denied")

"""Asks callers' servers over HTTP: one request to the address that was judged, its whole answer within a deadline."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

from app.egress.addresses import judge, networks
from app.egress.own import own_ports
from app.egress.urls import refuse_engine, split
from app.egress.wire import MAX_HEAD_BYTES, Deadlined, answer, connect, left, request, tls_words
from app.errors import EgressDenied, SourceRefused, SourceUnavailable
from app.settings import Settings

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """What a server said: the status, and the whole body."""

    status: int
    body: bytes


def reachable(host: str, port: int, *, tls: bool, settings: Settings) -> list[str]:
    """The addresses of `host`, each of which may be spoken to: a public one only by TLS, an allowed one at no engine's port.

    Raises:
        EgressDenied, SourceUnavailable: see `resolve`.
    """
    judged = judge(host, port, networks(settings.egress_allow))
    if any(target.allowed for target in judged):
        refuse_engine(port, own_ports(settings))
    if not tls and not all(target.allowed for target in judged):
        raise EgressDenied("A public address is spoken to by TLS alone.", code="tls_required",
                           hint="Use https:// (or TLS for the offline server).")  # fmt: skip
    return [target.address for target in judged]


def ask(
    method: str, url: str, *, headers: Mapping[str, str], seconds: float, max_bytes: int, settings: Settings,
    body: bytes = b"",
) -> Answer:  # fmt: skip
    """The answer of whatever status; follows no redirect, reads no proxy or netrc, decodes nothing.

    Args:
        seconds: For all of it, however slowly the server drips.
        max_bytes: A longer body is refused.

    Raises:
        EgressDenied: the URL may not be reached.
        SourceRefused: `bad_certificate`, `not_http`, `answer_too_long`.
        SourceUnavailable: nothing answers in time.
    """
    until = monotonic() + seconds
    parts, port = split(url)
    secure = parts.scheme == "https"
    addresses = reachable(str(parts.hostname), port, tls=secure, settings=settings)
    tls = ssl.create_default_context() if secure else None
    try:
        soon = min(until, monotonic() + CONNECT_SECONDS)
        with connect(addresses, port, host=str(parts.hostname), tls=tls, until=soon) as connected:
            connected.settimeout(left(until))
            connected.sendall(request(method, parts, port, headers=headers, body=body))
            response, _headers = answer(Deadlined(connected, until=until, limit=max_bytes + MAX_HEAD_BYTES), method)
            found = response.read(max_bytes + 1)
            if response.length and len(found) <= max_bytes:
                raise http.client.IncompleteRead(b"")
    except ssl.SSLError as error:
        raise SourceRefused(f"TLS failed: {tls_words(error)}.", code="bad_certificate") from None
    except http.client.HTTPException as error:
        if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
            raise SourceUnavailable("The server ended the connection in the midst of its answer.") from None
        raise SourceRefused("The server does not answer in HTTP.", code="not_http") from None
    except OSError as error:
        raise SourceUnavailable(f"The server does not answer ({type(error).__name__}).") from None
    except ValueError:  # how `Deadlined` says that it is too much
        found = b" " * (max_bytes + 1)
    if len(found) > max_bytes:
        raise SourceRefused(f"The server's answer is longer than {max_bytes:,} bytes.", code="answer_too_long")
    return Answer(response.status, found)

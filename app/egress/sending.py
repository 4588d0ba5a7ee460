"""Sends to callers' URLs, and gets from them: to the address that was judged, once, within a deadline."""

import hashlib
import http.client
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from urllib.parse import SplitResult

from app.egress.addresses import judge, networks
from app.egress.own import own_ports
from app.egress.urls import refuse_engine, refuse_port, split
from app.egress.wire import MAX_HEAD_BYTES, Deadlined, answer, connect, left, request, tls_words
from app.errors import EgressDenied, ReceiverUnavailable, SourceRefused, SourceUnavailable, TooLarge
from app.settings import Settings

CHUNK = 256 * 1024
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 60.0
"""A source that says nothing for so long has gone."""
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


@dataclass(frozen=True)
class Fetched:
    """What a GET brought: the status, the headers with lower-case names, and of a body that was kept size and digest."""

    status: int
    headers: Mapping[str, str]
    size_bytes: int = 0
    sha256: str = ""


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
        addresses = self._judge_target(parts.scheme, str(parts.hostname), port=port)
        agent = {"User-Agent": "Trainhouse-Webhooks/1"}
        try:
            with self._connect(addresses, port, parts=parts, until=until) as connected:
                connected.settimeout(left(until))
                connected.sendall(request("POST", parts, port, body=body, headers={**agent, **headers}))
                stream = Deadlined(connected, until=until, limit=MAX_HEAD_BYTES + max_response_bytes)
                response, said = answer(stream, "POST")
                return EgressResponse(response.status, said, _excerpt(response, max_response_bytes))
        except TimeoutError:
            raise ReceiverUnavailable(
                f"No answer within {deadline_seconds:g} seconds.", code="receiver_timeout"
            ) from None
        except ssl.SSLError as error:
            raise ReceiverUnavailable(f"TLS failed: {tls_words(error)}.", code="receiver_tls") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ReceiverUnavailable(f"The receiver did not answer in HTTP ({type(error).__name__}).") from None

    def get_to_file(
        self, url: str, path: Path, headers: Mapping[str, str], *, deadline_seconds: float, max_bytes: int,
        on_bytes: Callable[[int, int | None], None] = lambda _count, _total: None, head_only: bool = False,
    ) -> Fetched:  # fmt: skip
        """GETs `url` into `path` from the address that was judged; follows no redirect, reads no proxy, decodes nothing.

        Only an answer of status 200 has its body kept, and none where `head_only`. `on_bytes` is told after each piece how many bytes came, and
        how many were announced.

        Args:
            deadline_seconds: For all of it, however slowly the server drips; 60 seconds of silence end it too.
            max_bytes: A longer body is refused, announced or not.

        Raises:
            EgressDenied: the URL may not be reached.
            SourceRefused: `not_http`, `bad_certificate`.
            SourceUnavailable: nothing listens, the name cannot be looked up, it is too slow, or `cut_short`.
            TooLarge: the body is longer than `max_bytes`.
        """
        until = monotonic() + deadline_seconds
        parts, port = split(url)
        addresses = self._judge_target(parts.scheme, str(parts.hostname), port=port)
        try:
            soon = min(until, monotonic() + CONNECT_SECONDS)
            with self._connect(addresses, port, parts=parts, until=soon) as connected:
                connected.settimeout(left(soon))
                connected.sendall(request("GET", parts, port, headers=headers))
                stream = Deadlined(connected, until=until, limit=2 * max_bytes + 2 * MAX_HEAD_BYTES, idle=IDLE_SECONDS)
                response, said = answer(stream, "GET")
                if head_only or response.status != http.HTTPStatus.OK:
                    return Fetched(response.status, said)
                return _kept(response, said, path, max_bytes=max_bytes, on_bytes=on_bytes)
        except TimeoutError:
            raise SourceUnavailable(
                "The server did not answer in time, or too slowly.", code="source_timeout"
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise SourceRefused(f"The server's certificate does not hold: {tls_words(error)}.",
                                code="bad_certificate", hint="The certificate must be valid for the URL's host.") from None  # fmt: skip
        except (http.client.HTTPException, ValueError) as error:
            raise SourceRefused(
                f"The server does not answer in HTTP ({type(error).__name__}).", code="not_http"
            ) from None
        except OSError as error:
            raise SourceUnavailable(f"The server does not answer ({type(error).__name__}).") from None

    def _connect(self, addresses: list[str], port: int, *, parts: SplitResult, until: float) -> socket.socket:
        tls = self._tls if parts.scheme == "https" else None
        return connect(addresses, port, host=str(parts.hostname), tls=tls, until=until)


def _kept(
    response: http.client.HTTPResponse, said: dict[str, str], path: Path, *, max_bytes: int,
    on_bytes: Callable[[int, int | None], None],
) -> Fetched:  # fmt: skip
    """The body in `path`, as it came."""
    announced, count, digest = response.length, 0, hashlib.sha256()
    if announced is None and "content-length" in said and not response.chunked:
        raise ValueError("a length that is no number")
    if announced is not None and announced > max_bytes:
        raise _too_large(announced, max_bytes)
    with path.open("wb") as file:
        try:
            while piece := response.read1(CHUNK):
                count += len(piece)
                if count > max_bytes:
                    raise _too_large(count, max_bytes)
                digest.update(piece)
                file.write(piece)
                on_bytes(count, announced)
        except (http.client.IncompleteRead, ConnectionError):
            raise _cut_short(count, announced) from None
    if announced is not None and count != announced:
        raise _cut_short(count, announced)
    return Fetched(response.status, said, count, digest.hexdigest())


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(f"The file has {size:,} bytes or more; at most {limit:,} are read.",
                    hint="Offer the file in parts, or as Parquet.")  # fmt: skip


def _cut_short(count: int, announced: int | None) -> SourceUnavailable:
    of = f" of {announced:,}" if announced is not None else ""
    return SourceUnavailable(f"The server broke off after {count:,}{of} bytes.", code="cut_short")


def _excerpt(response: http.client.HTTPResponse, limit: int) -> bytes:
    """As much of the body as comes; the status is known, so a receiver that breaks off now has answered all the same."""
    body = b""
    try:
        while len(body) < limit and (piece := response.read1(limit - len(body))):
            body += piece
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return body

"""A Feast store as a connection: its registry, and the servers of the past and of the present."""

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, model_validator

from app.egress.asking import ask, reachable
from app.egress.urls import split
from app.egress.wire import connect, left
from app.errors import EgressDenied, SourceRefused, SourceUnavailable, Violation
from app.settings import Settings
from app.spec.base import Part
from app.spec.data import ConnectionName

TOKEN = re.compile(r"[!-~]{1,4096}")
OFFLINE = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,252}):([1-9][0-9]{0,4})")
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS_FRAME = 4
MAX_ANSWER_BYTES = 1024**2


def _base_url(url: str) -> str:
    try:
        parts, _port = split(url)
    except EgressDenied as error:
        raise ValueError(error.detail) from None
    if parts.query:
        raise ValueError("must not hold a query")
    return url.rstrip("/")


def _host_with_port(offline: str) -> str:
    found = OFFLINE.fullmatch(offline)
    if not found or int(found[2]) > 65_535:
        raise ValueError("must be host:port, an IPv6 address in brackets")
    return offline


def _printable(secret: SecretStr) -> SecretStr:
    if not TOKEN.fullmatch(secret.get_secret_value()):
        raise ValueError("must be printable ASCII without blanks")
    return secret


BaseUrl = Annotated[str, Field(min_length=8, max_length=2_048), AfterValidator(_base_url)]


class FeastConfig(Part):
    """Where the servers of a Feast store are; the registry tells what they may be asked."""

    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")]
    registry: BaseUrl
    """Of `feast serve_registry --rest-api`, without /api/v1."""
    url: BaseUrl | None = None
    """Of the feature server (`feast serve`), which gives present features."""
    offline: Annotated[str, Field(max_length=260), AfterValidator(_host_with_port)] | None = None
    """host:port of the offline server (`feast serve_offline`), which gives the features of the past."""
    offline_tls: bool = True
    """false where the offline server speaks no TLS"""

    @model_validator(mode="after")
    def some_features(self) -> "FeastConfig":
        """A registry alone holds no feature."""
        if self.url is None and self.offline is None:
            raise ValueError("give url, offline or both: a registry alone holds no features")
        return self


class FeastSecret(Part):
    """What Feast's servers ask for, where they ask: a bearer token."""

    token: Annotated[
        SecretStr, Field(strict=False, min_length=1, max_length=4_096, json_schema_extra={"writeOnly": True}),
        AfterValidator(_printable),
    ]  # fmt: skip


class FeastConnection(Part):
    """A Feast feature store that is wanted as a connection."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "name": "features", "kind": "feast",
                "config": {"project": "rides", "registry": "https://feast.example.com:6572",
                           "url": "https://feast.example.com:6566", "offline": "feast.example.com:8815"},
                "secret": {"token": "a-token"},
            }]
        }
    )  # fmt: skip

    name: ConnectionName
    kind: Literal["feast"]
    config: FeastConfig
    secret: FeastSecret | None = None


@dataclass(frozen=True)
class Server:
    """One of the servers that a connection leads to."""

    pointer: str
    host: str
    port: int
    tls: bool


def servers(config: Mapping[str, Any]) -> Iterator[Server]:
    """The servers of a checked config."""
    for name in ("registry", "url"):
        if config.get(name):
            parts = urlsplit(str(config[name]))
            secure = parts.scheme == "https"
            yield Server(f"/config/{name}", str(parts.hostname), parts.port or (443 if secure else 80), secure)
    if config.get("offline"):
        host, _, port = str(config["offline"]).rpartition(":")
        yield Server("/config/offline", host, int(port), bool(config.get("offline_tls", True)))


def check(config: FeastConfig, *, settings: Settings) -> None:
    """Refuses servers that may not be reached; a name that has no address now is judged again at each use.

    Raises:
        EgressDenied: with the pointer of the server.
    """
    for server in servers(config.model_dump()):
        try:
            reachable(server.host, server.port, tls=server.tls, settings=settings)
        except SourceUnavailable:
            continue
        except EgressDenied as error:
            if error.stable_code != "unknown_host":
                fault = Violation(server.pointer, error.stable_code, error.detail, error.hint)
                raise EgressDenied(error.detail, code=error.stable_code, hint=error.hint, violations=[fault]) from None


def reach(config: Mapping[str, Any], secret: Mapping[str, str], *, settings: Settings, seconds: float) -> str:
    """A sentence that says which of the servers answer; all must.

    Raises:
        EgressDenied: a server may not be reached.
        SourceRefused: the registry refuses the token, or does not know the project; or what answers is no Feast.
        SourceUnavailable: a server does not answer.
    """
    until = monotonic() + seconds
    headers = {"Authorization": f"Bearer {secret['token']}"} if "token" in secret else {}
    project = str(config["project"])
    known = ask("GET", f"{config['registry']}/api/v1/projects/{quote(project, safe='')}", headers=headers,
                seconds=until - monotonic(), max_bytes=MAX_ANSWER_BYTES, settings=settings)  # fmt: skip
    _require_project(known.status, known.body, project)
    found = ["registry"]
    if config.get("url"):
        health = ask("GET", f"{config['url']}/health", headers=headers, seconds=until - monotonic(),
                     max_bytes=MAX_ANSWER_BYTES, settings=settings)  # fmt: skip
        if health.status != 200:
            raise SourceUnavailable(f"The feature server says {health.status} of its health.")
        found.append("feature server")
    for server in servers(config):
        if server.pointer == "/config/offline":
            _require_flight(server, settings=settings, until=until)
            found.append("offline server")
    return f"Project {project}: {', '.join(found)} {'answer' if len(found) > 1 else 'answers'}."


def _require_project(status: int, body: bytes, project: str) -> None:
    if status >= 500:
        raise SourceUnavailable(f"The registry answers {status}.")
    if status in {401, 403}:
        raise SourceRefused(f"The registry refuses this token ({status}).")
    try:
        named = json.loads(body)["spec"]["name"] if status == 200 else None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SourceRefused("What answers as the registry is no Feast registry.", code="not_feast") from None
    if named != project:
        raise SourceRefused(f"The registry knows no project {project!r} ({status}).", code="unknown_project")


def _require_flight(server: Server, *, settings: Settings, until: float) -> None:
    """The offline server must greet in HTTP/2, which Arrow Flight is carried by."""
    addresses = reachable(server.host, server.port, tls=server.tls, settings=settings)
    tls = ssl.create_default_context() if server.tls else None
    if tls:
        tls.set_alpn_protocols(["h2"])
    try:
        with connect(addresses, server.port, host=server.host.strip("[]"), tls=tls, until=until) as connected:
            connected.settimeout(left(until))
            connected.sendall(HTTP2_GREETING)
            greeting = _read(connected, 9, until)
    except ssl.SSLError:
        raise SourceRefused("TLS with the offline server failed.", code="bad_certificate") from None
    except OSError as error:
        raise SourceUnavailable(f"The offline server does not answer ({type(error).__name__}).") from None
    if len(greeting) < 9 or greeting[3] != SETTINGS_FRAME:
        raise SourceRefused("What answers as the offline server does not speak Arrow Flight.", code="not_feast")


def _read(connected: socket.socket, count: int, until: float) -> bytes:
    found = b""
    while len(found) < count:
        connected.settimeout(left(until))
        piece = connected.recv(count - len(found))
        if not piece:
            break
        found += piece
    return found

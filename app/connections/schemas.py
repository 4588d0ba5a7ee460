"""What callers send and see of connections: one class a kind, secrets write-only."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from app.connections.feast import FeastConnection
from app.spec.base import Label, Part, no_nul
from app.spec.data import ConnectionName

HOST = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?|[0-9A-Fa-f:.]{2,45}")
HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
OWN_HEADERS = frozenset({
    "host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect", "range", "te", "upgrade",
    "trailer", "keep-alive", "proxy-authorization", "content-encoding",
})  # fmt: skip


def _one_host(host: str) -> str:
    if not HOST.fullmatch(host):
        raise ValueError("must be one name or address, without a scheme, a path or a port")
    return host


def _host_and_port(endpoint: str) -> str:
    host, colon, port = endpoint.rpartition(":") if re.search(r":\d{1,5}$", endpoint) else (endpoint, "", "443")
    _one_host(host)
    if (":" in host and not host.startswith("[")) or not 1 <= int(port) <= 65_535:
        raise ValueError("must be host or host:port, an IPv6 address in brackets")
    return host + (f"{colon}{port}" if colon else "")


def _no_nul_inside(secret: SecretStr) -> SecretStr:
    no_nul(secret.get_secret_value())
    return secret


def _no_line_break(secret: SecretStr) -> SecretStr:
    if not HEADER_VALUE.fullmatch(secret.get_secret_value()):
        raise ValueError("must be printable ASCII without line breaks")
    return secret


def _free_header(name: str) -> str:
    if name.lower() in OWN_HEADERS:
        raise ValueError("is a header that the request itself needs")
    return name


Hidden = Annotated[
    SecretStr, Field(strict=False, min_length=1, max_length=4_096, json_schema_extra={"writeOnly": True}),
    AfterValidator(_no_nul_inside),
]  # fmt: skip
Host = Annotated[
    str, Field(min_length=1, max_length=253, examples=["warehouse.example.com"]), AfterValidator(_one_host)
]
Name = Annotated[Label, Field(min_length=1, max_length=63)]


SslMode = Literal["disable", "prefer", "require", "verify-full"]
"""`verify-full` checks the server's certificate and name; `require` encrypts without knowing the server."""
Authority = Annotated[str, Field(max_length=65_536, pattern=r"^\s*-----BEGIN CERTIFICATE-----"), AfterValidator(no_nul)]
"""PEM certificates that sign the server's, where the system's do not."""
HeaderValue = Annotated[Hidden, AfterValidator(_no_line_break)]


class S3Config(Part):
    """Where an S3-compatible store is."""

    endpoint: Annotated[str, Field(min_length=1, max_length=260), AfterValidator(_host_and_port)] | None = None
    """host or host:port, without a scheme; left out, that of Amazon's region"""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] = "us-east-1"
    secure: bool = True
    """false where the store speaks no TLS"""
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = None
    """What a test of the connection lists; left out, it lists the buckets."""


class S3Secret(Part):
    """The key pair of a store; without one, only public buckets open."""

    access_key: Hidden
    secret_key: Hidden
    session_token: Hidden | None = None


class PostgresConfig(Part):
    """Where a Postgres database is, and as whom it is read."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65_535)] = 5432
    database: Name
    user: Name
    sslmode: SslMode = "prefer"
    ca: Authority | None = None


class MysqlConfig(PostgresConfig):
    """Where a MySQL or MariaDB database is, and as whom it is read."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 3306


class RoleSecret(Part):
    """The password of the role."""

    password: Hidden


class SqliteConfig(Part):
    """Which file of the operator's folder is read."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
    """A plain name, in the folder that TRAINHOUSE_SQLITE_DIR names."""


class HttpConfig(Part):
    """The one server to which a secret goes."""

    host: Annotated[str, Field(min_length=1, max_length=260), AfterValidator(_host_and_port)]
    """host or host:port, as in the URLs of the sources"""
    secure: bool = True
    """false where the server speaks no TLS, which only the operator's own networks may"""
    header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$"), AfterValidator(_free_header)] = (
        "Authorization"
    )
    """Which header carries the secret's `value`; a `token` goes into Authorization."""
    path: Annotated[str, Field(pattern=r"^/[!-~]{0,1023}$")] = "/"
    """What a test of the connection asks for."""


class HttpSecret(Part):
    """A bearer token, or a header's whole value."""

    token: HeaderValue | None = None
    value: HeaderValue | None = None

    @model_validator(mode="after")
    def one_of_token_and_value(self) -> "HttpSecret":
        """Exactly one of `token` and `value` authorises."""
        if (self.token is None) == (self.value is None):
            raise ValueError("give exactly one of token and value")
        return self


class S3Connection(Part):
    """A store that is wanted as a connection."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "name": "lake", "kind": "s3", "config": {"endpoint": "minio.example.com:9000", "region": "us-east-1"},
                "secret": {"access_key": "AKEXAMPLE", "secret_key": "a-secret-key"},
            }]
        }
    )  # fmt: skip

    name: ConnectionName
    kind: Literal["s3"]
    config: S3Config = S3Config()
    secret: S3Secret | None = None


class PostgresConnection(Part):
    """A database that is wanted as a connection; give a role that may only read."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "name": "warehouse", "kind": "postgres",
                "config": {"host": "warehouse.example.com", "database": "sales", "user": "reader"},
                "secret": {"password": "a-password"},
            }]
        }
    )  # fmt: skip

    name: ConnectionName
    kind: Literal["postgres"]
    config: PostgresConfig
    secret: RoleSecret | None = None


class MysqlConnection(Part):
    """A MySQL or MariaDB database that is wanted as a connection; give a role that may only read."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "name": "shop", "kind": "mysql",
                "config": {"host": "shop.example.com", "database": "orders", "user": "reader", "sslmode": "verify-full"},
                "secret": {"password": "a-password"},
            }]
        }
    )  # fmt: skip

    name: ConnectionName
    kind: Literal["mysql"]
    config: MysqlConfig
    secret: RoleSecret | None = None


class SqliteConnection(Part):
    """A SQLite file of the operator's folder that is wanted as a connection."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "sensors", "kind": "sqlite", "config": {"file": "sensors.db"}}]}
    )

    name: ConnectionName
    kind: Literal["sqlite"]
    config: SqliteConfig


class HttpConnection(Part):
    """A server whose files need a token; a source of kind http names it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "name": "exports", "kind": "http", "config": {"host": "exports.example.com"},
                "secret": {"token": "a-bearer-token"},
            }]
        }
    )  # fmt: skip

    name: ConnectionName
    kind: Literal["http"]
    config: HttpConfig
    secret: HttpSecret


AnyConnection = (
    S3Connection | PostgresConnection | MysqlConnection | SqliteConnection | HttpConnection | FeastConnection
)
ConnectionRequest = Annotated[AnyConnection, Field(discriminator="kind")]


class ConnectionShown(BaseModel):
    """A connection, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["con_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    name: str
    kind: Literal["s3", "postgres", "mysql", "sqlite", "http", "feast"]
    config: dict[str, Any]
    has_secret: bool
    created_at: datetime


class Connections(BaseModel):
    """A page of connections."""

    items: list[ConnectionShown]
    next_cursor: str | None


class ConnectionTested(BaseModel):
    """What came of reaching a connection's engine."""

    ok: bool
    code: str | None = Field(description="stable, where it is not ok", examples=["source_refused"])
    detail: str
    duration_seconds: float = Field(ge=0)

"""What callers send and see of connections: one class a kind, secrets write-only."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from app.spec.base import Label, Part, no_nul
from app.spec.data import ConnectionName

HOST = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?|[0-9A-Fa-f:.]{2,45}")


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


Hidden = Annotated[
    SecretStr, Field(strict=False, min_length=1, max_length=4_096, json_schema_extra={"writeOnly": True}),
    AfterValidator(_no_nul_inside),
]  # fmt: skip
Host = Annotated[
    str, Field(min_length=1, max_length=253, examples=["warehouse.example.com"]), AfterValidator(_one_host)
]
Name = Annotated[Label, Field(min_length=1, max_length=63)]


class S3Config(Part):
    """Where an S3-compatible store is."""

    endpoint: Annotated[str, Field(min_length=1, max_length=260), AfterValidator(_host_and_port)] = "s3.amazonaws.com"
    """host or host:port, without a scheme"""
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
    sslmode: Literal["disable", "prefer", "require"] = "prefer"


class PostgresSecret(Part):
    """The password of the role."""

    password: Hidden


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
    secret: PostgresSecret | None = None


ConnectionRequest = Annotated[S3Connection | PostgresConnection, Field(discriminator="kind")]


class ConnectionShown(BaseModel):
    """A connection, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["con_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    name: str
    kind: Literal["s3", "postgres"]
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

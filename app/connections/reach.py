"""Reaches a connection's engine to see whether it lets us in; nothing is read but a list or a constant."""

from typing import Any

import psycopg
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from app.egress import resolve
from app.errors import SourceRefused, SourceUnavailable

SECONDS = 5
NO_FILE = "/dev/null/none"
"""Where the driver is told to look for passwords, so that it looks nowhere."""


def reach(kind: str, config: dict[str, Any], secret: dict[str, str], *, allow: str) -> str:
    """A sentence that says what was reached.

    Raises:
        EgressDenied: the host may not be reached.
        SourceRefused: the engine refuses the secret, or what was asked for is not there.
        SourceUnavailable: the engine does not answer within 5 seconds.
    """
    return REACH[kind](config, secret, allow)


def host_of(kind: str, config: dict[str, Any]) -> tuple[str, int]:
    """The host and port that a connection of this kind and config leads to."""
    if kind == "postgres":
        return str(config["host"]), int(config["port"])
    host, _, port = str(config["endpoint"]).rpartition(":")
    if host and port.isdigit():
        return host, int(port)
    return str(config["endpoint"]), 443 if config["secure"] else 80


class _Pinned(urllib3.PoolManager):
    """Connects to one address whatever the name says, and checks the certificate against the name."""

    def __init__(self, address: str) -> None:
        super().__init__(timeout=urllib3.Timeout(total=SECONDS), retries=False, cert_reqs="CERT_REQUIRED")
        self._address = address

    def connection_from_host(
        self, host: str | None, port: int | None = None, scheme: str | None = "http",
        pool_kwargs: dict[str, Any] | None = None,
    ) -> urllib3.HTTPConnectionPool:  # fmt: skip
        """See urllib3."""
        named = {"server_hostname": host, "assert_hostname": host} if scheme == "https" else {}
        return super().connection_from_host(self._address, port, scheme, {**(pool_kwargs or {}), **named})


def _s3(config: dict[str, Any], secret: dict[str, str], allow: str) -> str:
    pool = _Pinned(resolve(*host_of("s3", config), allow)[0])
    client = Minio(
        config["endpoint"], access_key=secret.get("access_key"), secret_key=secret.get("secret_key"),
        session_token=secret.get("session_token"), secure=config["secure"], region=config["region"], http_client=pool,
    )  # fmt: skip
    try:
        if config.get("bucket") is None:
            return f"The store lists {len(client.list_buckets())} buckets."
        next(iter(client.list_objects(config["bucket"])), None)
    except S3Error as error:
        raise SourceRefused(f"The store answered {error.code}.") from None
    except InvalidResponseError as error:
        if "code: 40" in str(error):  # some stores say it without a document
            raise SourceRefused("The store refuses this key.") from None
        raise SourceUnavailable("The store answered no S3.") from None
    except (ServerError, HTTPError, OSError) as error:
        raise SourceUnavailable(f"The store does not answer ({type(error).__name__}).") from None
    except (MinioException, ValueError) as error:
        raise SourceRefused(f"The store answered no S3 ({type(error).__name__}).") from None
    finally:
        pool.clear()
    return f"The store lists the bucket {config['bucket']}."


def _postgres(config: dict[str, Any], secret: dict[str, str], allow: str) -> str:
    addresses = resolve(*host_of("postgres", config), allow)
    options = f"-c default_transaction_read_only=on -c statement_timeout={SECONDS * 1000}"
    try:
        with psycopg.connect(
            host=config["host"], hostaddr=addresses[0], port=config["port"], dbname=config["database"],
            user=config["user"], password=secret.get("password", ""), passfile=NO_FILE,
            sslmode=config["sslmode"], connect_timeout=SECONDS, application_name="trainhouse", options=options,
            tcp_user_timeout=SECONDS * 1000,
        ) as session:  # fmt: skip
            session.execute("select 1")
            version = session.info.server_version
    except psycopg.OperationalError as error:
        if error.sqlstate is None and not _was_refused(str(error)):
            raise SourceUnavailable("The database does not answer.") from None
        raise SourceRefused("The database refuses this role, password or database name.") from None
    except psycopg.Error as error:
        raise SourceRefused(f"The database answered {type(error).__name__}.") from None
    return f"Postgres {version // 10_000} answers."


def _was_refused(words: str) -> bool:
    """The driver gives no code for a refusal at connection, only the server's words."""
    return "FATAL" in words and "starting up" not in words and "too many" not in words


REACH = {"s3": _s3, "postgres": _postgres}

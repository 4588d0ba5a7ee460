"""Reaches a connection's engine to see whether it lets us in; nothing is read but a list or a constant."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import psycopg
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from app.connections import feast, http, mysql, postgres, s3, sqlite
from app.egress import Egress, resolve
from app.egress.pinned import PinnedPool
from app.errors import SourceRefused, SourceUnavailable
from app.settings import Settings

SECONDS = 5
MAX_BYTES = 1024**2


def reach(kind: str, config: dict[str, Any], secret: dict[str, str], *, settings: Settings) -> str:
    """A sentence that says what was reached.

    Raises:
        EgressDenied: the host may not be reached.
        SourceRefused: the engine refuses the secret, or what was asked for is not there.
        SourceUnavailable: the engine does not answer within 5 seconds.
    """
    return REACH[kind](config, secret, settings)


def host_of(kind: str, config: dict[str, Any]) -> tuple[str, int] | None:
    """The host and port that a connection of this kind and config leads to; None where it leads to none, or to several."""
    if kind in {"sqlite", "feast"}:
        return None
    if kind in {"postgres", "mysql"}:
        return str(config["host"]), int(config["port"])
    named = s3.endpoint(config) if kind == "s3" else str(config["host"])
    host, _, port = named.rpartition(":")
    if host and port.isdigit():
        return host, int(port)
    return named, 443 if config["secure"] else 80


def _s3(config: dict[str, Any], secret: dict[str, str], settings: Settings) -> str:
    host, port = host_of("s3", config) or ("", 0)
    address = resolve(host, port, settings.egress_allow)[0]
    pool = PinnedPool(address, connect_seconds=SECONDS, read_seconds=SECONDS)
    client = Minio(
        s3.endpoint(config), access_key=secret.get("access_key"), secret_key=secret.get("secret_key"),
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


def _postgres(config: dict[str, Any], secret: dict[str, str], settings: Settings) -> str:
    with postgres.reached(config, secret, settings=settings, seconds=SECONDS, max_bytes=MAX_BYTES) as way:
        try:
            with psycopg.connect(way.conninfo) as session:
                powers, own, version = session.execute(postgres.ABOUT).fetchone() or (None, False, "")
        except psycopg.OperationalError as error:
            if fault := postgres.tls_fault(str(error)):
                raise fault from None
            if error.sqlstate is None and not _was_refused(str(error)):
                raise SourceUnavailable("The database does not answer.") from None
            raise SourceRefused("The database refuses this role, password or database name.") from None
        except psycopg.Error as error:
            raise SourceRefused(f"The database answered {type(error).__name__}.") from None
    postgres.judge(powers, own=own)
    return f"Postgres {version.partition('.')[0]} answers."


def _was_refused(words: str) -> bool:
    """The driver gives no code for a refusal at connection, only the server's words."""
    return "FATAL" in words and "starting up" not in words and "too many" not in words


def _mysql(config: dict[str, Any], secret: dict[str, str], settings: Settings) -> str:
    with mysql.session(config, secret, settings=settings, seconds=SECONDS, max_bytes=MAX_BYTES) as session:
        return " ".join(mysql.product(session)) + " answers."


def _sqlite(config: dict[str, Any], _secret: dict[str, str], settings: Settings) -> str:
    until = monotonic() + SECONDS
    with sqlite.session(config, settings=settings, late=lambda: monotonic() > until) as session:
        (count,) = session.execute("select count(*) from sqlite_master where type in ('table', 'view')").fetchone()
    return f"The file has {count} tables."


def _http(config: dict[str, Any], secret: dict[str, str], settings: Settings) -> str:
    url = http.base(config) + str(config.get("path") or "/")
    with TemporaryDirectory() as folder:
        got = Egress(settings).get_to_file(
            url, Path(folder) / "answer", http.headers(url, config, secret), deadline_seconds=SECONDS, max_bytes=2**30,
            head_only=True,
        )  # fmt: skip
    http.require_good(got.status)
    return f"The server answers {got.status}."


def _feast(config: dict[str, Any], secret: dict[str, str], settings: Settings) -> str:
    return feast.reach(config, secret, settings=settings, seconds=SECONDS)


REACH: dict[str, Callable[[dict[str, Any], dict[str, str], Settings], str]] = {
    "s3": _s3,
    "postgres": _postgres,
    "mysql": _mysql,
    "sqlite": _sqlite,
    "http": _http,
    "feast": _feast,
}

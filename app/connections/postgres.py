"""Reaches a Postgres database as a role that can only read, through a relay."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import Any

from psycopg.conninfo import make_conninfo

from app.egress import Relay, resolve
from app.egress.own import HOLDS_OWN_TABLES, is_own_database
from app.errors import SourceRefused, Violation
from app.settings import Settings

CONNECT_SECONDS = 10
BAD_CERTIFICATE = re.compile(r"certificate verify failed|does not match host name")
SSL_MODES = ("disable", "prefer", "require", "verify-full")
NO_FILE = "/dev/null/none"
"""Where the driver is told to look for what it could take from the process's home, so that it finds nothing."""
POWERS = """
    select string_agg(rolname, ', ' order by rolname) from pg_catalog.pg_roles
    where (rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
           and pg_has_role(current_user, oid, 'member'))
       or (rolsuper and pg_has_role(current_user, oid, 'member'))
"""
ABOUT = f"select ({POWERS}) as powers, ({HOLDS_OWN_TABLES}) as own, current_setting('server_version') as version"
"""One row: the powers beyond reading tables or null, whether the database is Trainhouse's own, the server's version."""


@dataclass(frozen=True)
class Reached:
    """The way to a database: a connection string that leads through `relay`."""

    conninfo: str
    relay: Relay


@contextmanager
def reached(
    config: Mapping[str, Any], secret: Mapping[str, str], *, settings: Settings, seconds: float, max_bytes: int
) -> Iterator[Reached]:
    """The way to the database that `config` names, open for `seconds` at the most.

    Raises:
        SourceRefused: `bad_connection`, or `own_database`.
        EgressDenied: the host may not be reached.
        SourceUnavailable: nothing takes the connection.
    """
    host, port = str(config.get("host", "")), int(config.get("port") or 5432)
    mode = str(config.get("sslmode") or "prefer")
    if not host or host.startswith(("/", "@")) or "," in host or mode not in SSL_MODES:
        raise SourceRefused("The connection names no usable host or sslmode.", code="bad_connection",
                            hint=f"host is one name or address; sslmode one of {', '.join(SSL_MODES)}.")  # fmt: skip
    addresses = resolve(host, port, settings.egress_allow)
    if is_own_database(addresses, port, str(config.get("database", "")), settings=settings):
        raise own_database()
    with NamedTemporaryFile("w", suffix=".pem") as authority:
        authority.write(str(config.get("ca") or ""))
        authority.flush()
        root = authority.name if config.get("ca") else "system" if mode == "verify-full" else NO_FILE
        with Relay(addresses[0], port, until=monotonic() + seconds, max_bytes=max_bytes) as relay:
            yield Reached(_conninfo(config, secret, relay.port(), mode=mode, root=root, seconds=seconds), relay)


def _conninfo(
    config: Mapping[str, Any], secret: Mapping[str, str], port: int, *, mode: str, root: str, seconds: float
) -> str:
    options = (
        "-c default_transaction_read_only=on -c timezone=UTC -c datestyle=ISO -c client_min_messages=error"
        f" -c statement_timeout={int(seconds * 1000)}"
    )
    return make_conninfo(
        host=str(config["host"]), hostaddr="127.0.0.1", port=port, dbname=str(config.get("database", "")),
        user=str(config.get("user", "")), password=secret.get("password", ""), passfile=NO_FILE, sslmode=mode,
        sslrootcert=root, sslcert=NO_FILE, sslkey=NO_FILE, sslcrl=NO_FILE, gssencmode="disable",
        connect_timeout=max(2, int(min(CONNECT_SECONDS, seconds))), application_name="trainhouse",
        client_encoding="UTF8", options=options,
    )  # fmt: skip


def judge(powers: str | None, *, own: bool) -> None:
    """Refuses a role that could do more to its server than read tables, and the service's own database.

    Raises:
        SourceRefused: `too_powerful`, or `own_database`.
    """
    if own:
        raise own_database()
    if powers:
        raise SourceRefused(f"The role of the connection has the power of {powers}.", code="too_powerful",
                            hint="Use a role that may only read the tables.")  # fmt: skip


def tls_fault(words: str) -> SourceRefused | None:
    """What the driver's words say of TLS, for which it has no code; None where they say nothing of it.

    A handshake that broke off without a reason is none: the server may have gone.
    """
    if "does not support SSL" in words:
        return SourceRefused("The server speaks no TLS, which sslmode asks for.", code="no_tls")
    if found := BAD_CERTIFICATE.search(words):
        return SourceRefused(
            f"The server's certificate does not hold: {found[0]}.", code="bad_certificate",
            hint="Give the certificate that signs the server's as ca, and the host as it is named there.",
        )  # fmt: skip
    return None


def own_database(pointer: str = "") -> SourceRefused:
    """The refusal to read where the service itself remembers."""
    detail, hint = "The connection leads to Trainhouse's own database.", "Name the database that holds your tables."
    faults = [Violation(pointer, "own_database", detail, hint)] if pointer else []
    return SourceRefused(detail, code="own_database", hint=hint, violations=faults)

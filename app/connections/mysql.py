"""Reaches a MySQL or MariaDB database as a role that can only read, through a relay."""

import re
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import pymysql
from pymysql.cursors import SSCursor
from pymysql.protocol import FieldDescriptorPacket, MysqlPacket

from app.egress import Relay, resolve
from app.errors import SourceRefused, SourceUnavailable, TrainhouseError, bounded
from app.settings import Settings

CONNECT_SECONDS = 10
SSL_MODES = ("disable", "prefer", "require", "verify-full")
MAX_PACKET_BYTES = 64 * 1024**2
LARGEST_PIECE = 2**24 - 1
END, ERROR = 0xFE, 0xFF
BUFFER = 256 * 1024
MAX_FIELDS = 4_096
"""More columns no MySQL server knows."""
TELLS_THE_PASSWORD = frozenset({b"mysql_clear_password", b"dialog", b"mysql_old_password"})
POWERS = frozenset(
    {"ALL PRIVILEGES", "FILE", "SUPER", "SHUTDOWN", "CREATE USER", "SYSTEM_USER", "SYSTEM_VARIABLES_ADMIN"}
)
EVERYWHERE = re.compile(r"GRANT (?P<powers>.+) ON \*\.\* TO ")
AWAY = frozenset({1040, 1053, 1203, 1205, 1213, 2002, 2003, 2006, 2013})
"""Too many connections, shutting down, locks, and the driver's words for a server that has gone."""
TOO_SLOW = frozenset({1317, 1969, 3024})
FAULTS = (
    pymysql.Error, OSError, RuntimeError, AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
    struct.error, ssl.SSLError,
)  # fmt: skip
"""What the driver raises when a server does not keep to the protocol."""
SESSION = (
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION group_concat_max_len = 16777216",
    "SET SESSION TRANSACTION READ ONLY",
    "START TRANSACTION READ ONLY",
)


class Reader(pymysql.Connection):  # type: ignore[misc]  # the driver brings no types
    """A connection whose server cannot fill the memory with one packet or with columns, nor ask for the password."""

    relay: Relay
    packet_bytes = fields = 0

    def _read_packet(self, packet_type: type[MysqlPacket] = MysqlPacket) -> MysqlPacket:
        self.packet_bytes = 0
        self.fields = self.fields + 1 if packet_type is FieldDescriptorPacket else 0
        if self.fields > MAX_FIELDS:
            raise ValueError("more columns than a server knows")
        return super()._read_packet(packet_type)

    def _process_auth(self, plugin_name: bytes, auth_packet: MysqlPacket, handler: Any = None) -> MysqlPacket:
        if plugin_name in TELLS_THE_PASSWORD and not self._secure:
            raise SourceRefused("The server asks for the password itself, over a connection without TLS.",
                                code="password_in_clear", hint="Set sslmode to verify-full.")  # fmt: skip
        return super()._process_auth(plugin_name, auth_packet, handler)

    def _read_bytes(self, num_bytes: int) -> bytes:
        self.packet_bytes += num_bytes
        if self.packet_bytes > MAX_PACKET_BYTES:
            raise ValueError("a packet is too long")
        return super()._read_bytes(num_bytes)


@contextmanager
def session(
    config: Mapping[str, Any], secret: Mapping[str, str], *, settings: Settings, seconds: float, max_bytes: int
) -> Iterator[Reader]:
    """A session in a read-only transaction, whose statements end after `seconds`.

    Raises:
        SourceRefused: the server refuses the role, the password or a statement; `bad_connection`, `too_powerful`.
        EgressDenied: the host may not be reached.
        SourceUnavailable: the server does not answer, or not in time.
    """
    host, port = str(config.get("host", "")), int(config.get("port") or 3306)
    mode = str(config.get("sslmode") or "prefer")
    if not host or host.startswith(("/", "@")) or mode not in SSL_MODES:
        raise SourceRefused("The connection names no usable host or sslmode.", code="bad_connection",
                            hint=f"host is one name or address; sslmode one of {', '.join(SSL_MODES)}.")  # fmt: skip
    address = resolve(host, port, settings.egress_allow)[0]
    with Relay(address, port, until=monotonic() + seconds, max_bytes=max_bytes) as relay:
        made = Reader(
            host=host, port=port, user=str(config.get("user", "")), password=secret.get("password", "").encode(),
            database=str(config.get("database", "")), charset="utf8mb4", sql_mode="NO_ENGINE_SUBSTITUTION", conv={},
            use_unicode=False, local_infile=False, autocommit=None, cursorclass=SSCursor, defer_connect=True,
            read_timeout=min(CONNECT_SECONDS, seconds), program_name="trainhouse", **_tls(mode, config.get("ca")),
        )  # fmt: skip
        made.relay = relay
        try:
            made.connect(relay.end())
            if mode not in {"disable", "prefer"} and not made._secure:  # noqa: SLF001
                raise SourceRefused("The server speaks no TLS, which sslmode asks for.", code="no_tls")
            refuse_powers(grants(made))
            for statement in (*SESSION, *_limits(made, seconds)):
                run(made, statement)
            _signed_in(made)
            yield made
        except FAULTS as error:
            raise explained(error, relay) from None
        finally:
            _abandon(made)


def _signed_in(made: Reader) -> None:
    """From now on the relay alone ends what is slow; and the driver's own buffer takes 8 kB at a time."""
    made._read_timeout = None  # noqa: SLF001
    made._sock.settimeout(None)  # noqa: SLF001
    made._rfile = made._sock.makefile("rb", BUFFER)  # noqa: SLF001


def _abandon(made: Reader) -> None:
    """Ends the connection at once; saying goodbye would first read all that is still to come."""
    if made._result is not None:  # noqa: SLF001
        made._result.unbuffered_active = False  # noqa: SLF001
    with suppress(*FAULTS):
        made._force_close()  # noqa: SLF001


def _tls(mode: str, authority: str | None) -> dict[str, Any]:
    if mode in {"disable", "prefer"}:
        return {"ssl_disabled": mode == "disable"}
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # certificates that servers make for themselves do not pass it
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


def run(made: Reader, statement: str) -> list[tuple[bytes | None, ...]]:
    """All rows of a statement that gives few."""
    with made.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def product(made: Reader) -> tuple[str, str]:
    """`MariaDB` or `MySQL`, and the server's version."""
    said = (run(made, "SELECT version()")[0][0] or b"").decode("ascii", "replace")
    return ("MariaDB" if "mariadb" in said.lower() else "MySQL"), bounded(said)


def grants(made: Reader) -> list[str]:
    """What the role may, in the server's words."""
    return [(row[0] or b"").decode("utf-8", "replace") for row in run(made, "SHOW GRANTS")]


def refuse_powers(lines: list[str]) -> None:
    """Refuses a role that could do more to its server than read tables.

    Raises:
        SourceRefused: `too_powerful`.
    """
    held = {power for line in lines if (found := EVERYWHERE.match(line)) for power in found["powers"].split(", ")}
    if held & POWERS:
        raise SourceRefused(f"The role of the connection has the power of {', '.join(sorted(held & POWERS))}.",
                            code="too_powerful", hint="Use a role with SELECT on the tables and nothing else.")  # fmt: skip


def _limits(made: Reader, seconds: float) -> list[str]:
    """How each product is told to end a statement."""
    if product(made)[0] == "MariaDB":
        return [f"SET SESSION max_statement_time = {seconds:.3f}"]
    return [f"SET SESSION max_execution_time = {int(seconds * 1000)}"]


def explained(error: BaseException, relay: Relay) -> TrainhouseError:
    """Whose turn it is after the driver's `error`."""
    if isinstance(error, TrainhouseError):
        return error
    if relay.cut == "late":
        return SourceUnavailable("The database did not answer in time.", code="source_timeout")
    if relay.cut == "long":
        return SourceRefused("The database sends more than may be read.", code="too_many_bytes",
                             hint="Select fewer rows or columns.")  # fmt: skip
    if isinstance(getattr(error, "original_exception", error), ssl.SSLError):
        return SourceRefused("The server's certificate or its TLS does not hold.", code="bad_certificate",
                             hint="Give the certificate that signs the server's as ca, and the host as it is named there.")  # fmt: skip
    number = error.args[0] if isinstance(error, pymysql.Error) and error.args else None
    if number in AWAY or isinstance(error, OSError):
        return SourceUnavailable("The database does not answer, or broke off.")
    return _refusal(error, number)


def _refusal(error: BaseException, number: object) -> SourceRefused:
    """What the server will not do, or does against the protocol."""
    if "LOAD_LOCAL" in str(error):
        return SourceRefused("The server asks for a file of this machine instead of answering.", code="rogue_server",
                             hint="Check that host and port are those of your database.")  # fmt: skip
    if not isinstance(number, int):
        return SourceRefused("The server does not speak the protocol of MySQL, or asks for an unknown way to sign in.",
                             code="not_mysql", hint="Check that host and port are those of a MySQL or MariaDB server, "
                             "and that the role signs in with a password.")  # fmt: skip
    if number in TOO_SLOW:
        return SourceRefused("The database ended the query: it took too long.", code="query_timeout",
                             hint="Select less, or add an index.")  # fmt: skip
    return SourceRefused(f"The database refused: {bounded(error.args[-1])}.",
                         hint="Check the role's rights, and that the query is one SELECT.")  # fmt: skip


def ask(made: Reader, query: str) -> list[Any]:
    """Sends the query and gives the fields of its result, whose rows `packets` brings.

    Raises:
        SourceRefused: it has no result.
        one of FAULTS
    """
    made.query(query, unbuffered=True)
    found = getattr(made._result, "fields", None)  # noqa: SLF001  # the cursor shows less of a column
    if not found:
        raise SourceRefused("The query gives no columns.", hint="The query must be one SELECT.")
    return list(found)


def packets(made: Reader) -> Iterator[bytes]:
    """The rows of the result that `ask` began, each as the server sent it.

    The driver's own way through a packet takes three times as long.

    Raises:
        one of FAULTS
    """
    read = made._rfile.read  # noqa: SLF001
    while True:
        packet, more = b"", True
        while more:
            head = read(4)
            if len(head) < 4:
                raise ConnectionError
            size = head[0] | head[1] << 8 | head[2] << 16
            piece = read(size)
            if len(piece) < size:
                raise ConnectionError
            packet, more = packet + piece if packet else piece, size == LARGEST_PIECE
            if len(packet) > MAX_PACKET_BYTES:
                raise ValueError("a packet is too long")
        if packet[0] == END and len(packet) < 9:
            return
        if packet[0] == ERROR:
            MysqlPacket(packet, "utf-8").raise_for_error()
        yield packet


def fields(row: bytes) -> list[bytes | None]:
    """The values of a row: each is preceded by its length, which itself has one, three, four or nine bytes."""
    found: list[bytes | None] = []
    at, end = 0, len(row)
    while at < end:
        size = row[at]
        at += 1
        if size > 250:
            if size == 251:
                found.append(None)
                continue
            width = {252: 2, 253: 3, 254: 8}[size]
            size = int.from_bytes(row[at : at + width], "little")
            at += width
        found.append(row[at : at + size])
        at += size
    if at != end:
        raise ValueError("a row that ends early")
    return found

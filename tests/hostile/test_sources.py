"""Sources that lie, flood, stall or point inside are refused with a code; no worker waits, dies or tells a secret."""

import random
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import EgressDenied, InvalidData, InvalidSpec, SourceRefused, SourceUnavailable, TrainhouseError
from tests.learning import make_context
from tests.lookup import answers
from tests.rogues import NOTICE, Reply, column, forever, message, mysql, packet, postgres, result, silent
from tests.sources import NO_ENGINES, configured
from tests.wire import Answer, listening
from workers.context import ConnectionRef, Context
from workers.sources import SOURCES
from workers.sources import mysql as mysql_source
from workers.sources import postgres as postgres_source

SECRET = "the-password-of-the-role"


@pytest.fixture(autouse=True)
def loopback_allowed() -> Iterator[None]:
    """The operator allows 127.0.0.1, so that the servers of these tests can be reached, and nothing else."""
    with configured(NO_ENGINES | {"TRAINHOUSE_EGRESS_ALLOW": "127.0.0.1/32"}):
        yield


def reading(folder: Path, source: dict[str, Any], *refs: ConnectionRef, seconds: float = 60.0) -> Context:
    spec = {"task": {"target": "a"}, "data": {"sources": {"main": source}}}
    ctx = make_context(folder, spec, connections={ref.name: ref for ref in refs})
    return replace(ctx, deadline=time.monotonic() + seconds)


def from_database(folder: Path, kind: str, *, seconds: float = 60.0, **config: Any) -> Context:
    known = {"host": "127.0.0.1", "database": "sales", "user": "reader", **config}
    ref = ConnectionRef("main", kind, known, {"password": SECRET})
    source = {"kind": "database", "connection": "main", "table": "t", "max_rows": 50_000}
    return reading(folder, source, ref, seconds=seconds)


def refusal(ctx: Context) -> TrainhouseError:
    (source,) = ctx.spec.data.sources.values()
    with pytest.raises(TrainhouseError) as refused:
        SOURCES[source.kind](source, ctx)
    assert SECRET not in str(refused.value.document())
    assert "/etc/passwd" not in str(refused.value.document())
    return refused.value


SCHEMES = ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/x", "dict://127.0.0.1/", "s3a://b/k", "jar:http://x!/",
           "//127.0.0.1/x.csv", "http:///x.csv", "https:x.csv", "HTTP", "http://\u0000.com/x", "http://a.com/x\r\nHost: b"]  # fmt: skip


@pytest.mark.parametrize("url", SCHEMES)
def test_a_url_of_another_scheme_is_no_spec(url: str, tmp_path: Path):
    with pytest.raises(InvalidSpec):
        reading(tmp_path, {"kind": "http", "url": url})


INSIDE = [
    "http://127.0.0.2/x.csv", "http://0/x.csv", "http://0x7f000001/x.csv", "http://2130706433/x.csv",
    "http://127.1/x.csv", "http://0177.0.0.1/x.csv", "http://[::1]/x.csv", "http://[::ffff:127.0.0.2]/x.csv", "http://[64:ff9b::7f00:2]/x.csv",
    "http://①②⑦.⓪.⓪.①/x.csv", "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/x.csv", "http://10.0.0.1/x.csv",
    "http://192.168.0.1/x.csv", "http://172.16.0.1/x.csv", "http://100.100.100.200/x.csv", "http://user@127.0.0.1/x.csv",
    "http://a.com#@127.0.0.1/x.csv", "http://a.com\\@127.0.0.1/x.csv", "https://8.8.8.8:22/x.csv", "http://8.8.8.8/x.csv",
    "http://[fe80::1%25eth0]/x.csv", "http://0.0.0.0/x.csv", "http://224.0.0.1/x.csv", "http://255.255.255.255/x.csv",
]  # fmt: skip


@pytest.mark.parametrize("url", INSIDE)
def test_a_url_that_leads_inside_is_denied(url: str, tmp_path: Path):
    assert isinstance(refusal(reading(tmp_path, {"kind": "http", "url": url})), EgressDenied)


MIXED = [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2001:4860:4860::8888", "::1"], ["8.8.8.8", "::ffff:10.0.0.1"],
         ["8.8.8.8", "169.254.169.254"], ["10.0.0.1"]]  # fmt: skip


@pytest.mark.parametrize("found", MIXED)
@pytest.mark.parametrize("kind", ["http", "postgres", "mysql"])
def test_a_name_with_one_address_inside_is_denied(
    found: list[str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    url = {"kind": "http", "url": "https://data.example.com/x.csv"}
    ctx = reading(tmp_path, url) if kind == "http" else from_database(tmp_path, kind, host="data.example.com")
    answers(monkeypatch, found)
    assert isinstance(refusal(ctx), EgressDenied)


@pytest.mark.parametrize("kind", ["http", "postgres", "mysql"])
def test_a_name_is_looked_up_once_and_its_judged_address_is_kept(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    def refuse(connected: socket.socket, _first: bytes) -> None:
        connected.close()

    with listening(refuse, speaks_first=kind == "mysql") as server:
        url = {"kind": "http", "url": f"http://rebinding.example.com:{server.port}/x.csv"}
        ctx = reading(tmp_path, url) if kind == "http" else from_database(
            tmp_path, kind, host="rebinding.example.com", port=server.port, seconds=5)  # fmt: skip
        asked = answers(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
        refused = refusal(ctx)
        assert not isinstance(refused, EgressDenied)
        assert asked.count(server.port) == 1
        assert server.heard != []


FIELDS = [
    {"host": "/var/run/postgresql"}, {"host": "127.0.0.1,10.0.0.1"}, {"host": "@abstract"}, {"host": "host=evil"},
    {"host": "127.0.0.1?sslkey=~/.ssh/id"}, {"host": "127.0.0.1 options=-c"}, {"host": "u@127.0.0.1"}, {"sslmode": "allow"},
]  # fmt: skip


@pytest.mark.parametrize("change", FIELDS)
@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_trick_in_a_field_is_refused(kind: str, change: dict[str, str], tmp_path: Path):
    assert isinstance(refusal(from_database(tmp_path, kind, **change)), SourceRefused | EgressDenied)


WORDS = [
    "sales' options='-c statement_timeout=0",
    "sales host=10.0.0.1",
    "service=x",
    "postgresql://10.0.0.1/x",
    "x passfile=/etc/passwd",
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("field", ["database", "user"])
def test_a_field_stays_one_field(words: str, field: str, tmp_path: Path):
    with listening(postgres(silent)) as server:
        refusal(from_database(tmp_path, "postgres", port=server.port, seconds=1.5, sslmode="disable", **{field: words}))
    said = server.heard[0][8:].split(b"\x00")
    assert said[said.index(field.encode()) + 1] == words.encode()


def asks_for_a_file(connected: socket.socket, _query: bytes) -> None:
    connected.sendall(packet(1, b"\xfb/etc/passwd"))
    connected.settimeout(2)
    assert b"root:" not in connected.recv(65_536)


def one_name(connected: socket.socket, _query: bytes) -> None:
    connected.sendall(result([b"a"] * 1_600, [[b"1"] * 1_600]))


def wrong_width(connected: socket.socket, _query: bytes) -> None:
    connected.sendall(result([b"a", b"b"], [[b"1"]]))


def one_packet_without_end(connected: socket.socket, _query: bytes) -> None:
    for number in range(1, 1_000):
        connected.sendall(b"\xff\xff\xff" + bytes([number % 256]) + b"x" * 0xFFFFFF)


def odd_values(connected: socket.socket, _query: bytes) -> None:
    whole = b"".join(packet(number + 1, part) for number, part in enumerate([b"\x01", column(b"a", 3)]))
    connected.sendall(
        whole + packet(3, b"\xfe\x00\x00\x02\x00") + packet(4, b"\x03abc") + packet(5, b"\xfe\x00\x00\x02\x00")
    )


BEGUN = packet(1, b"\x01") + packet(2, column(b"a")) + packet(3, b"\xfe\x00\x00\x02\x00")
MYSQL: list[tuple[Reply, type[TrainhouseError], str]] = [
    (asks_for_a_file, SourceRefused, "rogue_server"),
    (one_name, InvalidData, "duplicate_columns"),
    (wrong_width, SourceRefused, "not_mysql"),
    (forever(packet(4, b"\x01a") * 10_000, first=BEGUN), InvalidData, "too_many_rows"),
    (forever(b"\xff\xff\xff\x04" + b"x" * 0xFFFFFF, first=BEGUN), SourceRefused, "not_mysql"),
    (one_packet_without_end, SourceRefused, "not_mysql"),
    (forever(b"".join(packet(number, column(b"a")) for number in [*range(2, 256), 0, 1]), first=packet(1, b"\xfe" + b"\xff" * 8)),
     SourceRefused, "not_mysql"),
    (forever(b"\x00" * 100_000), SourceUnavailable, "source_unavailable"),
    (lambda connected, _query: connected.sendall(packet(1, b"\xff\x7a\x04#42S02" + b"no such table " * 1_000)), SourceRefused, "source_refused"),
    (lambda connected, _query: connected.sendall(packet(1, b"\xff")), SourceRefused, "not_mysql"),
    (lambda connected, _query: connected.close(), SourceUnavailable, "source_unavailable"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "kind", "code"), MYSQL)
def test_a_rogue_mysql_harms_nobody(reply: Reply, kind: type[TrainhouseError], code: str, tmp_path: Path):
    with listening(mysql(reply), speaks_first=True) as server:
        refused = refusal(from_database(tmp_path, "mysql", port=server.port, seconds=20))
    assert (type(refused), refused.stable_code) == (kind, code)
    assert len(refused.detail) < 600


def test_a_value_that_is_not_of_its_columns_type_is_text(tmp_path: Path):
    with listening(mysql(odd_values), speaks_first=True) as server:
        ctx = from_database(tmp_path, "mysql", port=server.port)
        assert SOURCES["database"](ctx.spec.data.sources["main"], ctx).table.to_pydict() == {"a": ["abc"]}


@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog", b"mysql_old_password"])
def test_a_password_is_not_told_over_an_open_line(plugin: bytes, tmp_path: Path):
    with listening(mysql(silent, asks_for=plugin), speaks_first=True) as server:
        refused = refusal(from_database(tmp_path, "mysql", port=server.port, seconds=10))
    assert refused.stable_code == "password_in_clear"


SILENT: list[tuple[str, Answer, bool]] = [
    ("mysql", silent, True), ("mysql", mysql(silent), True), ("mysql", silent, False), ("postgres", silent, False),
    ("postgres", postgres(silent), False), ("postgres", postgres(silent, before_ready=NOTICE), False),
    ("postgres", postgres(forever(NOTICE)), False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "answer", "first"), SILENT)
def test_a_database_that_never_comes_to_the_point_is_left_at_the_deadline(
    kind: str, answer: Answer, first: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):  # fmt: skip
    with listening(answer, speaks_first=first) as server:
        began = time.monotonic()
        refused = refusal(from_database(tmp_path, kind, port=server.port, seconds=1.5))
        assert isinstance(refused, SourceUnavailable | SourceRefused)
        assert time.monotonic() - began < 6
    assert len(capfd.readouterr().err) < 100_000


@pytest.mark.parametrize(("kind", "answer", "module"), [
    ("postgres", postgres(forever(NOTICE)), postgres_source),
    ("mysql", mysql(forever(packet(4, b"\xfc\xe8\x03" + b"a" * 1_000) * 100, first=BEGUN)), mysql_source),
])  # fmt: skip
def test_a_flood_ends_at_the_most_that_may_come(
    kind: str, answer: Answer, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    monkeypatch.setattr(module, "MAX_EXPANDED_BYTES", 4 * 1024**2)
    with listening(answer, speaks_first=kind == "mysql") as server:
        refused = refusal(from_database(tmp_path, kind, port=server.port, seconds=30))
    assert refused.stable_code == "too_many_bytes"


GARBAGE = [b"", b"\x00" * 100_000, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n", random.Random(7).randbytes(70_000),
           message(b"E", b"SFATAL\x00C28000\x00M" + b"no " * 5_000 + b"\x00\x00"), b"\x4e\x00\x00\x00\x0a5.7\x00" + b"\x01" * 60,
           message(b"R", struct.pack(">I", 7)), message(b"R", struct.pack(">I", 3))]  # fmt: skip


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
@pytest.mark.parametrize("said", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("first", [True, False])
def test_a_server_of_another_kind_is_no_database(kind: str, said: bytes, first: Any, tmp_path: Path):
    with listening(lambda connected, _first: connected.sendall(said), speaks_first=first) as server:
        refused = refusal(from_database(tmp_path, kind, port=server.port, seconds=2))
    assert isinstance(refused, SourceRefused | SourceUnavailable)

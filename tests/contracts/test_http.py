"""A file behind a URL gives the same table, and whatever else a server does is somebody's turn."""

import gzip
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import EgressDenied, InvalidData, SourceRefused, SourceUnavailable, TooLarge, TrainhouseError
from tests.contracts.test_sources import FILES, TABLE, as_csv, digest
from tests.learning import make_context
from tests.sources import NO_ENGINES, configured, result
from tests.sources import refusal as refused_by
from tests.wire import Answer, listening, offering, saying
from workers.context import ConnectionRef, Context
from workers.sources import http as http_source
from workers.table.snapshot import data_digest

__all__ = ["digest"]
CSV = as_csv(TABLE)


@pytest.fixture(autouse=True)
def loopback_allowed() -> Iterator[None]:
    with configured(NO_ENGINES):
        yield


def asking(folder: Path, url: str, *, ref: ConnectionRef | None = None, **source: Any) -> Context:
    wanted = {"kind": "http", "url": url, **({"connection": ref.name} if ref else {}), **source}
    spec = {"task": {"target": "number"}, "data": {"sources": {"main": wanted}}}
    return make_context(folder, spec, connections={ref.name: ref} if ref else {})


def refusal(ctx: Context) -> TrainhouseError:
    refused = refused_by(ctx)
    assert not list(ctx.workspace.scratch.glob("fetched*"))
    return refused


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("name", "declared"), [("t.{}", "auto"), ("export?of=t.{}", "{}"), ("a/b/t.{}?v=1#", "auto")])
def test_a_file_behind_a_url_gives_the_same_table(kind: str, name: str, declared: str, tmp_path: Path, digest: str):
    with listening(offering(FILES[kind](TABLE))) as server:
        url = f"{server.url}/{name.format(kind)}".rstrip("#")
        assert data_digest(result(asking(tmp_path, url, format=declared.format(kind))).table) == digest


@pytest.mark.parametrize(
    ("media", "kind"),
    [("text/csv; charset=utf-8", "csv"), ("application/json", "json"), ("application/x-ndjson", "jsonl"),
     ("application/octet-stream", "parquet"), ("application/vnd.apache.parquet", "parquet"), ("text/plain", "csv")],
)  # fmt: skip
def test_without_a_name_the_media_type_or_the_content_tells_the_format(
    media: str, kind: str, tmp_path: Path, digest: str
):  # fmt: skip
    declared = "csv" if media == "text/plain" else "auto"
    with listening(offering(FILES[kind](TABLE), content_type=media)) as server:
        assert data_digest(result(asking(tmp_path, f"{server.url}/export", format=declared)).table) == digest


@pytest.mark.parametrize("packed", ["gzip", "x-gzip", "GZIP"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_csv_that_is_packed_unasked_is_unpacked_within_limits(packed: str, name: str, tmp_path: Path, digest: str):
    with listening(offering(gzip.compress(CSV), content_encoding=packed)) as server:
        assert data_digest(result(asking(tmp_path, f"{server.url}/{name}")).table) == digest
    assert b"Accept-Encoding: identity" in server.heard[0]


def test_chunks_are_joined(tmp_path: Path, digest: str):
    pieces = [CSV[:10], CSV[10:]]
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    with listening(saying("200 OK", body, transfer_encoding="chunked")) as server:
        assert data_digest(result(asking(tmp_path, f"{server.url}/t.csv")).table) == digest


def test_only_the_wanted_columns_are_read(tmp_path: Path):
    with listening(offering(FILES["parquet"](TABLE))) as server:
        table = result(asking(tmp_path, f"{server.url}/t.parquet", columns=["number", "code"])).table
    assert table.column_names == ["number", "code"]


def test_what_was_read_can_be_told_from_another_state_of_the_file(tmp_path: Path):
    said = {"etag": '"abc"', "last_modified": "Sat, 21 Nov 2026 10:00:00 GMT"}
    with listening(offering(CSV, **said)) as server:
        facts = result(asking(tmp_path, f"{server.url}/t.csv")).facts
    (part,) = facts["parts"]
    assert facts["bytes"] == part["bytes"] == len(CSV)
    assert (part["name"], part["etag"], part["modified_at"]) == ("t.csv", '"abc"', "Sat, 21 Nov 2026 10:00:00 GMT")
    assert part["digest"].startswith("sha256:")


REFUSALS = {
    "301 Moved": "redirected", "302 Found": "redirected", "303 See": "redirected", "307 Temporary": "redirected",
    "308 Permanent": "redirected", "304 Not Modified": "redirected", "401 Unauthorized": "not_authorised",
    "403 Forbidden": "not_authorised", "404 Not Found": "not_there", "410 Gone": "not_there", "400 Bad": "source_refused",
    "451 Legal": "source_refused", "206 Partial": "source_refused", "204 No Content": "source_refused",
}  # fmt: skip


@pytest.mark.parametrize(("status", "code"), REFUSALS.items())
def test_an_answer_that_is_not_the_file_is_the_callers_to_mend(status: str, code: str, tmp_path: Path):
    with (
        listening(offering(CSV)) as inside,
        listening(saying(status, CSV, location=f"{inside.url}/t.csv", content_length=str(len(CSV)))) as server,
    ):
        refused = refusal(asking(tmp_path, f"{server.url}/t.csv"))
    assert (type(refused), refused.stable_code) == (SourceRefused, code)
    assert refused.hint
    assert inside.heard == []


@pytest.mark.parametrize("status", ["500 Broken", "502 Bad", "503 Busy", "504 Slow", "429 Too Many", "408 Slow"])
def test_a_server_at_fault_may_answer_later(status: str, tmp_path: Path):
    with listening(saying(status, b"", retry_after="1")) as server:
        assert isinstance(refusal(asking(tmp_path, f"{server.url}/t.csv")), SourceUnavailable)


def test_a_server_that_is_not_there_may_answer_later(tmp_path: Path):
    with listening(offering(CSV)) as server:
        pass
    assert isinstance(refusal(asking(tmp_path, f"{server.url}/t.csv")), SourceUnavailable)


def _dripping(connected: socket.socket, _first: bytes) -> None:
    connected.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connected.sendall(b"1,")
        time.sleep(0.05)


def _silent(_connected: socket.socket, _first: bytes) -> None:
    time.sleep(30)


def _dripping_head(connected: socket.socket, _first: bytes) -> None:
    connected.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connected.sendall(b"x: y\r\n")
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [_dripping, _silent, _dripping_head])
def test_a_slow_server_is_left_at_the_deadline(answer: Answer, tmp_path: Path):
    with listening(answer) as server:
        began = time.monotonic()
        ctx = replace(asking(tmp_path, f"{server.url}/t.csv"), deadline=began + 1.2)
        refused = refusal(ctx)
        assert (type(refused), refused.stable_code) == (SourceUnavailable, "source_timeout")
        assert time.monotonic() - began < 4


def _endless(connected: socket.socket, _first: bytes) -> None:
    connected.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connected.sendall(b"1,2,3\n" * 10_000)


@pytest.mark.parametrize("answer", [
    _endless, saying("200 OK", b"a,b\n", content_length="100000000000"),
    saying("200 OK", b"fffffffffff\r\n" + b"1,2\n" * 1_000_000, transfer_encoding="chunked"),
])  # fmt: skip
def test_a_body_beyond_the_limit_is_left(answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_source, "MAX_EXPANDED_BYTES", 1_000_000)
    with listening(answer) as server:
        assert isinstance(refusal(asking(tmp_path, f"{server.url}/t.csv")), TooLarge)


@pytest.mark.parametrize("answer", [
    saying("200 OK", CSV[:50], content_length=str(len(CSV))),
    saying("200 OK", b"40\r\nonly this", transfer_encoding="chunked"),
    saying("200 OK", b"4\r\na,b\n\r\n", transfer_encoding="chunked"),
])  # fmt: skip
def test_a_body_that_breaks_off_is_not_taken_for_the_file(answer: Answer, tmp_path: Path):
    with listening(answer) as server:
        refused = refusal(asking(tmp_path, f"{server.url}/t.csv"))
    assert (type(refused), refused.stable_code) == (SourceUnavailable, "cut_short")


@pytest.mark.parametrize("answer", [
    saying("abc"), lambda connected, _first: connected.sendall(b"220 ftp ready\r\n"),
    lambda connected, _first: connected.sendall(b"\x00" * 200_000),
    lambda connected, _first: connected.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n"),
    lambda connected, _first: connected.sendall(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000),
    saying("200 OK", b"zz\r\nnot hexadecimal", transfer_encoding="chunked"),
    saying("200 OK", CSV, content_length="-1"),
])  # fmt: skip
def test_what_is_no_http_is_no_table(answer: Answer, tmp_path: Path):
    with listening(answer) as server:
        assert isinstance(
            refusal(asking(tmp_path, f"{server.url}/t.csv")), SourceRefused | SourceUnavailable | InvalidData
        )


@pytest.mark.parametrize("packed", ["br", "zstd", "gzip, gzip", "deflate", "gzip"])
def test_what_is_packed_otherwise_is_refused(packed: str, tmp_path: Path):
    with listening(offering(b"\x1f\x8b packed", content_encoding=packed)) as server:
        refused = refusal(asking(tmp_path, f"{server.url}/t.parquet"))
    assert refused.stable_code == "content_encoded"


def test_a_web_page_is_no_table(tmp_path: Path):
    with listening(offering(b"<!doctype html><html>Sign in</html>", content_type="text/html")) as server:
        assert isinstance(refusal(asking(tmp_path, f"{server.url}/t.csv")), InvalidData)


def connection_to(server: str, secret: dict[str, str], **config: Any) -> ConnectionRef:
    return ConnectionRef("exports", "http", {"host": server.removeprefix("http://"), "secure": False, **config}, secret)


@pytest.mark.parametrize(
    ("secret", "config", "header"),
    [({"token": "t0ken"}, {}, b"Authorization: Bearer t0ken\r\n"), ({"value": "k3y"}, {"header": "X-Api-Key"}, b"X-Api-Key: k3y\r\n"),
     ({"value": "Basic eDp5"}, {}, b"Authorization: Basic eDp5\r\n")],
)  # fmt: skip
def test_a_connection_brings_its_header(
    secret: dict[str, str], config: dict[str, Any], header: bytes, tmp_path: Path, digest: str
):  # fmt: skip
    with listening(offering(CSV)) as server:
        ref = connection_to(server.url, secret, **config)
        assert data_digest(result(asking(tmp_path, f"{server.url}/t.csv", ref=ref)).table) == digest
    assert header in server.heard[0]


@pytest.mark.parametrize("change", [
    {"host": "exports.example.com"}, {"secure": True}, {"host": "127.0.0.1"}, {"host": "127.0.0.1:1"}, {"host": ""},
])  # fmt: skip
def test_a_token_goes_to_no_other_server(change: dict[str, Any], tmp_path: Path):
    with listening(offering(CSV)) as server:
        ref = connection_to(server.url, {"token": "t0ken"}, **change)
        refused = refusal(asking(tmp_path, f"{server.url}/t.csv", ref=ref))
    assert refused.stable_code == "other_host"
    assert server.heard == []
    assert "t0ken" not in str(refused.document())


def test_a_token_does_not_follow_a_redirect(tmp_path: Path):
    with (
        listening(offering(CSV)) as elsewhere,
        listening(saying("302 Found", location=f"{elsewhere.url}/t.csv", content_length="0")) as server,
    ):
        ref = connection_to(server.url, {"token": "t0ken"})
        assert refusal(asking(tmp_path, f"{server.url}/t.csv", ref=ref)).stable_code == "redirected"
    assert elsewhere.heard == []


def test_the_ports_of_engines_are_out_of_reach(tmp_path: Path):
    for port in (1, 2, 6379, 5432):
        assert isinstance(refusal(asking(tmp_path, f"http://127.0.0.1:{port}/t.csv")), EgressDenied)

"""Addresses are judged, names are not trusted, and a receiver cannot hold or flood the sender."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.egress import Egress, resolve
from app.errors import EgressDenied, ReceiverUnavailable, TrainhouseError
from app.settings import Settings
from tests.lookup import answers

LOOPBACK = "127.0.0.0/8"
PRIVATE = [
    "127.0.0.1", "localhost", "localhost.", "[::1]", "::1", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254",
    "[fd00:ec2::254]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.1.1",
    "[ff02::1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[::127.0.0.1]", "[fe80::1]", "[64:ff9b:1::1]",
]  # fmt: skip
ODD = [
    "0", "0x7f000001", "2130706433", "127.1", "0177.0.0.1", "①②⑦.⓪.⓪.①", "1.2.3.4.5", "127.0.0.1.", "", ".", "a..b",
    "-a.com", "a b.com", "a.com\r\nX: y", "fe80::1%eth0", "x" * 300, "ex\u00e4mple.com",
]  # fmt: skip


@pytest.fixture
def egress(settings_of: Callable[..., Settings]) -> Egress:
    return Egress(settings_of(egress_allow=LOOPBACK))


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    def make(**changed: str) -> Settings:
        known = {
            "database_url": "postgresql://x@127.0.0.1/x", "s3_endpoint": "127.0.0.1:1", "s3_access_key": "a",
            "s3_secret_key": "b", "secret_keys": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        }  # fmt: skip
        return Settings.model_validate(known | changed)

    return make


@contextlib.contextmanager
def receiving(*, answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server on loopback that reads one request and then does as it is told."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            connected, _ = listener.accept()
            with connected:
                connected.recv(65_536)
                answer(connected)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook?x=1"
    finally:
        listener.close()
        thread.join(3)


@pytest.mark.parametrize("host", PRIVATE)
def test_an_address_that_is_not_public_is_denied(host: str):
    with pytest.raises(EgressDenied):
        resolve(host, 443, "")


@pytest.mark.parametrize("host", ODD)
@pytest.mark.parametrize("allow", ["", LOOPBACK])
def test_an_odd_spelling_is_denied_even_where_its_address_is_allowed(host: str, allow: str):
    with pytest.raises(EgressDenied):
        resolve(host, 443, allow)


@pytest.mark.parametrize(
    ("host", "address"), [("8.8.8.8", "8.8.8.8"), ("[2001:4860:4860::8888]", "2001:4860:4860::8888")]
)
def test_a_public_address_passes(host: str, address: str):
    assert resolve(host, 443, "") == [address]


def test_the_operator_can_allow_a_range():
    assert resolve("127.0.0.1", 80, LOOPBACK) == ["127.0.0.1"]
    with pytest.raises(EgressDenied):
        resolve("10.0.0.1", 80, LOOPBACK)


def test_of_a_name_with_addresses_of_both_kinds_the_more_usual_one_is_first(monkeypatch: pytest.MonkeyPatch):
    answers(monkeypatch, ["::1", "127.0.0.1"])
    assert resolve("localhost", 80, "127.0.0.0/8,::1/128") == ["127.0.0.1", "::1"]


def test_one_bad_address_among_good_ones_denies_the_host(monkeypatch: pytest.MonkeyPatch):
    answers(monkeypatch, ["8.8.8.8", "::1"])
    with pytest.raises(EgressDenied):
        resolve("rebinding.example.com", 443, "")


@pytest.mark.parametrize("url", [
    "http://8.8.8.8/", "https://user@8.8.8.8/", "https://user:pw@8.8.8.8/", "https://8.8.8.8/#x", "https://8.8.8.8:22/",
    "https://8.8.8.8:99999/", "file:///etc/passwd", "gopher://8.8.8.8/", "ftp://8.8.8.8/", "//8.8.8.8/", "8.8.8.8", "https://",
    "https:///x", "https://a.com#@127.0.0.1/", "https://a.com\\@127.0.0.1/", "https://8.8.8.8/\r\nHost: x",
    "https://8.8.8.8/ x", "https://8.8.8.8/" + "a" * 8_192, "https://\u2460.com/", "https://[::1/", "https://x.internal/",
    "https://metadata/", "http://no-such-name.example/",
])  # fmt: skip
def test_a_url_that_could_never_be_sent_to_is_refused(
    settings_of: Callable[..., Settings], url: str, monkeypatch: pytest.MonkeyPatch
):
    answers(monkeypatch)
    with pytest.raises(EgressDenied):
        Egress(settings_of()).check_url(url)


@pytest.mark.parametrize(
    "url", ["https://8.8.8.8/hook", "https://8.8.8.8:8443/a?b=c", "https://not-yet.example.com/hook"]
)
def test_a_public_https_url_passes(settings_of: Callable[..., Settings], url: str):
    Egress(settings_of()).check_url(url)


def test_plain_http_is_for_allowed_addresses(egress: Egress):
    egress.check_url("http://127.0.0.1:8080/hook")


def test_what_is_sent_is_what_was_given(egress: Egress):
    heard: list[bytes] = []

    def answer(connected: socket.socket) -> None:
        connected.sendall(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok")

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connected, _ = listener.accept()
        with connected:
            heard.append(connected.recv(65_536))
            answer(connected)

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    said = egress.post(f"http://127.0.0.1:{port}/hook?x=1", b'{"a":1}', {"webhook-id": "evt_1"})
    thread.join()
    listener.close()
    assert (said.status, said.headers["x-a"], said.body) == (200, "1", b"ok")
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?x=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}".encode() in head
    assert b"webhook-id: evt_1" in head
    assert body == b'{"a":1}'


def test_a_redirect_is_an_answer_and_is_not_followed(egress: Egress):
    def answer(connected: socket.socket) -> None:
        connected.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    with receiving(answer=answer) as url:
        assert egress.post(url, b"{}", {}).status == 302


def test_a_receiver_that_drips_is_left_at_the_deadline(egress: Egress):
    def answer(connected: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for _ in range(100):
                connected.sendall(b"H")
                time.sleep(0.1)

    started = time.monotonic()
    with receiving(answer=answer) as url, pytest.raises(ReceiverUnavailable):
        egress.post(url, b"{}", {}, deadline_seconds=0.6)
    assert time.monotonic() - started < 5


def test_an_endless_answer_is_cut(egress: Egress):
    def answer(connected: socket.socket) -> None:
        connected.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(2_000):
                connected.sendall(b"x" * 65_536)

    with receiving(answer=answer) as url:
        said = egress.post(url, b"{}", {}, max_response_bytes=1_000)
    assert (said.status, said.body) == (200, b"x" * 1_000)


def test_a_gzip_bomb_is_not_decoded(egress: Egress):
    def answer(connected: socket.socket) -> None:
        connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00")

    with receiving(answer=answer) as url:
        assert egress.post(url, b"{}", {}).body == b"\x1f\x8b\x08\x00"


@pytest.mark.parametrize("bytes_sent", [
    b"", b"hello\r\n\r\n", b"HTTP/0.9\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 99999 x\r\n\r\n", b"<html>",
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(10_000)),
    b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
])  # fmt: skip
def test_an_answer_that_is_no_http_is_an_unavailable_receiver(egress: Egress, bytes_sent: bytes):
    def answer(connected: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connected.sendall(bytes_sent)

    with receiving(answer=answer) as url, pytest.raises(ReceiverUnavailable):
        egress.post(url, b"{}", {}, deadline_seconds=3)


def test_a_receiver_that_breaks_off_after_its_status_has_answered(egress: Egress):
    def answer(connected: socket.socket) -> None:
        connected.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 100\r\n\r\nx")

    with receiving(answer=answer) as url:
        assert egress.post(url, b"{}", {}).status == 204


def test_nobody_listening_is_an_unavailable_receiver(egress: Egress):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ReceiverUnavailable):
        egress.post(f"http://127.0.0.1:{port}/", b"{}", {})


def test_a_header_cannot_break_the_request(egress: Egress):
    with receiving(answer=lambda _: None) as url, pytest.raises(TrainhouseError):
        egress.post(url, b"{}", {"X": "a\r\nY: b"})


def test_an_allowed_address_is_not_reached_where_engines_or_the_service_itself_listen(settings: Settings) -> None:
    open_house = Egress(settings.model_copy(update={"egress_allow": "127.0.0.0/8"}))
    own = str(settings.s3_endpoint).rsplit(":", 1)[1]
    for port in ("6379", "5432", own):
        with pytest.raises(EgressDenied) as refused:
            open_house.check_url(f"http://127.0.0.1:{port}/")
        assert refused.value.stable_code == "port_denied"
    open_house.check_url("http://127.0.0.1:18080/hook")

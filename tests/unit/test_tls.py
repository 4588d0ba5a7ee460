"""Whoever is spoken to by TLS shows a certificate that is trusted and names him; else he hears nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from app.egress import Egress
from app.egress.asking import ask
from app.egress.pinned import PinnedPool
from app.errors import ReceiverUnavailable, SourceRefused
from app.settings import Settings
from app.settings import settings as process_settings
from tests.sources import NO_ENGINES, configured
from tests.tls import certify
from tests.wire import listening, offering

UNTRUSTED, ANOTHERS = "self-signed certificate", "not valid for '127.0.0.1'|'127.0.0.1' doesn't match"


@pytest.fixture
def loopback() -> Iterator[Settings]:
    """The settings of a process that may reach loopback."""
    with configured(NO_ENGINES):
        yield process_settings()


def post(url: str, _folder: Path, settings: Settings) -> bytes:
    return Egress(settings).post(url, b"{}", {}, deadline_seconds=5).body


def get_to_file(url: str, folder: Path, settings: Settings) -> bytes:
    Egress(settings).get_to_file(url, folder / "got", {}, deadline_seconds=5, max_bytes=1_000)
    return (folder / "got").read_bytes()


def asked(url: str, _folder: Path, settings: Settings) -> bytes:
    return ask("GET", url, headers={}, seconds=5, max_bytes=1_000, settings=settings).body


def pinned(url: str, _folder: Path, _settings: Settings) -> bytes:
    with PinnedPool("127.0.0.1", connect_seconds=5, read_seconds=5) as pool:
        return pool.request("GET", url).data


Way = Callable[[str, Path, Settings], bytes]
WAYS: dict[Way, tuple[type[Exception], str | None]] = {
    post: (ReceiverUnavailable, "receiver_tls"), get_to_file: (SourceRefused, "bad_certificate"),
    asked: (SourceRefused, "bad_certificate"), pinned: (urllib3.exceptions.MaxRetryError, None),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_trusted_certificate_of_the_right_name_is_spoken_to(
    way: Way, loopback: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shown = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(shown.path))  # how an operator names whom he trusts
    with listening(offering(b"ok"), tls=shown.context()) as server:
        assert way(f"{server.url}/x", tmp_path, loopback) == b"ok"
    assert len(server.heard) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("address", "trusted", "reason"), [("127.0.0.1", "other", UNTRUSTED), ("127.9.9.9", "server", ANOTHERS)],
    ids=["untrusted", "another's"],
)  # fmt: skip
def test_a_certificate_that_nobody_vouches_for_or_that_is_another_s_is_refused(
    way: Way, address: str, trusted: str, reason: str, loopback: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    known = {"server": certify(tmp_path, address), "other": certify(tmp_path, name="other")}
    monkeypatch.setenv("SSL_CERT_FILE", str(known[trusted].path))
    kind, code = WAYS[way]
    with listening(offering(b"ok"), tls=known["server"].context()) as server, pytest.raises(kind, match=reason) as told:
        way(f"{server.url}/x", tmp_path, loopback)
    assert getattr(told.value, "stable_code", None) == code
    assert b"".join(server.heard) == b""
    assert not (tmp_path / "got").exists()

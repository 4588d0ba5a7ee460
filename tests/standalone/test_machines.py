"""What differs from machine to machine: rights of root, proxies, IPv6, full disks, and two starts at once."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.connections import s3
from app.connections.reach import host_of
from app.settings import Settings
from standalone import folder as folders
from standalone import leash
from standalone.client import Client
from standalone.supervisor import Options, Restart, Stack
from workers.room import Room

ROOT = os.getuid() == 0
DROPPED = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in map(int, sys.argv[1].split(",")):
    assert libc.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-I", "-S", *sys.argv[2:]])
"""
"""Runs a script with some of root's capabilities out of reach, as in a container."""


def reading(tmp_path: Path, *dropped: int) -> subprocess.CompletedProcess[str]:
    """`cat` of a file in a closed folder on a leash: of root's as the account `nobody`, of another account's as itself."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700, exist_ok=True)
    (closed / "file").write_text("read")
    (closed / "file").chmod(0o644)
    wanted = {"parent": os.getpid(), "death_signal": 9, "account": "nobody" if ROOT else None, "reach": True}
    command = [leash.__file__, json.dumps(wanted), "/bin/cat", str(closed / "file")]
    start = (
        [sys.executable, "-c", DROPPED, ",".join(map(str, dropped)), *command]
        if ROOT and dropped
        else [sys.executable, "-I", "-S", *command]
    )
    return subprocess.run(start, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("dropped", [(), (leash.CAP_DAC_READ_SEARCH,)], ids=["a machine", "a container"])
def test_an_account_that_root_became_reaches_into_a_closed_folder(tmp_path: Path, dropped: tuple[int, ...]) -> None:
    ended = reading(tmp_path, *dropped)
    assert (ended.returncode, ended.stdout) == (0, "read"), ended.stderr


def test_where_root_may_keep_no_right_to_reach_it_says_what_to_do(tmp_path: Path) -> None:
    ended = reading(tmp_path, leash.CAP_DAC_READ_SEARCH, leash.CAP_DAC_OVERRIDE)
    assert (ended.returncode, "where every account may go" in ended.stderr) == ((1, True) if ROOT else (0, False))


def test_the_key_goes_to_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server, proxy = (HTTPServer(("127.0.0.1", 0), Answering) for _ in range(2))
    for each in (server, proxy):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_address[1]}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Client(f"http://127.0.0.1:{server.server_address[1]}", "secret") as client:
        assert client.get("/v1/jobs").status_code == 200
    assert heard == ["Bearer secret"]
    for each in (server, proxy):
        each.shutdown()
        each.server_close()


@pytest.mark.parametrize(
    ("config", "endpoint"),
    [
        ({"region": "eu-central-1", "secure": True}, "s3.eu-central-1.amazonaws.com"),
        ({"region": "eu-west-3", "secure": True, "endpoint": "s3.amazonaws.com"}, "s3.eu-west-3.amazonaws.com"),
        ({"region": "us-east-1", "secure": True, "endpoint": None}, "s3.us-east-1.amazonaws.com"),
        ({"region": "us-east-1", "secure": False, "endpoint": "minio.example.com:9000"}, "minio.example.com:9000"),
    ],
)
def test_amazons_regions_are_asked_by_their_own_names(config: dict[str, object], endpoint: str) -> None:
    assert s3.endpoint(config) == endpoint
    host, port = host_of("s3", config) or ("", 0)
    assert f"{host}:{port}" == (endpoint if ":" in endpoint else f"{endpoint}:443")


def test_many_first_starts_at_once_agree_on_the_folders_secrets(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def first(_number: int) -> dict[str, str]:
        start.wait()
        return folders.credentials(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(first, range(8)))
    assert all(each == found[0] for each in found)
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_started_is_tried_again_and_ends_nothing_else(tmp_path: Path) -> None:
    said: list[str] = []
    stack = Stack(Options(tmp_path / "house", port=0), said.append)

    def full() -> None:
        raise OSError(28, "No space left on device")

    for _round in range(2):
        stack.restarts["worker-1"] = Restart(due=0.0)
        stack._tend("worker-1", alive=False, start=full)
        assert "could not be started" in said[-1]
        stack._tend("worker-1", alive=False, start=full)
        assert stack.restarts["worker-1"].due is not None


def test_the_public_url_is_the_operators_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINHOUSE_PUBLIC_URL", "https://ml.example.com")
    assert Stack(Options(tmp_path / "a", port=8_123)).variables["TRAINHOUSE_PUBLIC_URL"] == "https://ml.example.com"
    monkeypatch.delenv("TRAINHOUSE_PUBLIC_URL")
    assert Stack(Options(tmp_path / "b", port=8_123, host="::1")).url == "http://[::1]:8123"


@pytest.mark.parametrize(("said", "most"), [(None, 6), (2, 2), (9, 6)])
def test_a_fit_may_have_all_cores_where_nothing_is_said(settings: Settings, said: int | None, most: int) -> None:
    known = settings.model_copy(update={"worker_threads": said, "cores": 6})
    assert Room(known, *[None] * 5).most_threads == most  # type: ignore[arg-type]

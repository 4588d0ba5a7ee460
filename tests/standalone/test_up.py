"""`trainhouse up` as a person meets it: one process to start, one to stop, nothing left over."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standalone.children import born
from standalone.engines import Engines
from standalone.supervisor import Options, Stack
from tests.driver import Client, eventually

PROCESSES = {"postgres", "redis", "s3", "api", "dispatcher", "worker-1", "delivery"}


def start(folder: Path) -> subprocess.Popen[bytes]:
    """`trainhouse up` on `folder` with one worker, ready."""
    argv = [sys.executable, "-m", "standalone.cli", "up", "--port", "0", "--workers", "1", "--data-dir", str(folder)]
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, env=dict(os.environ))
    try:
        eventually(lambda: is_written(folder, process.pid) or process.poll() is not None, within=120)
        assert process.poll() is None, (folder / "output").read_text()
    except BaseException:
        end(process)
        raise
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills it, and with it all that it started."""
    process.kill()
    process.wait()


def endpoint(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "endpoint.json").read_text()))


def is_written(folder: Path, pid: int) -> bool:
    """Whether that supervisor has said that it is ready; a killed one leaves its word behind."""
    return (folder / "endpoint.json").exists() and endpoint(folder)["pid"] == pid


def running(folder: Path) -> dict[str, int]:
    """The processes of the stack, by name; one that is just being started again may be missing."""
    found = {}
    for path in (folder / "run").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):
            found[path.stem] = json.loads(path.read_text())["pid"]
    return found


def family(pids: set[int]) -> set[int]:
    """Those processes and all that descend from them."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(fields[1])
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def gone(pids: set[int]) -> bool:
    return all(born(pid) is None for pid in pids)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of `first`."""
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `trainhouse up` on that folder, which its tests leave running."""
    process = start(folder)
    yield process
    end(process)


def test_it_is_ready_when_it_says_so(folder: Path, first: subprocess.Popen[bytes]) -> None:
    known = endpoint(folder)
    assert known["pid"] == first.pid
    assert (folder / "endpoint.json").stat().st_mode & 0o777 == 0o600
    assert is_ready(known["url"])
    with Client(known["url"], known["api_key"]) as client:
        assert client.get("/v1/jobs").json()["items"] == []
    assert set(running(folder)) == PROCESSES


def test_a_second_one_on_the_same_folder_is_refused_and_leaves_the_first_alone(
    folder: Path, first: subprocess.Popen[bytes]
) -> None:
    argv = [sys.executable, "-m", "standalone.cli", "up", "--port", "0", "--data-dir", str(folder)]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "another trainhouse runs on" in second.stderr
    assert endpoint(folder)["pid"] == first.pid
    assert is_ready(endpoint(folder)["url"])


def test_a_killed_process_is_started_again(folder: Path, first: subprocess.Popen[bytes]) -> None:
    before = running(folder)
    killed = {name: before[name] for name in ("worker-1", "redis", "api")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: killed.items().isdisjoint(running(folder).items()) and killed.keys() <= running(folder).keys(),
               within=30, what="each being started again")  # fmt: skip
    eventually(lambda: is_ready(endpoint(folder)["url"]), within=60, what="readiness")


def test_nothing_outlives_a_killed_supervisor_and_the_next_one_goes_on_and_stops_all_that_it_started(
    tmp_path: Path,
) -> None:
    killed = start(tmp_path)
    try:
        key, everyone = endpoint(tmp_path)["api_key"], family({killed.pid})
        assert len(everyone) > len(PROCESSES)
    finally:
        end(killed)
    eventually(lambda: gone(everyone), within=40, what="the end of every process")
    process = start(tmp_path)
    try:
        known = endpoint(tmp_path)
        assert known["api_key"] == key
        with Client(known["url"], key) as client:
            assert client.get("/v1/jobs").status_code == 200
        everyone = family({process.pid})
        process.terminate()
        assert process.wait(60) == 0
        assert gone(everyone)
        assert not (tmp_path / "endpoint.json").exists()
    finally:
        end(process)


def test_outside_engines_are_used_and_none_is_started(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in engines.variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRAINHOUSE_S3_BUCKET", "made-on-the-way")
    stack = Stack(Options(tmp_path, port=0, workers=1))
    stack.start()  # where it fails, it stops what it had started
    try:
        assert set(running(tmp_path)) == PROCESSES - {"postgres", "redis", "s3"}
        assert is_ready(stack.url)
    finally:
        stack.stop(soft_seconds=3.0)
    assert all(engine.alive for engine in engines.all)


def is_ready(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url + "/readyz", timeout=2).status == 200)
    except OSError:
        return False

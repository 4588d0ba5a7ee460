"""A real Feast, from the venv that `make test-feast` makes: applied, materialised, its three servers on free ports."""

import os
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standalone.children import Child
from tests.driver import eventually
from tests.feast import world
from tests.sources import NO_ENGINES, configured
from workers.context import ConnectionRef

ROOT = Path(__file__).parents[2]
FEAST = ROOT / ".venv-feast/bin/feast"
REPO = Path(__file__).parent / "repo"


class Feast:
    """The servers of one feature repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: _free_port() for name in ("registry", "online", "offline")}
        at = ["-h", "127.0.0.1"]
        self.servers = [
            self._child(
                "registry", "serve_registry", "--no-grpc", "--rest-api", "--rest-port", self._port("registry"), *at
            ),
            self._child("online", "serve", "--no-access-log", "-p", self._port("online"), *at),
            self._child("offline", "serve_offline", "-p", self._port("offline"), *at),
        ]

    @property
    def config(self) -> dict[str, Any]:
        """The config of a connection to it."""
        url = "http://127.0.0.1:"
        return {"project": "rides", "registry": url + self._port("registry"), "url": url + self._port("online"),
                "offline": "127.0.0.1:" + self._port("offline"), "offline_tls": False}  # fmt: skip

    def connection(self, **changes: Any) -> ConnectionRef:
        """A connection to it, or to it with changes."""
        return ConnectionRef("store", "feast", {**self.config, **changes}, {})

    def start(self) -> None:
        """Applies the definitions, loads the online store, and starts the servers."""
        shutil.copytree(REPO, self.folder, ignore=shutil.ignore_patterns("__*"), dirs_exist_ok=True)
        (self.folder / "data").mkdir()
        world.write(self.folder / "data")
        self._done(self._child("apply", "apply"))
        loading = self._child("materialize", "materialize", "2024-01-01T00:00:00", "2024-12-31T00:00:00")
        for child in (loading, *self.servers):
            child.start()
        self._done(loading)
        eventually(self._all_up, within=180, what="Feast's servers coming up")

    def _done(self, child: Child) -> None:
        """Waits until the command has ended well."""
        if child.process is None:
            child.start()
        assert child.wait(180), f"feast {child.name} does not end"
        assert child.process is not None
        assert child.process.returncode == 0, child.said()

    def stop(self) -> None:
        """Ends the servers."""
        for server in self.servers:
            server.stop()

    def _all_up(self) -> bool:
        for server in self.servers:
            assert server.alive, server.said()[-2_000:]
        health = [f"{self.config['registry']}/api/v1/projects", f"{self.config['url']}/health"]
        return all(map(_answers, health)) and _listens(self.ports["offline"])

    def _child(self, name: str, *words: str) -> Child:
        argv = [str(FEAST), "-c", str(self.folder), *words]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "FEAST_USAGE": "False",
            "OMP_NUM_THREADS": "1",
        }
        return Child(name, argv, self.folder / "processes", environment)

    def _port(self, name: str) -> str:
        return str(self.ports[name])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def feast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feast]:
    """A running Feast with the features of `world`."""
    assert FEAST.exists(), "there is no Feast here: run `make test-feast`"
    found = Feast(tmp_path_factory.mktemp("feast"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def loopback() -> Iterator[None]:
    """This process may reach 127.0.0.1, as a worker of an operator who allows it."""
    with configured(NO_ENGINES):
        yield

"""Real engines and a real stack, started once for a whole test run."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings as hypothesis_settings

from app.settings import Settings
from standalone import services
from standalone.engines import Engines
from standalone.supervisor import Options, Stack
from tests.driver import Receiver, RunningStack
from tests.mariadb import MariaDB

for name in [name for name in os.environ if name.upper().startswith("TRAINHOUSE_")]:
    del os.environ[name]  # what is set for another installation would lead the tests to its database

hypothesis_settings.register_profile("tests", deadline=None)  # a machine that has other work is no fault
hypothesis_settings.load_profile("tests")

LEASE_SECONDS = 4
CHECKPOINT_SECONDS = 0.5


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Postgres, Redis and S3 on free ports, for tests that need no other process."""
    found = Engines(tmp_path_factory.mktemp("engines"))
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """MariaDB on a free port, as a warehouse of callers."""
    found = MariaDB(tmp_path_factory.mktemp("mariadb"))
    found.start()
    found.wait_ready()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def settings(engines: Engines) -> Settings:
    """The settings of a process on those engines, with the migrations applied."""
    variables = engines.variables() | {"TRAINHOUSE_SCRATCH_DIR": str(engines.folder / "scratch")}
    child = services.migration(engines.folder, services.environment(variables))
    child.start()
    assert child.wait(60), "the migrations did not end"
    assert child.process is not None
    assert child.process.returncode == 0, child.said()
    return Settings(**{name.removeprefix("TRAINHOUSE_").lower(): value for name, value in variables.items()})


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A whole stack on engines of its own: API, dispatcher, two workers, delivery, with a short lease."""
    variables = {
        "TRAINHOUSE_SQLITE_DIR": str(tmp_path_factory.mktemp("sqlite")),
        "TRAINHOUSE_LEASE_SECONDS": str(LEASE_SECONDS),
        "TRAINHOUSE_CHECKPOINT_SECONDS": str(CHECKPOINT_SECONDS),
        "TRAINHOUSE_EGRESS_ALLOW": "127.0.0.0/8",
    }
    found = Stack(Options(tmp_path_factory.mktemp("stack"), port=0, workers=2, variables=variables))
    found.start()
    running = RunningStack(found)
    yield running
    running.client.close()
    found.stop(soft_seconds=3.0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook receiver on loopback."""
    with Receiver() as found:
        yield found

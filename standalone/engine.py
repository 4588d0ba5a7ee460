"""What every engine can: start, answer, die, come back on the same port with the same data."""

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from standalone.children import Child, ChildFailed, tail
from standalone.folder import credentials, port_for, prepare

HOST = "127.0.0.1"
STARTS_TRIED = 8
RESTART_SECONDS = 0.25


class Engine(ABC):
    """One engine: start() returns at once, wait_ready() when it answers; kill() is SIGKILL.

    After stop() or kill(), start() brings it back on the same port with the same data.
    """

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = prepare(folder)
        self.secrets = credentials(self.folder)
        self.environment = dict(environment or {"PATH": os.environ.get("PATH", os.defpath)})
        self.child: Child | None = None
        self.port = 0
        self.was_ready = False

    @property
    def data(self) -> Path:
        """The engine's own folder."""
        return self.folder / self.name

    @property
    def pid(self) -> int:
        """The process id of the running engine."""
        return self._child().pid

    @property
    def alive(self) -> bool:
        """Whether the process runs; not whether it answers."""
        return self.child is not None and self.child.alive

    def start(self) -> None:
        """Starts the process, preparing its folder the first time. Call it from the main thread; see leash.py."""
        if not self.was_ready:
            self.port = port_for(self.folder, self.name)
        self.child = self.prepared()
        self.child.start()

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Returns when the engine answers; one that ends at once is started again a few times.

        Raises:
            ChildFailed: it does not answer within `timeout` seconds, or does not stay.
        """
        child, deadline, tried = self._child(), time.monotonic() + timeout, 1
        while not self.answers():
            if not child.alive:
                if tried == STARTS_TRIED:
                    raise ChildFailed(f"{self.name} does not stay up; see {child.log}\n{tail(child.said())}")
                tried += 1
                time.sleep(RESTART_SECONDS)  # what is left of a killed engine goes in its own time
                self.start()
                child = self._child()
            if time.monotonic() > deadline:
                raise ChildFailed(
                    f"{self.name} does not answer after {timeout:.0f} s; see {child.log}\n{tail(child.said())}"
                )
            time.sleep(0.02)
        if not self.was_ready:
            self.first_ready()
        self.was_ready = True

    def stop(self, grace_seconds: float = 15.0) -> None:
        """Ends the engine in its own orderly way; SIGKILL after `grace_seconds`."""
        if self.child is not None:
            self.child.stop(grace_seconds)

    def kill(self) -> None:
        """SIGKILL, as the kernel does it when memory runs out."""
        self._child().kill()

    def send(self, number: int) -> None:
        """Sends a signal: SIGSTOP freezes the engine, SIGQUIT is Postgres' immediate stop."""
        self._child().send(number)

    def wait(self, seconds: float) -> bool:
        """Whether the process ended within `seconds`."""
        return self._child().wait(seconds)

    @abstractmethod
    def prepared(self) -> Child:
        """The process to start, its folder made ready."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the engine serves clients by now."""

    @abstractmethod
    def variables(self) -> dict[str, str]:
        """The settings of a process that uses this engine, as environment variables."""

    def first_ready(self) -> None:
        """What is done once after the first answer."""
        return

    def _child(self) -> Child:
        if self.child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self.child

"""The memory of all processes that this one has started, sampled; read from Linux's /proc."""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

PROC = Path("/proc")
INTERVAL_SECONDS = 0.5


def descendants(pid: int) -> set[int]:
    """The processes that `pid` has started, and those that they have."""
    found: set[int] = set()
    for thread in (PROC / str(pid) / "task").glob("*"):
        try:
            children = {int(each) for each in (thread / "children").read_text().split()}
        except OSError:
            continue  # it has ended meanwhile
        found |= children.union(*(descendants(child) for child in children))
    return found


def held(pid: int) -> int:
    """Bytes of a process, what it shares with others counted in proportion; 0 where it has ended."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


class Peak:
    """A context that samples the memory of some processes and their descendants together, without this one.

    Attributes:
        bytes: The most that was seen.
        pids: Every process that was seen.
    """

    def __init__(self, *roots: int, interval: float = INTERVAL_SECONDS) -> None:
        self.roots = roots
        self.interval = interval
        self.bytes = 0
        self.pids: set[int] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(self.interval):
            self._look()

    def _look(self) -> None:
        alive = {*self.roots}.union(*(descendants(root) for root in self.roots)) - {os.getpid()}
        self.pids |= alive
        self.bytes = max(self.bytes, sum(held(pid) for pid in alive))

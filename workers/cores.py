"""The cores of this machine as tokens that its workers take before they fit: never more threads than cores.

A token is a lock on a file (`flock`), so the kernel gives it back when a process dies. Whoever takes tokens holds the
gate meanwhile: of two who want all, one gets all and the other none.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

NARROW_CELLS = 300_000
"""Rows times features of a matrix up to which more than one thread does not make a fit quicker."""
WIDE_CELLS = 40_000_000
"""From here on few wide trials get further than many narrow ones."""
PAUSE_SECONDS = 0.05
WHOLE_SECONDS = 10.0
"""How long a fit that must have a number of threads waits for as many cores; after that it makes do with fewer."""
GATE_TRIES, GATE_PAUSE_SECONDS = 200, 0.005


def count(setting: int | None = None) -> int:
    """The cores that fits may use: `setting`, or those that this process may run on, within its container's quota."""
    if setting is not None:
        return setting
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, quota() or allowed)


def quota(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """How many cores' time this container gets, rounded up (control groups, version 2 and 1); None without a bound."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            time, period = " ".join((folder / name).read_text(encoding="ascii") for name in names).split()
            return max(1, -(-int(time) // int(period))) if int(time) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or `max`
            continue
    return None


def threads_wanted(asked: int | str, *, cells: int, alone: bool, most: int, deterministic: bool) -> int:
    """How many threads one fit is to use.

    Args:
        asked: `resources.threads`; `auto` goes by the matrix's size.
        cells: Rows times features of the matrix.
        alone: Whether the job fits nothing else meanwhile.
        most: The upper bound of this worker.
        deterministic: Whether the same number must come out on every machine.
    """
    if asked != "auto":
        return min(int(asked), most)
    if deterministic or cells <= (NARROW_CELLS if alone else WIDE_CELLS):
        return 1
    return most


class Cores:
    """The tokens of one machine, as files in a folder that its workers share."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        folder.mkdir(parents=True, exist_ok=True)

    def try_take(self, most: int, until: ExitStack) -> int:
        """Takes up to `most` free tokens until `until` closes; returns at once how many it got."""
        got = 0
        with ExitStack() as gate:
            if not self._pass(gate):
                return 0
            for place in range(self._number):
                if got == most:
                    break
                got += self._lock(f"core-{place}", until)
        return got

    def take_all(
        self, number: int, until: ExitStack, *, check: Callable[[], None], seconds: float
    ) -> bool:  # fmt: skip
        """Waits up to `seconds` for `number` tokens, which are held until `until` closes; whether it got them.

        They are taken in order, and kept while it waits for the next: of two who wait, one has what the other waits for
        first. `check` is called meanwhile and may raise.
        """
        ends = time.monotonic() + seconds
        with ExitStack() as held:
            for place in range(min(number, self._number)):
                while not self._lock(f"core-{place}", held):
                    if time.monotonic() > ends:
                        return False
                    check()
                    time.sleep(PAUSE_SECONDS)
            until.push(held.pop_all())
        return True

    def take_whole(
        self, number: int, until: ExitStack, *, check: Callable[[], None], seconds: float = WHOLE_SECONDS
    ) -> bool:  # fmt: skip
        """Takes tokens for a fit that has `number` threads whatever is free: that number decides what comes out.

        It waits up to `seconds` for as many, since who waits for all might wait for ever, and makes do then with those
        that are free. Whether it got any; they are held until `until` closes.
        """
        return self.take_all(number, until, check=check, seconds=seconds) or self.try_take(number, until) > 0

    def _pass(self, gate: ExitStack) -> bool:
        """The gate is held for microseconds, but its holder may have been stopped in them."""
        for _try in range(GATE_TRIES):
            if self._lock("gate", gate):
                return True
            time.sleep(GATE_PAUSE_SECONDS)
        return False

    def _lock(self, name: str, until: ExitStack) -> bool:
        file: BinaryIO = (self._folder / name).open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        until.enter_context(file)
        return True

    @contextmanager
    def taken(self, most: int, *, check: Callable[[], None]) -> Iterator[int]:
        """Waits for a token, takes up to `most`, and gives how many; `check` is called meanwhile and may raise."""
        with ExitStack() as until:
            while not (got := self.try_take(most, until)):
                check()
                time.sleep(PAUSE_SECONDS)
            yield got

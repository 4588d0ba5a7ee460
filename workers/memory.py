"""How much memory this process took at most, between two points in time; and giving back what it no longer needs."""

import ctypes
import os
import sys
from pathlib import Path

import pyarrow as pa

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Begins to measure anew, where the system can (Linux)."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return


def peak_bytes() -> int | None:
    """The most resident memory since `reset_peak`, in bytes; None where the system does not say."""
    return _field("VmHWM")


def present_bytes() -> int | None:
    """The resident memory now, in bytes; None where the system does not say."""
    return _field("VmRSS")


def total_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _field(name: str) -> int | None:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(f"{name}:")), None)
    return int(found.split()[1]) * 1024 if found else None


def give_back() -> None:
    """Returns to the system what the allocators of Arrow and of C keep for later: a worker lives for many jobs."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


class Growth:
    """Gives memory back each time that the process has grown: between fits that follow each other for minutes."""

    def __init__(self, most_bytes: int = 128 * 2**20) -> None:
        self.most_bytes = most_bytes
        self._last: int | None = None

    def check(self) -> None:
        """Gives back if there is more than `most_bytes` above what was left the last time; else it takes microseconds."""
        present = present_bytes()
        if present is None or (self._last is not None and present <= self._last + self.most_bytes):
            return
        give_back()
        self._last = present_bytes()

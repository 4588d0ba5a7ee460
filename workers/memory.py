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

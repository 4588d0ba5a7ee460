"""Bounds what a C library may write to standard error, where a server decides what and how much that is."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST_BYTES = 64 * 1024
STDERR = 2
_one_at_a_time = threading.Lock()


@contextmanager
def bounded_stderr() -> Iterator[None]:
    """Lets 64 kB through to this process's standard error and drops the rest.

    Postgres' C library prints each notice of a server and cannot be told not to by those who use it through Arrow.
    """
    with _one_at_a_time:
        real, (end, start) = os.dup(STDERR), os.pipe()
        thread = threading.Thread(target=_drain, args=(end, real), daemon=True, name="stderr")
        thread.start()
        os.dup2(start, STDERR)
        os.close(start)
        try:
            yield
        finally:
            os.dup2(real, STDERR)  # closes the pipe's last writing end, which ends the thread
            thread.join()
            os.close(end)
            os.close(real)


def _drain(end: int, real: int) -> None:
    left = MOST_BYTES
    while piece := os.read(end, MOST_BYTES):
        if left > 0:
            os.write(real, piece[:left])
            left -= len(piece)

"""How many threads the numerical libraries of this process may use."""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController

# Imported so that the libraries with thread pools are loaded before they are counted.
from workers import trainers as _trainers  # noqa: F401


@cache
def _controller() -> ThreadpoolController:
    """The process's thread pools; finding them takes milliseconds, so they are found once."""
    return ThreadpoolController()


def limited(threads: int) -> AbstractContextManager[object]:
    """Within this context BLAS and OpenMP use at most `threads` threads."""
    limit: AbstractContextManager[object] = _controller().limit(limits=threads)
    return limit

"""Turns at the database: no more requests at a time than there are connections, and no endless queue for them."""

import asyncio
from types import TracebackType

from app.errors import Unavailable


class Turns:
    """`async with turns:` waits without a thread until a connection is free.

    Without it, threads that wait for a connection would keep those that hold one from ever getting a thread.
    """

    def __init__(self, at_once: int, *, most_waiting: int) -> None:
        self._semaphore, self._most_waiting, self._waiting = asyncio.Semaphore(at_once), most_waiting, 0

    async def __aenter__(self) -> None:
        """Takes a turn.

        Raises:
            Unavailable: `overloaded`, where `most_waiting` wait already.
        """
        if self._waiting >= self._most_waiting:
            raise Unavailable("More requests wait than can be served soon.", code="overloaded", retry_after_seconds=1)
        self._waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Gives the turn to the next."""
        self._semaphore.release()

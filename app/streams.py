"""Long polls and event streams, all fed by one LISTEN connection; who waits holds no connection of the database."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator

import psycopg
import structlog

from app.events import STREAM
from app.settings import Settings

log = structlog.get_logger()

RECONNECT_SECONDS = 1.0


class Hub:
    """Wakes those who wait on a job when an event of that job commits, in whatever process it did."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url.get_secret_value()
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to listen, in the background."""
        self._task = asyncio.create_task(self._listen(), name="stream-hub")

    async def stop(self) -> None:
        """Ends listening and wakes everybody."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._wake_all()

    @contextlib.asynccontextmanager
    async def subscribe(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set at each news of the job; whoever waits on it clears it."""
        bell = asyncio.Event()
        self._waiting[job_id].add(bell)
        try:
            yield bell
        finally:
            self._waiting[job_id].discard(bell)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (psycopg.Error, OSError) as error:
                log.warning("stream_database_away", kind=type(error).__name__)
                self._wake_all()
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _hear(self) -> None:
        ears = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5, application_name="trainhouse-streams"
        )
        async with ears:
            await ears.execute(f"listen {STREAM}".encode())
            self._wake_all()  # news may have been missed while nobody listened
            async for notice in ears.notifies():
                job_id = json.loads(notice.payload).get("job")
                for bell in self._waiting.get(job_id, ()):
                    bell.set()

    def _wake_all(self) -> None:
        for bells in self._waiting.values():
            for bell in bells:
                bell.set()


async def wait_for_news(bell: asyncio.Event, *, seconds: float) -> bool:
    """Whether news came within `seconds`; the bell is clear again afterwards."""
    try:
        await asyncio.wait_for(bell.wait(), timeout=seconds)
    except TimeoutError:
        return False
    bell.clear()
    return True

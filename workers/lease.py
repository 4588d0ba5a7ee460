"""Keeps a lease alive from outside the training thread, and carries word the other way: stop, cancelled, too late."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import structlog

from app.errors import Cancelled, DatabaseUnavailable, DeadlineExceeded, LeaseLost

log = structlog.get_logger()

GRACE_SECONDS = 6.0
EXIT_CODE = 70

Renewal = Callable[[Mapping[str, Any] | None], bool]
"""Renews the lease and shows progress; returns whether to cancel; raises LeaseLost or DatabaseUnavailable."""


class Keeper:
    """A thread that renews a lease while the work goes on.

    The work calls `check` often, which raises what the keeper heard. Work that does not listen (a loop in C) is
    ended from outside after a grace: the process exits, its parent makes another, and the rows say what is next.

    Args:
        renew: See Renewal.
        lease_seconds: Length of the lease; renewed six times in it.
        deadline: Reading of `time.monotonic()` after which the work is too late.
        last_words: Called before the process is ended from outside, with the error that the work did not hear.
    """

    def __init__(
        self, renew: Renewal, *, lease_seconds: float, deadline: float, last_words: Callable[[Exception], None]
    ) -> None:
        self._renew, self._lease, self.deadline, self._last_words = renew, lease_seconds, deadline, last_words
        self._stop = threading.Event()
        self._heard: Exception | None = None
        self._heard_at = 0.0
        self._good_until = time.monotonic() + lease_seconds
        self._progress: Mapping[str, Any] | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def show(self, progress: Mapping[str, Any]) -> None:
        """Lets the next renewal show `progress`."""
        self._progress = progress

    def check(self) -> None:
        """Raises Cancelled, LeaseLost or DeadlineExceeded where the work must stop."""
        if self._heard is not None:
            raise self._heard

    def stands(self) -> None:
        """Raises LeaseLost where the lease is gone; what is late or cancelled may still be recorded."""
        if isinstance(self._heard, LeaseLost):
            raise self._heard

    def good_for(self) -> float:
        """Seconds for which the lease surely still stands."""
        return self._good_until - time.monotonic()

    def _keep(self) -> None:
        pause = min(self._lease / 6, 2.0)
        while not self._stop.wait(pause):
            if self._heard is None:
                self._hear(self._beat())
            elif time.monotonic() - self._heard_at > GRACE_SECONDS:
                self._end_process()

    def _hear(self, word: Exception | None) -> None:
        if word is None and time.monotonic() > self.deadline:
            word = DeadlineExceeded(hint="Raise resources.max_seconds, or ask for less.")
        if word is not None:
            self._heard, self._heard_at = word, time.monotonic()

    def _beat(self) -> Exception | None:
        shown, self._progress = self._progress, None
        asked_at = time.monotonic()
        try:
            if self._renew(shown):
                return Cancelled()
        except LeaseLost as lost:
            return lost
        except DatabaseUnavailable:
            return LeaseLost() if self.good_for() < self._lease / 6 else None
        except Exception:
            log.exception("renewal_broke")
            return LeaseLost() if self.good_for() < self._lease / 6 else None
        self._good_until = asked_at + self._lease
        return None

    def _end_process(self) -> None:
        word = self._heard
        log.error("work_ended_from_outside", reason=type(word).__name__)
        if word is not None and not isinstance(word, LeaseLost):
            try:
                self._last_words(word)
            except Exception:
                log.exception("last_words_lost")
        os._exit(EXIT_CODE)

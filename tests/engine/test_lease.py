"""The keeper tells the work when to stop, and ends work that does not listen, from outside."""

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from app.errors import Cancelled, DatabaseUnavailable, DeadlineExceeded, LeaseLost
from tests.driver import eventually
from workers.lease import EXIT_CODE, Keeper

FOREVER = float("inf")


def keeper(renew: Any, *, lease_seconds: float = 0.6, deadline: float = FOREVER) -> Keeper:
    return Keeper(renew, lease_seconds=lease_seconds, deadline=deadline, last_words=lambda _word: None)


def hears(kept: Keeper) -> Exception | None:
    try:
        kept.check()
    except (Cancelled, LeaseLost, DeadlineExceeded) as word:
        return word
    return None


def lost(_progress: Mapping[str, Any] | None) -> bool:
    raise LeaseLost


def away(_progress: Mapping[str, Any] | None) -> bool:
    raise DatabaseUnavailable


@pytest.mark.parametrize(
    ("renew", "word"), [(lambda _progress: True, Cancelled), (lost, LeaseLost), (away, LeaseLost)],
)  # fmt: skip
def test_the_work_hears_why_it_must_stop(renew: Any, word: type[Exception]) -> None:
    with keeper(renew) as kept:
        eventually(lambda: isinstance(hears(kept), word), within=5, what=word.__name__)


def test_work_that_is_late_hears_it_and_may_still_be_recorded() -> None:
    with keeper(lambda _progress: False, deadline=time.monotonic()) as kept:
        eventually(lambda: isinstance(hears(kept), DeadlineExceeded), within=5, what="lateness")
        kept.stands()


def test_a_short_absence_of_the_database_is_no_loss() -> None:
    answers = iter([away, away])
    calm = threading.Event()

    def renew(progress: Mapping[str, Any] | None) -> bool:
        answer = next(answers, None)
        if answer is not None:
            return answer(progress)
        calm.set()
        return False

    with keeper(renew, lease_seconds=3.0) as kept:
        assert calm.wait(10)
        kept.check()


def test_progress_is_shown_by_the_next_renewal_and_only_once() -> None:
    shown: list[Mapping[str, Any] | None] = []

    def renew(progress: Mapping[str, Any] | None) -> bool:
        shown.append(progress)
        return False

    with keeper(renew) as kept:
        kept.show({"done": 1})
        eventually(lambda: len(shown) >= 2, within=5, what="two renewals")
    assert [progress for progress in shown if progress] == [{"done": 1}]


DEAF = """
import time
from app.errors import Cancelled
from workers import lease
lease.GRACE_SECONDS = 0.2
with lease.Keeper(lambda progress: True, lease_seconds=0.6, deadline=float("inf"), last_words=lambda word: print(repr(word), flush=True)):
    while True:
        sum(range(1000))
"""


def test_work_that_does_not_listen_is_ended_from_outside_after_its_last_words() -> None:
    ended = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == EXIT_CODE
    assert "Cancelled()" in ended.stdout

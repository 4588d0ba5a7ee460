"""The tasks: each takes an id, asks the rows what is to be done, and raises nothing into Celery."""

import importlib
from collections.abc import Callable
from typing import Any

import structlog

from workers.main import celery

log = structlog.get_logger()


def _guarded(module: str, function: str, job_id: Any) -> None:
    """Calls the work; modules are imported only in the process that does it, so that parents stay small.

    A MemoryError that reached Celery would end the whole worker, and the next one after it.
    """
    if not isinstance(job_id, str) or len(job_id) > 64:  # an id is shorter; a forged message may not be
        log.warning("bell_ignored", reason="not an id")
        return
    room: Callable[[], Any] = importlib.import_module("workers.room").room
    work: Callable[..., None] = getattr(importlib.import_module(module), function)
    try:
        work(room(), job_id)
    except MemoryError:
        log.error("task_out_of_memory", work=function)  # noqa: TRY400  # a trace needs memory
    except Exception:
        log.exception("task_broke", work=function)


@celery.task(name="trainhouse.run_job")  # type: ignore[untyped-decorator]  # celery has no types
def run_job(job_id: str) -> None:
    """Carries the job whose turn it is as far as it goes; the bell was rung for `job_id`."""
    _guarded("workers.pipeline", "run_job", job_id)


@celery.task(name="trainhouse.run_trials")  # type: ignore[untyped-decorator]  # celery has no types
def run_trials(job_id: str) -> None:
    """Fits trials of a job while it wants more."""
    _guarded("workers.trial", "run_trials", job_id)


@celery.task(name="trainhouse.deliver")  # type: ignore[untyped-decorator]  # celery has no types
def deliver(delivery_id: str) -> None:
    """Makes one attempt at a webhook delivery."""
    _guarded("workers.delivery", "deliver_in", delivery_id)


@celery.task(name="trainhouse.clear_garbage")  # type: ignore[untyped-decorator]  # celery has no types
def clear_garbage(said: str) -> None:
    """Removes blobs that nothing names any more; what there is to remove stands in the rows."""
    _guarded("workers.clearing", "clear_in", said)

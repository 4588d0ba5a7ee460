"""Celery's entry point: an app that carries bells and nothing else."""

import ctypes
import importlib
import os
import signal
import sys
import threading

from celery import Celery
from celery.signals import worker_process_init

from app.settings import Settings
from app.settings import settings as read_settings
from app.telemetry import configure_logs

DAY_SECONDS = 86_400


def make_celery(settings: Settings) -> Celery:
    """Celery over Redis with early acknowledgement: Postgres alone remembers what is to be done.

    Raises:
        RuntimeError: no Redis is named in the settings.
    """
    if settings.redis_url is None:
        raise RuntimeError("TRAINHOUSE_REDIS_URL is needed by workers and dispatchers")
    celery = Celery("trainhouse", broker=settings.redis_url.get_secret_value(), include=["workers.tasks"])
    celery.conf.update(
        result_backend=None, task_ignore_result=True, task_serializer="json", accept_content=["json"],
        task_acks_late=False, task_reject_on_worker_lost=False, task_default_queue="pipeline",
        task_create_missing_queues=True, worker_disable_prefetch=True, worker_prefetch_multiplier=1,
        broker_connection_retry=True, broker_connection_retry_on_startup=True, broker_connection_max_retries=None,
        broker_connection_timeout=4, broker_pool_limit=5, broker_pool_acquire_timeout=5,
        broker_transport_options={
            "visibility_timeout": 120, "unacked_restore_interval": 2, "unacked_restore_throttle": 1,
            "socket_timeout": 10, "socket_connect_timeout": 3, "socket_keepalive": True, "health_check_interval": 15,
            "global_keyprefix": "trainhouse:", "client_name": "trainhouse",
        },
        task_publish_retry=False, worker_pool_start_method="spawn", worker_proc_alive_timeout=60,
        worker_max_tasks_per_child=500, worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False, worker_send_task_events=False, worker_hijack_root_logger=False,
        task_time_limit=8 * DAY_SECONDS, worker_redirect_stdouts=False,
    )  # fmt: skip
    return celery


PR_SET_PDEATHSIG = 1
POLITE = 5


def die_with_parent() -> None:
    """Lets the kernel end this process with its parent (Linux only): a job without its worker goes to another."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


celery = make_celery(read_settings())
configure_logs(read_settings())


def import_politely() -> None:
    """Imports what stages and trials need, and lets fits share bins. Niceness is a thread's own: callers go first."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), POLITE)
    for name in ("workers.pipeline", "workers.trial"):
        importlib.import_module(name)
    known = read_settings()
    bins = importlib.import_module("workers.trainers.binned")
    bins.keep_in(known.scratch_dir / "bins", limit_bytes=known.scratch_bytes // 8)
    importlib.import_module("workers.isolation.fresh").warm()


@worker_process_init.connect  # type: ignore[untyped-decorator]  # celery has no types
def warm_up(**_signal: object) -> None:
    """Ties the fresh child to its parent's life, then imports the learning libraries before a task asks for them."""
    die_with_parent()
    polite = threading.Thread(target=import_politely, name="warm-up")
    polite.start()
    polite.join()

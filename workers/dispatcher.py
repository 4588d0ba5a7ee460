"""Turns rows into bells: wakes on NOTIFY, polls as a backup, and takes back what lost workers held.

Several may run: what to ring is chosen under SKIP LOCKED. A bell for a job says that one is due, and which one it
becomes is the rows' to say when it is heard; a bell too many finds nothing to do.
"""

import random
import signal
import threading
import time
from types import FrameType

import psycopg
import structlog
from celery import Celery
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, func, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import make_engine, transaction
from app.deployments import service as deployments
from app.errors import DatabaseUnavailable
from app.events import BELLS
from app.jobs import service as jobs
from app.registry import garbage
from app.reviews import service as reviews
from app.settings import Settings
from app.settings import settings as read_settings
from app.states import JobStatus, TrialStatus
from app.tables import Delivery, IdempotencyKey, Job, Trial
from app.telemetry import configure_logs
from workers import clerk, standing
from workers.clerk import DUE, FREE, SECOND, TURN
from workers.main import celery as celery_app

log = structlog.get_logger()

POLL_SECONDS = 1.0
RING_AGAIN_SECONDS = 15.0
TRIALS_AGAIN_SECONDS = 5.0
HOUSEKEEPING_SECONDS = 600.0
MOST_BELLS = 100

Bell = tuple[str, str, str]
"""Task name, queue, id."""


class Dispatcher:
    """One dispatcher process.

    Args:
        engine: The database.
        celery: Publishes the bells.
        redis: Counts the bells that still hang in a queue, so that a busy house is not rung over and over.
    """

    def __init__(self, settings: Settings, engine: Engine, celery: Celery) -> None:
        self._settings, self._engine, self._celery = settings, engine, celery
        url = settings.redis_url.get_secret_value() if settings.redis_url else ""
        self._redis = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._stop = threading.Event()
        self._tidied_at = 0.0

    def stop(self) -> None:
        """Lets `run` return soon."""
        self._stop.set()

    def run(self) -> None:
        """Rings until stopped; survives the loss of Postgres and Redis."""
        while not self._stop.is_set():
            try:
                self._listen()
            except (psycopg.Error, SQLAlchemyError, DatabaseUnavailable):
                log.warning("database_away")
                self._stop.wait(0.5 + random.random())  # noqa: S311  # spreads retries

    def _listen(self) -> None:
        url = self._settings.database_url.get_secret_value()
        with psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="trainhouse-dispatcher") as ears:
            ears.execute(f"listen {BELLS}".encode())
            log.info("dispatcher_listens")
            while not self._stop.is_set():
                again = self._round()
                for _bell in ears.notifies(timeout=0.05 if again else POLL_SECONDS, stop_after=1):
                    pass

    def _round(self) -> bool:
        """One look at the rows; returns whether another should follow at once."""
        with transaction(self._engine) as session:
            _end_lost(session)
            deployments.timeout_due(session)
            reviews.expire_due(session)
            _advance_searches(session)
        waiting = self._hanging("pipeline"), self._hanging("trials"), self._hanging("webhooks")
        if None in waiting:
            return False
        with transaction(self._engine) as session:
            bells = [
                *_job_bells(session, MOST_BELLS - (waiting[0] or 0)),
                *(_trial_bells(session) if not waiting[1] else []),
                *_delivery_bells(session, MOST_BELLS - (waiting[2] or 0)),
            ]
        self._ring(bells)
        self._tidy()
        return len(bells) >= MOST_BELLS

    def _hanging(self, queue: str) -> int | None:
        """How many bells hang in `queue` unheard; None where Redis is away."""
        try:
            return int(self._redis.llen(f"trainhouse:{queue}"))
        except RedisError:
            log.warning("broker_away")
            return None

    def _ring(self, bells: list[Bell]) -> None:
        for name, queue, row_id in bells:
            try:
                self._celery.send_task(name, args=[row_id], queue=queue, ignore_result=True)
            except Exception as error:  # noqa: BLE001  # whatever the broker's client raises, the rows ring again
                log.warning("bell_lost", task=name, kind=type(error).__name__)
                return

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_at < HOUSEKEEPING_SECONDS:
            return
        self._tidied_at = time.monotonic()
        with transaction(self._engine) as session:
            old = IdempotencyKey.created_at < func.now() - text("interval '24 hours'")
            session.query(IdempotencyKey).filter(old).delete(synchronize_session=False)
            lies = session.execute(garbage.due()).first() is not None
        if lies:  # a worker clears it: whoever rings must not wait for the store
            self._ring([("trainhouse.clear_garbage", "pipeline", "garbage")])


def _job_bells(session: Session, most: int) -> list[Bell]:
    if most <= 0:
        return []
    stale = or_(Job.rung_at.is_(None), Job.rung_at < func.now() - SECOND * RING_AGAIN_SECONDS)
    due = select(Job.id).where(DUE, stale).order_by(*TURN).limit(most).with_for_update(skip_locked=True)
    ids = list(session.scalars(due))
    if ids:
        session.execute(update(Job).where(Job.id.in_(ids)).values(rung_at=func.now()))
    return [("trainhouse.run_job", "pipeline", job_id) for job_id in ids]


def _trial_bells(session: Session) -> list[Bell]:
    stale = or_(Job.rung_at.is_(None), Job.rung_at < func.now() - SECOND * TRIALS_AGAIN_SECONDS)
    waiting = (
        select(Job)
        .where(Job.waits_on == "trials", Job.status == JobStatus.RUNNING, stale)
        .order_by(Job.priority.desc(), Job.id).limit(20).with_for_update(skip_locked=True)
    )  # fmt: skip
    bells: list[Bell] = []
    for job in session.scalars(waiting):
        running = session.scalar(
            select(func.count()).where(Trial.job_id == job.id, Trial.status == TrialStatus.RUNNING)
        )
        missing = (job.search or {})["parallel"] - (running or 0)
        job.rung_at = func.now()
        bells += [("trainhouse.run_trials", "trials", job.id)] * max(0, missing)
    return bells


def _delivery_bells(session: Session, most: int) -> list[Bell]:
    if most <= 0:
        return []
    free = or_(Delivery.lease_until.is_(None), Delivery.lease_until < func.now())
    stale = or_(Delivery.rung_at.is_(None), Delivery.rung_at < func.now() - SECOND * RING_AGAIN_SECONDS)
    due = (
        select(Delivery.id)
        .where(Delivery.status == "pending", Delivery.due_at <= func.now(), free, stale)
        .order_by(Delivery.due_at).limit(most).with_for_update(skip_locked=True)
    )  # fmt: skip
    ids = list(session.scalars(due))
    if ids:
        session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(rung_at=func.now()))
    return [("trainhouse.deliver", "webhooks", delivery_id) for delivery_id in ids]


def _end_lost(session: Session) -> None:
    """Ends what no worker will end: cancelled jobs whose worker is gone, and searches past the job's seconds."""
    cancelling = select(Job).where(Job.status == JobStatus.CANCELLING, FREE).with_for_update(skip_locked=True)
    for job in session.scalars(cancelling):
        jobs.end_cancelled(session, job)
    clerk.end_late_searches(session)


def _advance_searches(session: Session) -> None:
    waiting = select(Job).where(Job.waits_on == "trials", Job.status == JobStatus.RUNNING)
    for job in session.scalars(waiting.with_for_update(skip_locked=True)):
        now = session.scalars(select(func.extract("epoch", func.clock_timestamp()))).one()
        standing.advance(session, job, now=float(now))


def main() -> None:
    """Runs a dispatcher until SIGTERM or SIGINT."""
    known = read_settings()
    configure_logs(known)
    dispatcher = Dispatcher(known, make_engine(known, application="dispatcher", pool_size=2), celery_app)

    def stop(_number: int, _frame: FrameType | None) -> None:
        dispatcher.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    dispatcher.run()


if __name__ == "__main__":
    main()

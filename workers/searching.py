"""What a worker keeps of one search from trial to trial, so that an ask reads only what is new."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from sqlalchemy import Engine, and_, func, or_, select
from sqlalchemy.orm import Session

from app.db import transaction
from app.secrets import Vault
from app.spec.job import JobSpec
from app.states import JobStatus
from app.tables import Job, Trial
from workers import standing
from workers.context import TrialResult
from workers.loading import Loaded, load, results
from workers.search.facts import Facts, facts_of
from workers.standing import Standing


@dataclass
class Searching:
    """A job's search as this process knows it; `fence` is the claim that opened it."""

    job_id: str
    fence: int
    project_id: str
    loaded: Loaded
    facts: Facts
    ended: dict[int, TrialResult] = field(default_factory=dict)
    first: list[Standing] = field(default_factory=list)
    """The first trials as long as they have ended: these never change again."""
    _turn: Lock = field(default_factory=Lock)

    @property
    def spec(self) -> JobSpec:
        """The job's spec, parsed once."""
        return self.loaded.spec

    def rows(self, session: Session) -> list[Standing]:
        """The trials as they stand now; only those that may have changed are read."""
        found = standing.of(session, self.job_id, self.first)
        self.first = list(itertools.takewhile(lambda row: not row.open, found))
        return found

    @contextmanager
    def unless_lost(self) -> Iterator[None]:
        """Forgets the trials where what happens in it fails: what was read may never have been committed.

        One thread at a time: the other must not read what is about to be forgotten.
        """
        with self._turn:
            try:
                yield
            except BaseException:
                self.ended.clear()
                self.first = []
                raise

    def results_of(self, session: Session, numbers: Collection[int]) -> tuple[TrialResult, ...]:
        """The ended trials of these numbers, in order; those not yet known are read."""
        missing = [number for number in numbers if number not in self.ended]
        if missing:
            rows = session.scalars(select(Trial).where(Trial.job_id == self.job_id, Trial.number.in_(missing)))
            self.ended.update((result.number, result) for result in results(rows))
        return tuple(self.ended[number] for number in sorted(numbers))


@dataclass(frozen=True)
class Open:
    """What a look at the job's row says of its search."""

    fence: int
    project_id: str
    search: Mapping[str, Any]


def look(engine: Engine, job_id: str) -> Open | None:
    """The job's search, or None where it wants no trials now."""
    with transaction(engine) as session:
        row = session.execute(
            select(Job.fence, Job.project_id, Job.search).where(
                Job.id == job_id, Job.status == JobStatus.RUNNING, Job.waits_on == "trials", Job.search.is_not(None)
            )
        ).one_or_none()
    return Open(row.fence, row.project_id, row.search) if row else None


def others_wait(engine: Engine, job_id: str) -> bool:
    """Whether another job could use the worker that fits this one's trials."""
    due = and_(
        Job.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]), Job.waits_on.is_(None), Job.due_at <= func.now(),
        or_(Job.lease_until.is_(None), Job.lease_until < func.now()),
    )  # fmt: skip
    searching = and_(Job.waits_on == "trials", Job.status == JobStatus.RUNNING, Job.id != job_id)
    with transaction(engine) as session:
        return session.scalar(select(Job.id).where(or_(due, searching)).limit(1)) is not None


_LAST: dict[str, Searching] = {}


def remembered(engine: Engine, vault: Vault, job_id: str, seen: Open) -> Searching:
    """This process's knowledge of the search; of the last one only, and of no earlier claim's."""
    known = _LAST.get(job_id)
    if known is None or known.fence != seen.fence:
        loaded = load(engine, vault, job_id)
        known = Searching(job_id, seen.fence, seen.project_id, loaded, facts_of(loaded.outputs))
        _LAST.clear()
        _LAST[job_id] = known
    return known

"""What a search tries next: asked and written in one transaction under the job's lock, with the end of the trial before."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from app.db import transaction
from app.states import JobStatus, TrialStatus
from app.tables import Job, Trial
from workers import standing
from workers.budget import search_seconds
from workers.clerk import SECOND
from workers.searching import Searching
from workers.standing import Standing
from workers.trial_clerk import Asked, Told, locked, write_end

Suggest = Callable[..., dict[str, Any]]
"""`suggest(spec, facts, *, number, history, running, warm)`, as workers.search.suggest has it."""


def ask(  # an ask is what is known, by whom, and what follows what
    engine: Engine,
    searching: Searching,
    *,
    owner: str,
    lease_seconds: float,
    suggest: Suggest,
    after: tuple[Asked, Told] | None = None,
) -> Asked | None:
    """The next trial of the job, its row written as running under a lease; None where none is wanted now.

    Args:
        after: The trial that this process has just ended, told in the same transaction.

    Raises:
        LeaseLost: that trial was taken over, or the job no longer runs.
    """
    with searching.unless_lost(), transaction(engine) as session:
        job, now = locked(session, searching.job_id)
        told = after is not None and write_end(session, job, *after)
        rows = searching.rows(session)
        if told:
            standing.advance(session, job, now=now, rows=rows)
        wanted = job.status == JobStatus.RUNNING and job.waits_on == "trials" and job.fence == searching.fence
        if not wanted or (after is not None and after[1].last):
            return None
        return _next(session, searching, job, rows, now=now, suggest=suggest, lease=(owner, lease_seconds))


def _next(  # the rows, the clock, and who is to hold the trial
    session: Session,
    searching: Searching,
    job: Job,
    rows: Sequence[Standing],
    *,
    now: float,
    suggest: Suggest,
    lease: tuple[str, float],
) -> Asked | None:
    owner, lease_seconds = lease
    mine = next((row for row in rows if row.status == TrialStatus.RUNNING and row.owner == owner), None)
    if mine is not None:  # the answer to an earlier commit was lost
        return _asked(session, searching, job, rows, mine.number, owner=owner, now=now)
    if _is_full(rows, process_of(owner), parallel=_search(job)["parallel"]):
        return None
    number = _taken_again(session, job, rows, owner=owner, lease_seconds=lease_seconds)
    if number is not None:
        return _asked(session, searching, job, rows, number, owner=owner, now=now)
    params = _fresh(session, searching, job, rows, now=now, suggest=suggest, lease=lease)
    if params is None:
        return None
    return _to_fit(session, searching, job, rows, Asked(len(rows), 1, owner, params), now=now)


def process_of(owner: str) -> str:
    """The process that `owner` is of: the node and the process's number there."""
    return ":".join(owner.split(":")[:2])


def _is_full(rows: Sequence[Standing], process: str, *, parallel: int) -> bool:
    """Whether as many processes as may be have a trial. A process fits one at a time, whatever it has asked for."""
    busy = {process_of(row.owner) for row in rows if row.status == TrialStatus.RUNNING and row.owner is not None}
    return len(busy | {process}) > parallel


def _search(job: Job) -> dict[str, Any]:
    return job.search or {}


def _taken_again(
    session: Session, job: Job, rows: Sequence[Standing], *, owner: str, lease_seconds: float
) -> int | None:
    """The number of a trial that was taken back from a lost worker, now this one's."""
    row = next((row for row in rows if row.status == TrialStatus.QUEUED), None)
    if row is None:
        return None
    again = update(Trial).where(Trial.job_id == job.id, Trial.number == row.number)
    session.execute(again.values(_held(owner, lease_seconds)))
    return row.number


def _held(owner: str, lease_seconds: float) -> dict[str, Any]:
    return {
        "status": TrialStatus.RUNNING, "lease_owner": owner, "worker": process_of(owner),
        "lease_until": func.now() + SECOND * lease_seconds, "started_at": func.clock_timestamp(),
    }  # fmt: skip


def _fresh(  # the rows, the clock, and who is to hold the new one
    session: Session,
    searching: Searching,
    job: Job,
    rows: Sequence[Standing],
    *,
    now: float,
    suggest: Suggest,
    lease: tuple[str, float],
) -> dict[str, Any] | None:
    """What the search suggests, written as a new trial; None where it wants no more, or must wait."""
    number, search = len(rows), _search(job)
    if standing.over(job, rows, now=now) is not None:
        return None
    seen = _seen(job, rows, number)
    if seen is None:
        return None
    running = [row for row in rows if row not in seen and (row.open or standing.is_deterministic(job))]
    params = suggest(
        searching.spec, searching.facts, number=number,
        history=list(searching.results_of(session, [row.number for row in seen])),
        running=[dict(row.params) for row in running], warm=search.get("warm", {}).get("params", []),
    )  # fmt: skip
    row = Trial(job_id=job.id, number=number, params=params, attempt=1, metrics={}, facts={}, **_held(*lease))
    session.add(row)
    session.flush()
    return params


def _seen(job: Job, rows: Sequence[Standing], number: int) -> list[Standing] | None:
    """The ended trials that trial `number` may be made from; None where one of them has not ended.

    In deterministic mode these are the trials `parallel` or more before it, whatever else has ended by now: then
    one worker and three make the same study.
    """
    if not standing.is_deterministic(job):
        return [row for row in rows if not row.open]
    settled = standing.settled(job, rows, number)
    return None if any(row.open for row in settled) else settled


def _asked(  # all that the new trial is told of
    session: Session,
    searching: Searching,
    job: Job,
    rows: Sequence[Standing],
    number: int,
    *,
    owner: str,
    now: float,
) -> Asked:
    trial = select(Trial.attempt, Trial.params, Trial.checkpoint)
    row = session.execute(trial.where(Trial.job_id == job.id, Trial.number == number)).one()
    asked = Asked(number, row.attempt, owner, dict(row.params), checkpoint=row.checkpoint)
    return _to_fit(session, searching, job, rows, asked, now=now)


def _to_fit(  # the trial, and what it is to know of the others
    session: Session, searching: Searching, job: Job, rows: Sequence[Standing], asked: Asked, *, now: float
) -> Asked:
    """`asked` with the trials that it is judged beside, and with what is left of the search's seconds."""
    seen = _seen(job, rows, asked.number) or []
    history = searching.results_of(session, [other.number for other in seen])
    search = _search(job)
    left = search_seconds(search, standing.budgeted(search, rows)) - (now - search.get("began_at", now))
    return replace(asked, history=history, seconds_left=left)

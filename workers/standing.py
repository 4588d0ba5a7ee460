"""Where a search stands: its trials at a glance, whether it is over and why, and how long it will still take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app import events
from app.discards import discard, saved_in
from app.moves import touch
from app.spec.decision import COSTS
from app.states import ENDED_TRIALS, STAGES_OF, JobStatus, TrialStatus
from app.tables import Job, Trial
from workers.budget import Ended, tail_seconds, why_over

MAX_ATTEMPTS = 3
LATELY = 12
"""So many of the last trials tell how fast the others will end."""

KEPT = Trial.facts["fit_seconds"].as_float() * Trial.iterations / func.nullif(Trial.facts["ran"].as_float(), 0.0)
"""The seconds of a fit, less those of the rounds that early stopping took back."""
NEWS_SECONDS, NEWS_SHARE = 5.0, 0.1
"""An estimate that has changed by more than both is shown, although no trial has ended since."""


@dataclass(frozen=True, eq=False)
class Standing:
    """One trial, without what only its reader needs; times are of the database's clock, in seconds."""

    number: int
    status: str
    value: float | None
    seconds: float
    kept_seconds: float | None
    """That the fit took for the rounds that were kept, as its facts tell."""
    params: Mapping[str, Any]
    owner: str | None
    is_silent: bool
    """Whether it runs under a lease that ran out."""
    started_at: float | None
    finished_at: float | None
    costs: Mapping[str, float]
    """What `tuning.constraints` may bound, as far as it was measured."""

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.status not in ENDED_TRIALS


def of(session: Session, job_id: str, known: Sequence[Standing] = ()) -> list[Standing]:
    """The job's trials in order of number; `known` are its first ones, which have ended and so never change."""
    silent = or_(Trial.lease_until.is_(None), Trial.lease_until < func.now())
    rows = session.execute(
        select(
            Trial.number, Trial.status, Trial.value, func.coalesce(Trial.duration_seconds, 0.0), KEPT, Trial.params,
            Trial.lease_owner, silent, func.extract("epoch", Trial.started_at), func.extract("epoch", Trial.finished_at),
            *(Trial.facts[name].as_float() for name in COSTS),
        ).where(Trial.job_id == job_id, Trial.number >= len(known)).order_by(Trial.number)
    )  # fmt: skip
    read = [
        Standing(
            number, status, value, seconds, kept, params, owner, bool(silent) and status == TrialStatus.RUNNING,
            _seconds(started), _seconds(finished),
            {name: cost for name, cost in zip(COSTS, costs, strict=True) if cost is not None},
        ) for number, status, value, seconds, kept, params, owner, silent, started, finished, *costs in rows
    ]  # fmt: skip
    return [*known, *read]


def _seconds(at: Any) -> float | None:
    return None if at is None else float(at)


def is_deterministic(job: Job) -> bool:
    """Whether the study may depend on no worker's speed."""
    return bool((job.search or {}).get("deterministic"))


def settled(job: Job, rows: Sequence[Standing], number: int) -> list[Standing]:
    """The trials that trial `number` may depend on in deterministic mode: those `parallel` or more before it."""
    return list(rows[: max(0, number - (job.search or {})["parallel"] + 1)])


def budgeted(search: Mapping[str, Any], rows: Sequence[Standing]) -> list[Ended]:
    """The ended trials of `search` as budgets look at them."""
    bounds = search.get("bounds", {})
    return [
        Ended(row.status, row.value, row.seconds, row.kept_seconds,
              beyond=any(row.costs.get(name, 0.0) > bound for name, bound in bounds.items()))
        for row in rows if not row.open
    ]  # fmt: skip


def over(job: Job, rows: Sequence[Standing], *, now: float) -> str | None:
    """Why the search asks for no further trial, or None where it does."""
    search = job.search or {}
    counted = settled(job, rows, len(rows)) if is_deterministic(job) else rows
    elapsed = now - float(search.get("began_at", now))
    return why_over(search, asked=len(rows), ended=budgeted(search, counted), elapsed=elapsed)


def advance(session: Session, job: Job, *, now: float, rows: list[Standing] | None = None) -> None:
    """Shows how far a locked job's search is; takes back lost trials, and sets the job going again where it is over."""
    if job.waits_on != "trials" or job.status != JobStatus.RUNNING:
        return
    rows = of(session, job.id) if rows is None else rows
    if any(row.is_silent for row in rows):
        _take_back(session, job)
        rows = of(session, job.id)
    _progress(session, job, rows, now=now)
    if any(row.open for row in rows):
        return
    why = over(job, rows, now=now)
    if why is None:
        return
    job.search = {**(job.search or {}), "ended": True, "ended_by": why}
    job.waits_on, job.due_at, job.rung_at = None, func.now(), None
    events.ring(session)


def _take_back(session: Session, job: Job) -> None:
    """Trials whose lease ran out are queued again, at most MAX_ATTEMPTS times in all; then they are lost."""
    silent = select(Trial).where(
        Trial.job_id == job.id, Trial.status == TrialStatus.RUNNING,
        or_(Trial.lease_until.is_(None), Trial.lease_until < func.now()),
    )  # fmt: skip
    for row in session.scalars(silent.with_for_update()):
        row.lease_owner = row.lease_until = None
        if row.attempt >= MAX_ATTEMPTS:
            row.status, row.reason, row.finished_at = TrialStatus.LOST, "its worker was lost each time", func.now()
            discard(session, job.project_id, saved_in(row.checkpoint or {}))
            row.checkpoint = None
        else:
            row.status, row.attempt = TrialStatus.QUEUED, row.attempt + 1
    session.flush()


def _progress(session: Session, job: Job, rows: Sequence[Standing], *, now: float) -> None:
    search, stages = job.search or {}, STAGES_OF[job.kind]
    done, total = sum(not row.open for row in rows), int(search["trials"])
    share = done / total
    if (seconds := search.get("max_seconds")) is not None:
        share = max(share, (now - search["began_at"]) / seconds)
    shown = {
        "done": done, "total": total, "fraction": round((stages.index("tune") + min(1.0, share)) / len(stages), 4),
        "eta_seconds": eta_seconds(search, rows, now=now),
    }  # fmt: skip
    if _says_more(shown, job.progress or {}):
        job.progress = shown
        touch(session, job)


def _says_more(shown: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    if shown["done"] != before.get("done") or (shown["eta_seconds"] is None) != (before.get("eta_seconds") is None):
        return True
    change = abs((shown["eta_seconds"] or 0.0) - (before.get("eta_seconds") or 0.0))
    return change > max(NEWS_SECONDS, NEWS_SHARE * (shown["eta_seconds"] or 0.0))


def eta_seconds(search: Mapping[str, Any], rows: Sequence[Standing], *, now: float) -> float | None:
    """Seconds until the chosen model is ready, by the pace of the last trials and by the budget, whichever is over first."""
    ended = sorted(at for row in rows if not row.open and (at := row.finished_at) is not None)
    guesses = []
    if (seconds := search.get("max_seconds")) is not None:
        guesses.append(search["began_at"] + seconds - now)
    if ended:
        first = min((row.started_at for row in rows if row.started_at is not None), default=ended[0])
        since, lately = (first, len(ended)) if len(ended) <= LATELY else (ended[-LATELY - 1], LATELY)
        pace = max(0.0, now - since) / lately
        tail = tail_seconds(search, budgeted(search, rows)) if len(ended) > 1 else 0.0
        guesses.append(pace * (int(search["trials"]) - len(ended)) + tail)
    return round(max(0.0, min(guesses)), 1) if guesses else None

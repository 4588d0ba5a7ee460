"""A job's search as its rows tell it: where it stands, what was best when, why it ended, what it will still take."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, literal, select, tuple_
from sqlalchemy.orm import Session

from app.jobs.schemas import BestOut, SearchOut
from app.spec.modelling import Constraints
from app.states import JobStatus, TrialStatus
from app.tables import Job, Trial

MOST_POINTS = 200
IN_SECONDS = "A budget in seconds ends the search where the machine's speed puts it; a budget in trials does not."
BY_TIMING = "What a trial is given depends on which others have ended; reproducibility.mode deterministic forbids that."
BY_CLOCK = "tuning.constraints.max_predict_ms is measured by the clock, which never says the same twice."
REPEATS = "The same spec and data give the same trials, whatever the number of workers and their speed."


@dataclass(frozen=True)
class Point:
    """One trial that ended with a value; `at` is its end, in seconds by the database's clock."""

    number: int
    status: str
    value: float | None
    at: float | None
    params: Mapping[str, Any]
    facts: Mapping[str, Any]


def read(session: Session, job: Job) -> SearchOut | None:
    """The job's search, or None where it has none."""
    if job.search is None:
        return None
    points = _points(session, job.id)
    search, complete = job.search, list(_eligible(points, job.spec["tuning"]["constraints"]))
    best = min(complete, key=lambda point: (_loss(point.value, search), point.number), default=None)
    shown = None if best is None else BestOut(number=best.number, value=best.value or 0.0, params=dict(best.params))
    reproducible, why = _reproducible(job.spec)
    return SearchOut(
        strategy=search.get("strategy", "none"), metric=search.get("metric", "auto"), minimize=search["minimize"],
        wanted=search["trials"], parallel=search["parallel"], trials=dict(Counter(point.status for point in points)),
        best=shown,
        best_so_far=best_so_far(complete, search), importances=job.facts.get("importances", {}),
        max_seconds=search.get("max_seconds"), folds=search.get("folds", 0), ensemble=search.get("ensemble", 1),
        refit=search.get("refit", False),
        warm_start=search.get("warm", {}), ended_by=_ended_by(job), reproducible=reproducible, reproducible_why=why,
        eta_seconds=(job.progress or {}).get("eta_seconds") if job.stage == "tune" else None,
    )  # fmt: skip


def _points(session: Session, job_id: str) -> list[Point]:
    rows = session.execute(
        select(
            Trial.number, Trial.status, Trial.value, func.extract("epoch", Trial.finished_at), Trial.params, Trial.facts
        ).where(Trial.job_id == job_id).order_by(Trial.number)
    )  # fmt: skip
    return [Point(*row[:3], _seconds(row[3]), *row[4:]) for row in rows]


def _seconds(at: Any) -> float | None:
    return None if at is None else float(at)


def _eligible(points: Iterable[Point], constraints: Mapping[str, Any]) -> Iterable[Point]:
    """The complete trials within the bounds on the model's size and speed."""
    bounded = Constraints.model_validate(constraints)
    for point in points:
        if bounded.hold(point.facts) and point.status == TrialStatus.COMPLETE and point.value is not None:
            yield point


def _loss(value: float | None, search: Mapping[str, Any]) -> float:
    if value is None:
        return math.inf
    return value if search["minimize"] else -value


def best_so_far(points: Sequence[Point], search: Mapping[str, Any]) -> list[tuple[float, float]]:
    """(seconds since the budget began, best value by then) at each trial that was better than all that ended before it."""
    best, found = math.inf, []
    for point in sorted(points, key=lambda point: point.at or 0.0):
        if point.at is not None and point.value is not None and _loss(point.value, search) < best:
            best = _loss(point.value, search)
            found.append((round(max(0.0, point.at - search.get("began_at", point.at)), 3), point.value))
    step = max(1, math.ceil(len(found) / MOST_POINTS))
    return [pair for place, pair in enumerate(found) if (len(found) - 1 - place) % step == 0]


def _ended_by(job: Job) -> str | None:
    search = job.search or {}
    if search.get("ended") or job.status not in {JobStatus.CANCELLED, JobStatus.FAILED}:
        return search.get("ended_by")
    return job.status


def _reproducible(spec: Mapping[str, Any]) -> tuple[bool, str]:
    tuning = spec["tuning"]
    if tuning["max_seconds"] is not None or tuning["trial_seconds"] is not None:
        return False, IN_SECONDS
    if spec["reproducibility"]["mode"] != "deterministic":
        return False, BY_TIMING
    if tuning["constraints"]["max_predict_ms"] is not None:
        return False, BY_CLOCK
    return True, REPEATS


def trials(  # what the contract lets a caller ask for
    session: Session, job: Job, *, limit: int, after: tuple[float, int] | None, statuses: Sequence[str], by_value: bool
) -> list[tuple[Trial, float]]:
    """Up to `limit + 1` trials after `after`, each with its place: 0 by number, else its loss, the best first."""
    minimize = (job.search or {}).get("minimize", True)
    signed = Trial.value if minimize else -Trial.value
    place: Any = case((Trial.value.is_(None), math.inf), else_=signed) if by_value else literal(0.0)
    query = select(Trial, place.label("place")).where(Trial.job_id == job.id).order_by("place", Trial.number)
    if statuses:
        query = query.where(Trial.status.in_(statuses))
    if after is not None:
        query = query.where(tuple_(place, Trial.number) > tuple_(*after))
    return [(row, float(at)) for row, at in session.execute(query.limit(limit + 1))]

"""Opens reviews for refused candidates and writes down what a person decides."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import events
from app.errors import Conflict, Forbidden, NotFound
from app.ids import new_id
from app.moves import move_job
from app.reviews.schemas import Decision
from app.states import JobStatus, StageStatus
from app.tables import Job, JobStage, Review

STATUS_AFTER: dict[Decision, str] = {"approve": "approved", "reject": "rejected"}
EXPIRED = "expired"
CLOCK = "the review's time limit"
"""Who decided where nobody did."""


def open_review(session: Session, *, job: Job, evidence: Mapping[str, Any]) -> Review:
    """Asks a person whether the candidate of `job` shall pass although the gate refused it.

    Args:
        evidence: What the person needs to decide: rules, values, verdicts.
    """
    terms = job.spec.get("gate", {}).get("review", {})
    seconds = terms.get("seconds")
    now = session.scalar(select(func.now())) or datetime.now(UTC)
    review = Review(
        id=new_id("rev"), project_id=job.project_id, job_id=job.id, status="open", evidence=dict(evidence),
        by_another=terms.get("by_another", False), expires_at=now + timedelta(seconds=seconds) if seconds else None,
    )  # fmt: skip
    session.add(review)
    session.flush()
    job.review_id = review.id
    return review


def find(session: Session, project_id: str, *, review_id: str) -> Review:
    """One review of the project.

    Raises:
        NotFound
    """
    review = session.scalar(select(Review).where(Review.project_id == project_id, Review.id == review_id))
    if review is None:
        raise NotFound("There is no such review in this project.")
    return review


def page(session: Session, project_id: str, *, status: str | None, after: str | None, limit: int) -> list[Review]:
    """Up to `limit` reviews, newest first; `after` is the id that the page before ended with."""
    query = select(Review).where(Review.project_id == project_id).order_by(Review.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Review.status == status)
    if after is not None:
        query = query.where(Review.id < after)
    return list(session.scalars(query))


def decide(
    session: Session, project_id: str, *, review_id: str, decision: Decision, reason: str, decided_by: str
) -> Review:
    """Writes the decision down, announces it, and sets the job on its way: to `register`, or to its end.

    Raises:
        NotFound
        Conflict: the review is decided already, or its job no longer waits for it.
        Forbidden: it is to be decided with another key than the job was submitted with.
    """
    review = find(session, project_id, review_id=review_id)
    job = session.get_one(Job, review.job_id, with_for_update=True, populate_existing=True)
    session.refresh(review, with_for_update=True)
    if review.status != "open":
        raise Conflict(f"This review is {review.status} already.", code="review_not_open")
    if job.status != JobStatus.AWAITING_REVIEW:
        raise Conflict(f"The job of this review is {job.status}, not awaiting_review.", code="job_not_awaiting_review")
    if review.by_another and decided_by == job.created_by:
        raise Forbidden(
            "This review asks for another key than the one that submitted the job.", code="another_must_decide",
            hint="Let somebody else decide, with a key of their own.",
        )  # fmt: skip
    _write_down(session, job, review, status=STATUS_AFTER[decision], decision=decision, reason=reason, by=decided_by)
    if decision == "approve":
        _send_on(session, job, review)
    else:
        _end(session, job, review)
    return review


def _write_down(  # what a decision is: what, why, by whom
    session: Session, job: Job, review: Review, *, status: str, decision: Decision, reason: str, by: str
) -> None:
    review.status, review.decision, review.decision_reason = status, decision, reason
    review.decided_by, review.decided_at = by, datetime.now(UTC)
    said = {
        "job_id": job.id, "model": job.model, "review_id": review.id, "decision": decision, "reason": reason,
        "decided_by": by,
    }  # fmt: skip
    events.append(session, job.project_id, type="review.decided", data=said, job_id=job.id, once=review.id)


def expire_due(session: Session, *, limit: int = 100) -> int:
    """Rejects the candidates of up to `limit` reviews that nobody decided in time; how many there were."""
    overdue = select(Review.id, Review.job_id).where(Review.status == "open", Review.expires_at <= func.now())
    ended = 0
    for review_id, job_id in session.execute(overdue.order_by(Review.expires_at).limit(limit)).all():
        # The job before its review, as whoever decides locks them.
        job = session.scalar(select(Job).where(Job.id == job_id).with_for_update(skip_locked=True))
        if job is None or job.status != JobStatus.AWAITING_REVIEW:
            continue
        review = session.get_one(Review, review_id, with_for_update=True, populate_existing=True)
        if review.status != "open":
            continue
        _write_down(session, job, review, status=EXPIRED, decision="reject", reason="nobody decided in time", by=CLOCK)
        _end(session, job, review)
        ended += 1
    return ended


def _send_on(session: Session, job: Job, review: Review) -> None:
    _close_gate(session, job, StageStatus.SUCCEEDED, {"approved_by": review.decided_by, "review_id": review.id})
    job.facts = {**(job.facts or {}), "approved_review": review.id}
    job.due_at = func.now()
    move_job(session, job, JobStatus.QUEUED, reason="approved")
    events.ring(session)


def _end(session: Session, job: Job, review: Review) -> None:
    _close_gate(session, job, StageStatus.FAILED, {"rejected_by": review.decided_by, "review_id": review.id})
    remaining = (JobStage.job_id == job.id) & JobStage.status.in_([StageStatus.PENDING, StageStatus.RUNNING])
    session.execute(update(JobStage).where(remaining).values(status=StageStatus.SKIPPED))
    move_job(session, job, JobStatus.REJECTED, reason="rejected in review")
    said = {
        "job_id": job.id, "model": job.model, "version": None, "metrics": job.metrics.get("test", {}), "gate": job.gate,
        "review_id": review.id, "reason": review.decision_reason,
    }  # fmt: skip
    events.append(session, job.project_id, type="job.rejected", data=said, job_id=job.id, once=job.id)


def _close_gate(session: Session, job: Job, status: StageStatus, note: Mapping[str, Any]) -> None:
    stage = session.get(JobStage, (job.id, "gate"), populate_existing=True)
    if stage is None:
        return
    stage.status, stage.summary = status, {**(stage.summary or {}), **note}
    stage.finished_at = stage.finished_at or datetime.now(UTC)

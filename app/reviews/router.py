"""Reviews over HTTP: list, read, decide."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from app.http import PageDep, Reader, Reviewer, ReviewOnce, SessionDep, StrictRoute, listing
from app.reviews import service
from app.reviews.schemas import DecideRequest, ReviewList, ReviewOut, ReviewStatus

router = APIRouter(prefix="/v1/reviews", route_class=StrictRoute, tags=["reviews"])
ReviewId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["rev_06f4wx0v2s7m5d1c9b8a3n6k2e"])]


@router.get("", operation_id="list_reviews", response_model=ReviewList)
def list_reviews(
    caller: Reader, session: SessionDep, page: PageDep, status: Annotated[ReviewStatus | None, Query()] = None
) -> dict[str, Any]:
    """The project's reviews, newest first; `status=open` gives those that wait for a person."""
    rows = service.page(session, caller.project_id, status=status, after=page.after_text, limit=page.limit + 1)
    return listing([ReviewOut.model_validate(row) for row in rows], limit=page.limit, key=lambda row: [row.id])


@router.get("/{review_id}", operation_id="get_review")
def get_review(review_id: ReviewId, caller: Reader, session: SessionDep) -> ReviewOut:
    """One review with the gate's evidence."""
    return ReviewOut.model_validate(service.find(session, caller.project_id, review_id=review_id))


@router.post("/{review_id}/decide", operation_id="decide_review", response_model=ReviewOut)
def decide_review(
    review_id: ReviewId, request: DecideRequest, caller: Reviewer, session: SessionDep, once: ReviewOnce
) -> Response:
    """Approves the candidate, which is then registered, or rejects it, which ends its job."""
    review = service.decide(
        session, caller.project_id, review_id=review_id, decision=request.decision, reason=request.reason,
        decided_by=caller.key_id,
    )  # fmt: skip
    return once.answer(200, ReviewOut.model_validate(review))

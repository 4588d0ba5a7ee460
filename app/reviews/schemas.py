"""What callers send and see of reviews."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.spec.base import Part, no_nul

Decision = Literal["approve", "reject"]
ReviewStatus = Literal["open", "approved", "rejected", "expired", "cancelled"]


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("must say something")
    return text


class DecideRequest(Part):
    """What a person decides, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"decision": "approve", "reason": "The threshold was set for the old data."}]}
    )

    decision: Decision
    reason: Annotated[
        str, Field(min_length=1, max_length=2_000), AfterValidator(no_nul), AfterValidator(_says_something)
    ]


class ReviewOut(BaseModel):
    """A question to a person: shall this candidate pass although the gate refused it?"""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["rev_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    job_id: str
    status: str = Field(description="open, approved, rejected, expired or cancelled; more may come")
    evidence: dict[str, Any] = Field(description="rules, values and verdicts of the gate")
    decision: Decision | None
    reason: str | None = Field(validation_alias="decision_reason")
    decided_by: str | None
    by_another: bool = Field(description="whether another key than the submitter's must decide")
    expires_at: datetime | None = Field(description="when the candidate is rejected unless somebody decides")
    created_at: datetime
    decided_at: datetime | None


class ReviewList(BaseModel):
    """A page of reviews, newest first."""

    items: list[ReviewOut]
    next_cursor: str | None

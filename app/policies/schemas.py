"""What callers send and see of gate policies."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.spec.base import Moment, Part, Slug, Text, misfit
from app.spec.decision import Gate

MOST_CANDIDATES = 1_000


class PolicyRequest(Part):
    """A gate by name; the same name with another gate makes the next version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "name": "strict",
                "gate": {"judge_by": "low", "rules": [{"metric": "roc_auc", "against": "champion", "min_gain": 0.0}]},
                "description": "No model that may be worse than the one that serves.",
            }]
        }
    )  # fmt: skip

    name: Slug
    gate: Gate
    description: Text = ""

    @model_validator(mode="after")
    def says_itself_what_it_asks(self) -> Self:
        """A policy names no other one: its rules are its own, and never change."""
        if self.gate.policy is not None:
            raise misfit("a policy takes rules, and names no other policy", "gate", "policy")
        return self


class PolicyOut(BaseModel):
    """One version of a policy; it never changes."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["strict"])
    version: int = Field(ge=1)
    gate: dict[str, Any]
    description: str
    created_by: str
    created_at: datetime


class PolicyList(BaseModel):
    """A page of policies."""

    items: list[PolicyOut]
    next_cursor: str | None


class ReplayRequest(Part):
    """Which candidates of the past to judge; left out, the newest of all models."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "late-flights"}]})

    model: Slug | None = None
    created_after: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_CANDIDATES)] = 200


class Replayed(BaseModel):
    """What a policy says of one candidate."""

    job_id: str
    model: str
    version: int | None = Field(description="that came of the job; null where it was refused, or did not go on")
    created_at: datetime
    was: str | None = Field(description="the verdict that the candidate got")
    verdict: str = Field(description="the verdict that the policy gives it: pass, fail or inconclusive")
    goes: str = Field(description="where the policy sends it: pass, review or reject")
    rules: list[dict[str, Any]]


class ReplayOut(BaseModel):
    """What a policy says of past candidates, newest first."""

    policy: str
    version: int
    candidates: int
    verdicts: dict[str, int] = Field(description="how many candidates have each verdict")
    changed: int = Field(description="how many have another verdict than they got")
    items: list[Replayed]

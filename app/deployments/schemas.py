"""What callers send and see of deployments."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.spec.base import Part, Text

Target = Literal["staging", "production"]
Reported = Literal["accepted", "serving", "failed"]
State = Literal["requested", "accepted", "serving", "failed", "superseded", "timed_out"]


class DeploymentWish(Part):
    """How a version is wanted in a target."""

    target: Target
    """`production` moves the aliases `champion` and `production`, `staging` moves `staging`."""
    reason: Text = ""
    require_ack: bool = False
    """The aliases move only when a deployer reports `accepted` or `serving`."""
    ack_seconds: Annotated[int, Field(ge=1, le=604_800)] = 900


class PromoteRequest(DeploymentWish):
    """A version is wanted in a target."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"target": "production", "reason": "better than version 2", "require_ack": True}]
        }
    )


class RollbackRequest(DeploymentWish):
    """The version before is wanted back."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"target": "production", "reason": "complaints since noon"}]}
    )


class ReportRequest(Part):
    """What a deployer says of a deployment."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "serving", "detail": "2 replicas"}]})

    state: Reported
    detail: Text = ""


class DeploymentOut(BaseModel):
    """A request to serve a version, and what the deployer reported."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["dep_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    job_id: str | None
    model: str
    version: int
    target: Target
    state: str = Field(
        description="requested, accepted, serving, failed, superseded or timed_out; more may come",
        examples=["requested"],
    )
    detail: str
    reason: str
    require_ack: bool
    ack_until: datetime | None
    requested_by: str
    created_at: datetime
    reported_at: datetime | None


class DeploymentList(BaseModel):
    """A page of deployments, newest first."""

    items: list[DeploymentOut]
    next_cursor: str | None

"""What callers see of jobs."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.spec.job import JobSpec


class Shown(BaseModel):
    """A part of an answer, read from rows."""

    model_config = ConfigDict(from_attributes=True)


class Progress(Shown):
    """How far the job is. `fraction` is of the whole job, `done` and `total` are of the present stage."""

    done: float
    total: float
    fraction: float = Field(ge=0, le=1)
    eta_seconds: float | None = None


class StageOut(Shown):
    """One stage."""

    name: str
    status: str = Field(description="pending, running, succeeded, failed or skipped; more may come")
    cached: bool
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    summary: dict[str, Any] | None
    warnings: list[dict[str, Any]]


class VersionLink(BaseModel):
    """The version that came of a job."""

    model: str
    version: int
    url: str


class JobOut(BaseModel):
    """A job."""

    id: str = Field(examples=["job_06f2k3v5x7y9z1b3d5f7h9k1m3"])
    model: str
    kind: str
    status: str = Field(
        description="queued, running, awaiting_review, succeeded, rejected, failed, cancelling or cancelled; more may come"
    )
    stage: str | None
    attempt: int
    progress: Progress | None
    status_reason: str | None
    error: dict[str, Any] | None
    stages: list[StageOut]
    metrics: dict[str, dict[str, Any]]
    gate: dict[str, Any] | None
    best_trial: int | None
    model_version: VersionLink | None
    review_id: str | None
    spec_digest: str
    data_digest: str | None
    labels: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobList(BaseModel):
    """A page of jobs, newest first."""

    items: list[JobOut]
    next_cursor: str | None


class StageList(BaseModel):
    """The ten stages in order."""

    items: list[StageOut]
    next_cursor: str | None = None


class TrialOut(Shown):
    """One trial of a job's search."""

    number: int
    status: str
    params: dict[str, Any]
    value: float | None
    metrics: dict[str, Any]
    iterations: int | None
    duration_seconds: float | None
    worker: str | None
    curve: list[Any] | None
    attempt: int
    reason: str | None
    started_at: datetime | None
    finished_at: datetime | None


class TrialList(BaseModel):
    """A page of trials in order of number."""

    items: list[TrialOut]
    next_cursor: str | None


class LogLine(Shown):
    """One line of a job's log."""

    id: int
    at: datetime
    level: str
    stage: str | None
    message: str


class LogList(BaseModel):
    """A page of log lines, oldest first."""

    items: list[LogLine]
    next_cursor: str | None


class EventOut(Shown):
    """Something that happened to a job; `seq` is what Last-Event-ID takes."""

    seq: int
    id: str
    type: str
    at: datetime
    data: dict[str, Any]


class EventList(BaseModel):
    """A page of events, oldest first."""

    items: list[EventOut]
    next_cursor: str | None


class ArtifactOut(Shown):
    """A file that a stage made."""

    name: str
    stage: str
    digest: str
    size_bytes: int
    media_type: str
    created_at: datetime


class ArtifactList(BaseModel):
    """All artifacts of a job."""

    items: list[ArtifactOut]
    next_cursor: str | None = None


class SpecOut(BaseModel):
    """The resolved spec: all defaults written out."""

    spec: JobSpec
    spec_digest: str

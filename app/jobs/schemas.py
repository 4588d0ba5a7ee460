"""What callers send and see of jobs."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.spec.base import Part
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


class ReuseOut(BaseModel):
    """Why a stage was taken over from an earlier job, or was run."""

    reused: bool
    reason: str
    from_job: str | None


class PlanOut(BaseModel):
    """What a job of this spec would meet and take; `blocked` says that it would fail."""

    blocked: bool
    findings: list[dict[str, Any]] = Field(
        description="severity, code, stage, pointer, message, hint; the gravest first"
    )
    rows: int | None
    columns: int | None
    features: int | None = Field(description="columns that a trainer would take, after encoding")
    task_type: str | None
    parts: dict[str, int] | None = Field(description="rows to train, validate and test on")
    trials: int
    memory_bytes: int | None = Field(description="the most that one worker process would take")
    seconds: float | None = Field(description="roughly, for all stages on one worker")
    stages: list[dict[str, Any]] = Field(
        description="for each stage whether it would be reused, run or skipped, and why"
    )


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
    reuse: ReuseOut | None = Field(description="whether an earlier job's work was taken over, and why or why not")
    peak_memory_bytes: int | None


class VersionLink(BaseModel):
    """The version that came of a job."""

    model: str
    version: int
    url: str


class BestOut(BaseModel):
    """The best complete trial that keeps to the constraints."""

    number: int
    value: float
    params: dict[str, Any]


class SearchOut(BaseModel):
    """What a job's search did, is doing, and will still take."""

    strategy: str
    metric: str
    minimize: bool
    wanted: int = Field(description="trials at the most")
    parallel: int
    trials: dict[str, int] = Field(description="by status, how many there are")
    best: BestOut | None
    best_so_far: list[tuple[float, float]] = Field(
        max_length=200, description="[seconds since the search's budget began, best value by then]; where it got better"
    )
    importances: dict[str, float] = Field(description="by parameter, its share in what made trials differ; once over")
    max_seconds: int | None
    folds: int
    ensemble: int
    refit: bool
    warm_start: dict[str, Any] = Field(description="`params` that earlier jobs brought, and `why`")
    ended_by: str | None = Field(
        description="max_trials, max_seconds, patience, grid_exhausted, cancelled or failed; more may come"
    )
    reproducible: bool
    reproducible_why: str
    eta_seconds: float | None = Field(description="until the chosen model is ready")


class ReproduceRequest(Part):
    """How a version is to be trained again: as it was, or with changes to see what they change first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"changes": {"reproducibility": {"seed": 43}}}]})

    changes: dict[Annotated[str, Field(max_length=64)], Any] = Field(
        default={}, max_length=20, description="a JSON merge patch of the spec, RFC 7396"
    )


class FirstDifference(BaseModel):
    """Where a reproduction first differs."""

    stage: str
    what: str = Field(examples=["data_digest"])
    original: Any
    found: Any


class ReproductionOut(BaseModel):
    """What came of training a version again."""

    version: int
    job_id: str = Field(description="the job that made the version")
    verdict: str = Field(description="identical, within_tolerance or diverged")
    first_difference: FirstDifference | None
    stages: list[dict[str, Any]] = Field(description="by stage, whether it is the same and what differs")
    predictions: dict[str, Any] = Field(
        description="`largest_difference` of the test rows' predictions, or the reason why it is unknown"
    )
    libraries_changed: dict[str, list[str | None]] = Field(description="by library, its version then and now")
    code_changed: bool | None = Field(description="null where the version does not say what code it was made by")


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
    search: SearchOut | None = Field(default=None, description="only with the job itself, not in lists")
    plan: PlanOut | None = Field(default=None, description="of a plan job: what was found")
    reproduction: ReproductionOut | None = Field(default=None, description="of a reproduce job: what came of it")
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
    facts: dict[str, Any] = Field(
        description="what else the fit says of itself: threads, model_bytes, predict_ms, spread, folds, timed_out …"
    )
    attempt: int
    reason: str | None
    started_at: datetime | None
    finished_at: datetime | None


class TrialList(BaseModel):
    """A page of trials in order of number."""

    items: list[TrialOut]
    next_cursor: str | None


class ReportOut(BaseModel):
    """The whole story of a job."""

    job: JobOut
    spec: dict[str, Any]
    trials: list[TrialOut]


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

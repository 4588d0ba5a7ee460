"""Every row class. A trained model is a `ModelVersion`; these classes are rows, never "models"."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Row(DeclarativeBase):
    """The base of all row classes; constraints get predictable names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        str: Text,
        datetime: DateTime(timezone=True),
        Json: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
        bytes: LargeBinary,
        float: Float(53),
    }


def _now() -> Mapped[datetime]:
    return mapped_column(server_default=func.now())


class Project(Row):
    """The owner of everything else; nothing crosses from one to another."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = _now()


class ApiKey(Row):
    """A caller's key, as a keyed hash; the key itself is shown once and not kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    lookup: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[bytes]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class IdempotencyKey(Row):
    """The first answer to a POST, kept for a day so that a retry gets it again."""

    __tablename__ = "idempotency_keys"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[str]
    status: Mapped[int | None] = mapped_column(SmallInteger)
    headers: Mapped[Json | None]
    body: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class Connection(Row):
    """How to reach a caller's data engine; the secret is sealed and never shown again."""

    __tablename__ = "connections"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    kind: Mapped[str]
    config: Mapped[Json]
    sealed_secret: Mapped[bytes | None]
    created_at: Mapped[datetime] = _now()
    __table_args__ = (UniqueConstraint("project_id", "name"),)


class Dataset(Row):
    """An uploaded file. `pending` until its bytes are there (presigned upload), then `ready`."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    filename: Mapped[str]
    format: Mapped[str]
    status: Mapped[str]
    digest: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    upload_key: Mapped[str | None]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    columns: Mapped[list[Any] | None]
    created_at: Mapped[datetime] = _now()
    __table_args__ = (Index("ix_datasets_page", "project_id", "id"),)


class Job(Row):
    """One job. `fence` rises with every claim and guards every write; `attempt` is what callers see.

    A job is claimable when it is queued or running, waits on nothing, is due, and nobody holds a live lease.
    """

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    model: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="train")
    status: Mapped[str]
    stage: Mapped[str | None]
    status_reason: Mapped[str | None]
    spec: Mapped[Json]
    spec_digest: Mapped[str]
    data_digest: Mapped[str | None]
    pipeline_version: Mapped[int] = mapped_column(server_default="1")
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    labels: Mapped[Json]
    error: Mapped[Json | None]
    metrics: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    gate: Mapped[Json | None]
    facts: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    progress: Mapped[Json | None]
    best_trial: Mapped[int | None]
    version: Mapped[int | None]
    review_id: Mapped[str | None]
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    attempt: Mapped[int] = mapped_column(server_default="0")
    strikes: Mapped[int] = mapped_column(server_default="0")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    waits_on: Mapped[str | None]
    due_at: Mapped[datetime] = _now()
    rung_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    search: Mapped[Json | None]
    revision: Mapped[int] = mapped_column(BigInteger, server_default="1")
    created_by: Mapped[str]
    created_at: Mapped[datetime] = _now()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_jobs_page", "project_id", "id"),
        Index("ix_jobs_model", "project_id", "model", "id"),
        Index(
            "ix_jobs_due", "priority", "due_at",
            postgresql_where=text("status in ('queued', 'running', 'cancelling') and waits_on is null"),
        ),
        Index("ix_jobs_waiting", "waits_on", postgresql_where=text("waits_on is not null")),
    )  # fmt: skip


class JobStage(Row):
    """One stage of one job, with what it said; `output` is what later stages read.

    `reuse_key` names what the stage did: two stages of equal keys did the same with the same data.
    """

    __tablename__ = "job_stages"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str]
    cached: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    fence: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    duration_seconds: Mapped[float | None]
    summary: Mapped[Json | None]
    output: Mapped[Json | None]
    warnings: Mapped[list[Any] | None]
    reuse: Mapped[Json | None]
    reuse_key: Mapped[str | None]
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    checkpoint: Mapped[Json | None]
    __table_args__ = (Index("ix_job_stages_reuse", "reuse_key", postgresql_where=text("reuse_key is not null")),)


class Artifact(Row):
    """Which blob plays which part in a job; the blob's key is its digest."""

    __tablename__ = "artifacts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str]
    digest: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str]
    created_at: Mapped[datetime] = _now()
    __table_args__ = (Index("ix_artifacts_digest", "digest"),)


class JobLog(Row):
    """One line of a job's log; it holds no data values and no secrets."""

    __tablename__ = "job_logs"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    stage: Mapped[str | None]
    level: Mapped[str]
    message: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (Index("ix_job_logs_page", "job_id", "id"),)


class Trial(Row):
    """One trial of a job's search, under a lease of its own; `checkpoint` is where a long fit last stood."""

    __tablename__ = "trials"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    params: Mapped[Json]
    value: Mapped[float | None]
    metrics: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    iterations: Mapped[int | None]
    curve: Mapped[list[Any] | None]
    reason: Mapped[str | None]
    model_digest: Mapped[str | None]
    model_bytes: Mapped[int | None] = mapped_column(BigInteger)
    predictions_digest: Mapped[str | None]
    predictions_bytes: Mapped[int | None] = mapped_column(BigInteger)
    facts: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    checkpoint: Mapped[Json | None]
    attempt: Mapped[int] = mapped_column(server_default="1")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    duration_seconds: Mapped[float | None]


class Event(Row):
    """What happened: the outbox, the audit trail and the stream are this one table."""

    __tablename__ = "events"
    seq: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    type: Mapped[str]
    job_id: Mapped[str | None]
    data: Mapped[Json]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (Index("ix_events_job", "job_id", "seq"), Index("ix_events_page", "project_id", "seq"))


class WebhookEndpoint(Row):
    """Where a project wants events sent; secrets are sealed, the newest first."""

    __tablename__ = "webhook_endpoints"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    url: Mapped[str]
    events: Mapped[list[str]]
    description: Mapped[str]
    sealed_secret: Mapped[bytes]
    previous_sealed_secret: Mapped[bytes | None]
    previous_expires_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = _now()


class Delivery(Row):
    """One event on its way to one endpoint; every attempt carries the same id, the event's."""

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"))
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id"))
    status: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    log: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    rung_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = _now()
    finished_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_deliveries_page", "endpoint_id", "created_at", "id"),
        Index("ix_deliveries_due", "due_at", postgresql_where=text("status = 'pending'")),
        Index("ix_deliveries_pending", "endpoint_id", postgresql_where=text("status = 'pending'")),
    )


class RegisteredModel(Row):
    """A model's name in a project, and the counter of its versions."""

    __tablename__ = "models"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    last_version: Mapped[int] = mapped_column(server_default="0")
    alias_revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = _now()


class ModelVersion(Row):
    """A version, at most one of a job; but for its end it never changes."""

    __tablename__ = "model_versions"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    model: Mapped[str]
    version: Mapped[int]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    bundle_digest: Mapped[str]
    bundle_bytes: Mapped[int] = mapped_column(BigInteger)
    manifest: Mapped[Json]
    spec_digest: Mapped[str]
    data_digest: Mapped[str | None]
    metrics: Mapped[Json]
    gate: Mapped[Json | None]
    facts: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    tags: Mapped[Json]
    description: Mapped[str]
    created_at: Mapped[datetime] = _now()
    archived_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("project_id", "model", "version"),
        ForeignKeyConstraint(["project_id", "model"], ["models.project_id", "models.name"]),
    )


class Garbage(Row):
    """A blob that lost a row which named it; it is removed once no other names it."""

    __tablename__ = "garbage"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = _now()


class Receipt(Row):
    """Why a version was let through, signed and chained to the model's receipt before."""

    __tablename__ = "receipts"
    project_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str]
    receipt: Mapped[Json]
    created_at: Mapped[datetime] = _now()


class SigningKey(Row):
    """An Ed25519 key of a project; the private half is sealed."""

    __tablename__ = "signing_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    public_key: Mapped[str]
    sealed_private: Mapped[bytes]
    first: Mapped[bool | None]
    created_at: Mapped[datetime] = _now()
    __table_args__ = (UniqueConstraint("project_id", "first"),)


class Alias(Row):
    """A name that points at one version of a model; `revision` is what If-Match compares."""

    __tablename__ = "aliases"
    project_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    revision: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = _now()
    __table_args__ = (
        ForeignKeyConstraint(
            ["project_id", "model", "version"],
            ["model_versions.project_id", "model_versions.model", "model_versions.version"],
        ),
    )


class AliasMove(Row):
    """One move of an alias: who, when, from, to, why."""

    __tablename__ = "alias_moves"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    project_id: Mapped[str]
    model: Mapped[str]
    alias: Mapped[str]
    from_version: Mapped[int | None]
    to_version: Mapped[int | None]
    reason: Mapped[str]
    moved_by: Mapped[str]
    at: Mapped[datetime] = _now()
    __table_args__ = (Index("ix_alias_moves_page", "project_id", "model", "id"),)


class GatePolicy(Row):
    """One version of a gate that has a name; it never changes."""

    __tablename__ = "gate_policies"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    gate: Mapped[Json]
    description: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = _now()


class Review(Row):
    """A question to a person: shall this candidate pass although the gate refused it?"""

    __tablename__ = "reviews"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    status: Mapped[str] = mapped_column(server_default="open")
    evidence: Mapped[Json]
    decision: Mapped[str | None]
    decision_reason: Mapped[str | None]
    decided_by: Mapped[str | None]
    by_another: Mapped[bool] = mapped_column(server_default=text("false"))
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = _now()
    decided_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_reviews_page", "project_id", "status", "id"),
        Index("ix_reviews_expiry", "expires_at", postgresql_where=text("status = 'open'")),
    )


class Deployment(Row):
    """A request to a deployer to serve a version, and what the deployer reported."""

    __tablename__ = "deployments"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    model: Mapped[str]
    version: Mapped[int]
    target: Mapped[str]
    state: Mapped[str]
    detail: Mapped[str] = mapped_column(server_default="")
    require_ack: Mapped[bool] = mapped_column(server_default=text("false"))
    ack_until: Mapped[datetime | None]
    requested_by: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = _now()
    reported_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_deployments_page", "project_id", "id"),
        Index("uq_deployments_job_id", "job_id", unique=True, postgresql_where=text("job_id is not null")),
        Index("ix_deployments_ack", "ack_until", postgresql_where=text("state = 'requested'")),
    )

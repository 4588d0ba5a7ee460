"""What callers send and see of models, versions and aliases."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.spec.base import Part, Text


class Shown(BaseModel):
    """A part of an answer, read from rows."""

    model_config = ConfigDict(from_attributes=True)


class ModelOut(BaseModel):
    """A model: a name with versions, and aliases that point at them."""

    name: str = Field(examples=["late-flights"])
    latest_version: int = Field(ge=0, description="0 while no version is registered")
    aliases: dict[str, int] = Field(description="alias to version", examples=[{"champion": 2, "candidate": 3}])
    created_at: datetime


class ModelList(BaseModel):
    """A page of models by name."""

    items: list[ModelOut]
    next_cursor: str | None


class VersionOut(BaseModel):
    """A version. Everything but `aliases` is as it was at registration, for good."""

    id: str = Field(examples=["ver_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    model: str = Field(examples=["late-flights"])
    version: int = Field(ge=1)
    url: str
    job_id: str
    aliases: list[str]
    description: str
    tags: dict[str, str]
    metrics: dict[str, Any] = Field(description="by part of the data, by metric")
    gate: dict[str, Any] | None
    bundle_digest: str
    bundle_bytes: int
    spec_digest: str
    data_digest: str | None
    created_at: datetime


class VersionDetail(VersionOut):
    """A version with what its bundle says of itself."""

    manifest: dict[str, Any] = Field(description="the manifest.json at the bundle's root")
    facts: dict[str, Any] = Field(description="what the job learnt on its way")


class VersionList(BaseModel):
    """A page of versions, newest first."""

    items: list[VersionOut]
    next_cursor: str | None


class AliasOut(Shown):
    """An alias."""

    model: str
    alias: str = Field(examples=["champion"])
    version: int
    updated_at: datetime


class AliasRequest(Part):
    """Where an alias shall point."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 3, "reason": "best on the June data"}]})

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    reason: Text = ""


class MoveOut(Shown):
    """One move of an alias."""

    alias: str
    from_version: int | None = Field(description="null: the alias was made")
    to_version: int | None = Field(description="null: the alias was taken away")
    reason: str
    moved_by: str = Field(description="a key's id, or the id of the job whose spec asked for it")
    at: datetime


class MoveList(BaseModel):
    """A page of moves, newest first."""

    items: list[MoveOut]
    next_cursor: str | None


class SourceOut(BaseModel):
    """A source that a version's data came from, as its spec names it."""

    name: str
    kind: str
    names: dict[str, Any] = Field(description="data set, connection, table or address; no secret")


class ArtifactOut(Shown):
    """A file that the version's job made."""

    name: str
    stage: str
    digest: str
    size_bytes: int


class LineageOut(BaseModel):
    """Where a version comes from and where it went."""

    model: str
    version: int
    job_id: str
    spec_digest: str
    data_digest: str | None
    sources: list[SourceOut]
    artifacts: list[ArtifactOut]
    review_id: str | None = Field(description="the review that let the version through, if the gate had refused it")
    approved_by: str | None
    deployment_ids: list[str]
    aliases: list[str]

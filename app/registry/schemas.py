"""What callers send and see of models, versions and aliases."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.spec.base import Part, Text


class Shown(BaseModel):
    """A part of an answer, read from rows."""

    model_config = ConfigDict(from_attributes=True)


class EndRequest(Part):
    """Why a version is set aside, or brought back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Trained on the wrong month."}]})

    reason: Text = ""


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
    receipt_digest: str | None = Field(description="of the version's decision receipt")
    spec_digest: str
    data_digest: str | None
    created_at: datetime
    archived_at: datetime | None = Field(description="since when no alias may point at it and no deployment ask for it")


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
    code: str | None = Field(description="digest of the code that made it; null where nobody wrote it down")
    libraries: dict[str, str] = Field(description="versions of the libraries that made it")
    test_set_uses: int | None = Field(
        description="how many candidates were judged by the same test rows, this one among them"
    )
    review_id: str | None = Field(description="the review that let the version through, if the gate had refused it")
    approved_by: str | None
    deployment_ids: list[str]
    aliases: list[str]


class ReceiptOut(BaseModel):
    """Why a version was let through, signed; `trainhouse verify` checks it without this service."""

    document: dict[str, Any] = Field(
        description="what is signed; `previous` is the digest of the model's receipt before"
    )
    digest: str = Field(description="`sha256:…` of the document's canonical JSON, RFC 8785")
    signature: str = Field(description="Ed25519 over the canonical JSON, base64")
    public_key: str = Field(description="of the project, base64; compare it with GET /v1/signing-keys")


class ReceiptList(BaseModel):
    """A page of a model's receipts, oldest first: a chain."""

    items: list[ReceiptOut]
    next_cursor: str | None


class SigningKeyOut(BaseModel):
    """A key that the project signs receipts with."""

    id: str
    public_key: str = Field(description="32 bytes of an Ed25519 key, base64")
    fingerprint: str = Field(examples=["ed25519:9f86d081884c7d65"])
    created_at: datetime


class SigningKeyList(BaseModel):
    """The project's signing keys, newest first."""

    items: list[SigningKeyOut]
    next_cursor: str | None = None


class DifferenceOut(BaseModel):
    """One place at which two specs differ."""

    pointer: str = Field(description="JSON pointer into the resolved specs", examples=["/training/params/num_leaves"])
    values: list[Any] = Field(description="what stands there in each; null where nothing does")


class MetricComparison(BaseModel):
    """A metric of two versions, each on the test rows of its own job."""

    values: list[float | None]
    intervals: list[list[float | None]]
    gain: float | None = Field(description="how much better the second is, in the metric's units; below 0 it is worse")
    apart: bool | None = Field(description="whether the intervals do not overlap; null where one has none")


class DataComparison(BaseModel):
    """The data that two versions learned from."""

    digests: list[str | None]
    same: bool
    rows: list[int | None]


class RetypedOut(BaseModel):
    """A feature that has another type in the second version."""

    name: str
    types: list[str]


class FeatureComparison(BaseModel):
    """What the second version's features have more, less, and otherwise."""

    added: list[str]
    removed: list[str]
    retyped: list[RetypedOut]


class BundleComparison(BaseModel):
    """The bundles of two versions."""

    digests: list[str]
    same: bool
    size_bytes: list[int]


class ComparisonOut(BaseModel):
    """Two versions of a model side by side; every pair is in the order that was asked for."""

    model: str
    versions: list[int]
    spec: list[DifferenceOut]
    metrics: dict[str, dict[str, MetricComparison]] = Field(description="by part of the data, by metric")
    data: DataComparison
    features: FeatureComparison
    bundles: BundleComparison

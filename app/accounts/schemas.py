"""What callers send and see of projects and API keys."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator

from app.spec.base import Label, Moment, Part

Scope = Literal["read", "train", "review", "admin"]
Name = Annotated[Label, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]


def _written_time(value: object) -> object:
    if value is not None and not isinstance(value, str):
        raise ValueError("must be a time in RFC 3339, such as 2027-01-31T00:00:00Z")
    return value


class KeyRequest(Part):
    """A key that is wanted."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "nightly training", "scopes": ["read", "train"], "expires_at": None}]}
    )

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=4)]
    """`admin` includes the other three."""
    expires_at: Annotated[Moment | None, BeforeValidator(_written_time)] = None
    project_id: Annotated[str, Field(max_length=64, pattern=r"^prj_[0-9a-z]{26}$")] | None = None
    """Left out, the key speaks for the project of the key that asks."""

    @field_validator("scopes")
    @classmethod
    def each_once(cls, scopes: list[Scope]) -> list[Scope]:
        """A scope that is named twice is a slip."""
        if len(set(scopes)) != len(scopes):
            raise ValueError("names a scope twice")
        return scopes


class KeyShown(BaseModel):
    """A key as it is listed: everything but the key."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["key_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    project_id: str
    name: str
    scopes: list[Scope]
    prefix: str = Field(description="the part of the key that is no secret", examples=["th_live_0A1b2C3d"])
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="exact to a minute")


class KeyMade(KeyShown):
    """A new key, in full, this once."""

    key: str = Field(description="shown now and never again", examples=["th_live_…"])


class Keys(BaseModel):
    """A page of keys."""

    items: list[KeyShown]
    next_cursor: str | None


class ProjectRequest(Part):
    """A project that is wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "flight-delays"}]})

    name: Name


class ProjectShown(BaseModel):
    """A project: the owner of everything else."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["prj_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    name: str
    created_at: datetime


class Projects(BaseModel):
    """A page of projects."""

    items: list[ProjectShown]
    next_cursor: str | None

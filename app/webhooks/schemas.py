"""What callers send and see of webhook endpoints and deliveries."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.events import ANNOUNCED
from app.spec.base import Label, Part, Text

EVERYTHING = "*"


def _known_types(types: list[str]) -> list[str]:
    unknown = [name for name in types if name != EVERYTHING and name not in ANNOUNCED]
    if unknown:
        raise ValueError(f"{unknown[0][:64]!r} is no event type; known: {', '.join(sorted(ANNOUNCED))}, or *")
    return list(dict.fromkeys(types))


Url = Annotated[str, Field(min_length=1, max_length=2_048, examples=["https://deployer.example.com/trainhouse"])]
EventTypes = Annotated[
    list[Label], Field(min_length=1, max_length=32, examples=[["model.version.registered", "deployment.requested"]]),
    AfterValidator(_known_types),
]  # fmt: skip


class EndpointRequest(Part):
    """An endpoint that is wanted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "url": "https://deployer.example.com/trainhouse", "events": ["deployment.requested"], "description": "deployer",
            }]
        }
    )  # fmt: skip

    url: Url
    events: EventTypes = Field(default=[EVERYTHING])
    """Event types, or `*` for all, also those that come later."""
    description: Text = ""


class EndpointPatch(Part):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True}]})

    url: Url | None = None
    events: EventTypes | None = None
    description: Text | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def nothing_is_null(self) -> "EndpointPatch":
        """A field can be left out, not emptied."""
        empty = [name for name in self.model_fields_set if getattr(self, name) is None]
        if empty:
            raise ValueError(f"{empty[0]} must not be null; leave it out to keep it")
        return self


class EndpointShown(BaseModel):
    """An endpoint, without its secret."""

    id: str = Field(examples=["whe_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None = Field(description="the first failure since the last success")
    previous_secret_expires_at: datetime | None = Field(description="until then both secrets sign")
    created_at: datetime


class EndpointMade(EndpointShown):
    """An endpoint with its secret, this once."""

    secret: str = Field(description="shown now and never again; it signs every delivery", examples=["whsec_…"])


class Endpoints(BaseModel):
    """A page of endpoints."""

    items: list[EndpointShown]
    next_cursor: str | None


DeliveryStatus = Literal["pending", "succeeded", "failed"]


class Attempt(BaseModel):
    """One attempt: what the receiver answered, or why there is no answer."""

    at: datetime
    status: int | None
    error: str | None
    duration_seconds: float | None


class DeliveryShown(BaseModel):
    """One event on its way to one endpoint. `event_id` is the `webhook-id` of every attempt."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["dlv_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    endpoint_id: str
    event_id: str
    event_type: str
    status: DeliveryStatus
    attempts: int = Field(ge=0)
    due_at: datetime | None = Field(description="when the next attempt is due")
    log: list[Attempt] = Field(description="the latest attempts, the newest last", max_length=20)
    payload: dict[str, Any] = Field(description="the body that is sent")
    created_at: datetime
    finished_at: datetime | None


class Deliveries(BaseModel):
    """A page of deliveries."""

    items: list[DeliveryShown]
    next_cursor: str | None

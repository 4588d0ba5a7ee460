"""What callers send and see of erasure."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.spec.base import Column, Part, Plain, Slug

MOST_ROWS = 1_000
Row = Annotated[dict[Column, Plain], Field(min_length=1, max_length=100)]


class ErasureRequest(Part):
    """The rows that are to be forgotten, each by its id columns."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"rows": [{"customer_id": 4711}], "model": "late-flights"}]}
    )

    rows: Annotated[list[Row], Field(min_length=1, max_length=MOST_ROWS)]
    model: Slug | None = None


class AffectedOut(BaseModel):
    """A version that knows some of the rows."""

    model: str
    version: int
    id_columns: list[str]
    trained_on: int = Field(description="how many of the rows it learned from")
    tested_on: int = Field(description="how many of them judged it")


class UnknownOut(BaseModel):
    """A version of which nobody can say what rows it knows."""

    model: str
    version: int
    reason: str


class ErasureOut(BaseModel):
    """Which versions know the rows, newest first."""

    rows: int
    affected: list[AffectedOut]
    unaffected: int = Field(description="versions that know none of the rows")
    unknown: list[UnknownOut]

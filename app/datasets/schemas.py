"""What callers send and see of data sets."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.spec.base import Label, Part

DatasetFormat = Literal["csv", "csv.gz", "parquet", "json", "jsonl", "arrow"]


def _a_file_name(name: str) -> str:
    if name in {".", ".."} or "/" in name or "\\" in name:
        raise ValueError("must be a file's name without a path")
    return name


FileName = Annotated[Label, Field(min_length=1, max_length=255), AfterValidator(_a_file_name)]
DatasetName = Annotated[Label, Field(min_length=1, max_length=255)]


class PresignRequest(Part):
    """A file that the caller will PUT to the object store by itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"filename": "flights.parquet", "name": "flights 2013"}]})

    filename: FileName
    """Its ending says the format: .csv .csv.gz .parquet .json .jsonl .ndjson .arrow .feather"""
    name: DatasetName | None = None


class Presigned(BaseModel):
    """Where to PUT the file; then POST to `/v1/datasets/{dataset_id}/complete`."""

    dataset_id: str = Field(examples=["ds_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    url: str
    expires_at: datetime


class DatasetShown(BaseModel):
    """An uploaded file. `rows` and `columns` are null until a job has read it."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    id: str = Field(examples=["ds_06f4wx0v2s7m5d1c9b8a3n6k2e"])
    name: str
    filename: str
    format: DatasetFormat
    status: Literal["pending", "ready"]
    digest: str | None = Field(examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    bytes: int | None = Field(validation_alias="size_bytes", ge=0)
    rows: int | None = Field(ge=0)
    columns: list[Any] | None
    created_at: datetime


class Datasets(BaseModel):
    """A page of data sets."""

    items: list[DatasetShown]
    next_cursor: str | None

"""The spec's data half: what is predicted, where rows come from, how they are checked, split and transformed."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from app.spec.base import (
    MAX_COLUMNS,
    MAX_SOURCES,
    Column,
    Finite,
    Identifier,
    Part,
    Scalar,
    Seed,
    Share,
    Slug,
    Sql,
    Text,
    no_control,
)


class Task(Part):
    """What the model predicts, and the columns that are not features."""

    type: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    target: Column
    positive_class: Scalar | None = None
    """Binary only; left out, it is the last class in sorted order."""
    id_columns: list[Column] = Field(default=[], max_length=100)
    group_column: Column | None = None
    time_column: Column | None = None
    weight_column: Column | None = None


Format = Literal["auto", "csv", "csv.gz", "parquet", "json", "jsonl", "arrow"]
ConnectionName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class DatasetSource(Part):
    """A data set that was uploaded to this project."""

    kind: Literal["dataset"]
    dataset_id: Annotated[str, Field(pattern=r"^ds_[0-9a-z]{8,40}$")]


class S3Source(Part):
    """Files in an S3-compatible store, reached through a connection."""

    kind: Literal["s3"]
    connection: ConnectionName
    uri: Annotated[str, Field(min_length=8, max_length=1_024, pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}/.+$"),
                   AfterValidator(no_control)]  # fmt: skip
    format: Format = "auto"

    @model_validator(mode="after")
    def key_stays_inside(self) -> "S3Source":
        """No path step of the key may leave the bucket."""
        if any(step in {"..", "."} for step in self.uri.split("/")[3:]) or "\\" in self.uri:
            raise ValueError("uri must not hold '..', '.' or a backslash as a path step")
        return self


class DatabaseSource(Part):
    """A table or one SELECT of a database, reached through a connection."""

    kind: Literal["database"]
    connection: ConnectionName
    query: Sql | None = None
    table: (
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$", max_length=127)] | None
    ) = None
    max_rows: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000_000

    @model_validator(mode="after")
    def one_of_query_and_table(self) -> "DatabaseSource":
        """Exactly one of `query` and `table` says what to read."""
        if (self.query is None) == (self.table is None):
            raise ValueError("give exactly one of query and table")
        return self


Source = Annotated[DatasetSource | S3Source | DatabaseSource, Field(discriminator="kind")]

ColumnType = Literal["numeric", "categorical", "text", "datetime", "boolean"]


class Features(Part):
    """How the source tables become one feature table."""

    sql: Sql | None = None
    """One SELECT over the named sources; needed when there is more than one."""
    exclude: list[Column] = Field(default=[], max_length=MAX_COLUMNS)
    types: dict[Column, ColumnType] = Field(default={}, max_length=MAX_COLUMNS)


class Data(Part):
    """The sources, by name, and the features made of them."""

    sources: dict[Identifier, Source] = Field(min_length=1, max_length=MAX_SOURCES)
    features: Features = Features()

    @model_validator(mode="after")
    def several_sources_need_sql(self) -> "Data":
        """Several tables are joined by SQL and by nothing else."""
        if len(self.sources) > 1 and self.features.sql is None:
            raise ValueError("with more than one source, features.sql must say how they are joined")
        return self


class ColumnContract(Part):
    """What the values of one column must be."""

    type: Literal["float", "int", "string", "boolean", "datetime"] | None = None
    nullable: bool = True
    unique: bool = False
    min: Finite | None = None
    max: Finite | None = None
    allowed: list[Scalar] | None = Field(default=None, max_length=10_000)
    pattern: Annotated[str, Field(max_length=500)] | None = None

    @model_validator(mode="after")
    def bounds_in_order(self) -> "ColumnContract":
        """`min` is not above `max`."""
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self


class Duplicates(Part):
    """What to do about rows that are equal in every column."""

    action: Literal["ignore", "warn", "drop", "fail"] = "warn"


class Leakage(Part):
    """What to do about a feature that alone predicts the target too well."""

    action: Literal["warn", "fail", "ignore"] = "warn"
    threshold: Share = 0.98
    """Of the single-feature score: AUC for classes, R² for numbers."""


class Drift(Part):
    """How today's data is compared with the data of an earlier model."""

    reference: Annotated[str, Field(pattern=r"^(champion|none|version:[1-9][0-9]{0,8}|dataset:ds_[0-9a-z]{8,40})$")] = (
        "champion"
    )
    method: Literal["auto", "psi", "js", "ks", "wasserstein", "chi2"] = "auto"
    threshold: Finite | None = None
    max_drifted_share: Share = 0.5
    action: Literal["warn", "fail"] = "warn"


class Validation(Part):
    """The contract that rows must keep before anything is trained."""

    columns: dict[Column, ColumnContract] = Field(default={}, max_length=MAX_COLUMNS)
    min_rows: Annotated[int, Field(ge=1)] = 50
    max_null_fraction: Share = 0.95
    duplicates: Duplicates = Duplicates()
    leakage: Leakage = Leakage()
    drift: Drift = Drift()


class Split(Part):
    """How rows are divided into train, validation and test."""

    method: Literal["auto", "random", "stratified", "group", "time", "predefined", "hash"] = "auto"
    train: Share = 0.70
    validation: Share = 0.15
    test: Share = 0.15
    seed: Seed = 42
    column: Column | None = None
    """`predefined`: holds train | validation | test. `time`, `group`, `hash`: the column to divide by."""
    gap: Annotated[str, Field(pattern=r"^[0-9]{1,6}(s|m|h|d)$")] | None = None

    @model_validator(mode="after")
    def parts_add_up(self) -> "Split":
        """The three parts are a whole, and none but validation is empty."""
        if abs(self.train + self.validation + self.test - 1.0) > 1e-6:
            raise ValueError("train + validation + test must be 1")
        if min(self.train, self.validation, self.test) <= 0.0:
            raise ValueError("train, validation and test must each be above 0")
        if self.method == "predefined" and self.column is None:
            raise ValueError("method predefined needs column")
        if self.gap is not None and self.method not in {"time", "auto"}:
            raise ValueError("gap goes with method time")
        return self


class NumericTransform(Part):
    """Numbers: `none` for `impute` leaves missing values to trainers that understand them."""

    impute: Literal["auto", "median", "mean", "constant", "none"] = "auto"
    scale: Literal["auto", "standard", "minmax", "robust", "quantile", "none"] = "auto"


class CategoricalTransform(Part):
    """Categories: `auto` is native for tree trainers and one-hot for linear ones."""

    encode: Literal["auto", "one_hot", "embedding", "ordinal", "target", "native"] = "auto"
    min_frequency: Annotated[int, Field(ge=1)] = 10
    max_categories: Annotated[int, Field(ge=2, le=10_000)] = 200
    dimensions: Annotated[int, Field(ge=1, le=256)] = 16


class TextTransform(Part):
    """Free text: character n-grams reduced to `dimensions` numbers."""

    encode: Literal["embedding"] = "embedding"
    dimensions: Annotated[int, Field(ge=1, le=256)] = 30


class DatetimeTransform(Part):
    """Times: year, month, day, weekday, hour and seconds since the epoch."""

    encode: Literal["parts"] = "parts"


class ColumnTransform(Part):
    """An override for one column."""

    impute: Literal["median", "mean", "constant", "none"] | None = None
    scale: Literal["standard", "minmax", "robust", "quantile", "none"] | None = None
    encode: Literal["one_hot", "embedding", "ordinal", "target", "native"] | None = None


class Transform(Part):
    """How features become what a trainer takes; fitted on the training part only."""

    numeric: NumericTransform = NumericTransform()
    categorical: CategoricalTransform = CategoricalTransform()
    text: TextTransform = TextTransform()
    datetime: DatetimeTransform = DatetimeTransform()
    columns: dict[Column, ColumnTransform] = Field(default={}, max_length=MAX_COLUMNS)


__all__ = [
    "Column", "ColumnContract", "ColumnTransform", "Data", "DatabaseSource", "DatasetSource", "Features", "Format",
    "S3Source", "Slug", "Source", "Split", "Task", "Text", "Transform", "Validation",
]  # fmt: skip

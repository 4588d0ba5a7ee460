"""The spec's data half: what is predicted, where rows come from, how they are checked, split and transformed."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from app.spec.base import (
    MAX_COLUMNS,
    MAX_SOURCES,
    Column,
    Count,
    Finite,
    Identifier,
    Label,
    Part,
    Scalar,
    Seed,
    Share,
    Slug,
    Sql,
    Text,
    misfit,
    no_control,
    no_nul,
    was_accepted,
)


class Task(Part):
    """What the model predicts, and the columns that are not features."""

    type: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    """`auto`: regression where `training.objective` is named; else numbers are measured, and whole ones of few values, and
    all else, are classes."""
    target: Column
    positive_class: Scalar | None = None
    """Of two classes only, and refused otherwise; left out, it is the last class in sorted order."""
    id_columns: list[Column] = Field(default=[], max_length=100)
    group_column: Column | None = None
    time_column: Column | None = None
    weight_column: Column | None = None


Format = Literal["auto", "csv", "csv.gz", "parquet", "json", "jsonl", "arrow"]
ConnectionName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


Wanted = Annotated[list[Column], Field(min_length=1, max_length=MAX_COLUMNS)]


class DatasetSource(Part):
    """A data set that was uploaded to this project."""

    kind: Literal["dataset"]
    dataset_id: Annotated[str, Field(pattern=r"^ds_[0-9a-z]{8,40}$")]
    columns: Wanted | None = None
    """Read these columns only."""


class S3Source(Part):
    """Files in an S3-compatible store, reached through a connection."""

    kind: Literal["s3"]
    connection: ConnectionName
    uri: Annotated[str, Field(min_length=8, max_length=1_024, pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}/.+$"),
                   AfterValidator(no_control)]  # fmt: skip
    format: Format = "auto"
    columns: Wanted | None = None
    """Read these columns only; from Parquet, no other is fetched."""
    partitioning: Literal["auto", "hive", "none"] = "auto"
    """`hive`: path steps like `year=2013` become columns; `auto` does so where every file has the same keys."""

    @model_validator(mode="after")
    def key_stays_inside(self) -> "S3Source":
        """No path step of the key may leave the bucket."""
        if any(step in {"..", "."} for step in self.uri.split("/")[3:]) or "\\" in self.uri:
            raise misfit("uri must not hold '..', '.' or a backslash as a path step", "uri")
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


class HttpSource(Part):
    """A file behind a public URL; a connection of kind http brings the headers that authorise."""

    kind: Literal["http"]
    connection: ConnectionName | None = None
    url: Annotated[str, Field(min_length=8, max_length=2_048, pattern=r"^https?://[^/?#]"), AfterValidator(no_control)]
    format: Format = "auto"
    columns: Wanted | None = None
    """Read these columns only."""


FeatureName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}(:[A-Za-z_][A-Za-z0-9_]{0,127})?$")]


class FeatureStoreSource(Part):
    """Features of a Feast store, joined to the rows of another source.

    `historical` takes for each row what was known at its moment; `online` takes what the store serves now. The result
    has the rows and the columns of the table `entities`, and the features.
    """

    kind: Literal["feature_store"]
    connection: ConnectionName
    feature_service: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    features: list[FeatureName] = Field(default=[], max_length=1_000)
    """As `view:feature`; instead of a feature service."""
    entities: Identifier
    """The source whose rows get the features; it holds the entities' join keys."""
    timestamp_column: Column = "event_timestamp"
    """Of `entities`: the moment of each row."""
    mode: Literal["historical", "online"] = "historical"

    @model_validator(mode="after")
    def one_of_service_and_features(self) -> "FeatureStoreSource":
        """Exactly one of `feature_service` and `features` says what to get."""
        if (self.feature_service is None) == (not self.features):
            raise ValueError("give exactly one of feature_service and features")
        for place, name in enumerate(self.features):
            if ":" not in name:
                raise misfit("write features as view:feature", "features", place)
        return self


Source = Annotated[
    DatasetSource | S3Source | DatabaseSource | HttpSource | FeatureStoreSource, Field(discriminator="kind")
]

ColumnType = Literal["numeric", "categorical", "text", "datetime", "boolean"]


Expression = Annotated[str, Field(min_length=1, max_length=4_000), AfterValidator(no_nul)]


class Features(Part):
    """How the source tables become one feature table."""

    sql: Sql | None = None
    """One SELECT over the named sources; needed when there is more than one."""
    columns: dict[Column, Expression] = Field(default={}, max_length=1_000)
    """New columns by name, each a DuckDB expression over one row; they travel with the model."""
    exclude: list[Column] = Field(default=[], max_length=MAX_COLUMNS)
    types: dict[Column, ColumnType] = Field(default={}, max_length=MAX_COLUMNS)


class Data(Part):
    """The sources, by name, and the features made of them."""

    sources: dict[Identifier, Source] = Field(min_length=1, max_length=MAX_SOURCES)
    features: Features = Features()

    @model_validator(mode="after")
    def several_sources_need_sql(self) -> "Data":
        """Several tables are joined by SQL, or by a feature store that enriches the one other table."""
        enriched = [source for source in self.sources.values() if isinstance(source, FeatureStoreSource)]
        if len(self.sources) - len(enriched) > 1 and self.features.sql is None:
            raise misfit("with more than one source, features.sql must say how they are joined", "features", "sql")
        if len(enriched) > 1 and self.features.sql is None:
            raise misfit(
                "with more than one feature store, features.sql must say how they are joined", "features", "sql"
            )
        return self

    @model_validator(mode="after")
    def entities_are_a_table(self) -> "Data":
        """What a feature store enriches is another source, and no feature store itself."""
        for name, source in self.sources.items():
            if isinstance(source, FeatureStoreSource):
                base = self.sources.get(source.entities)
                if base is None or isinstance(base, FeatureStoreSource):
                    message = f"sources.{name}.entities must name another source that is no feature store"
                    raise misfit(message, "sources", name, "entities")
        return self


class ColumnContract(Part):
    """What the values of one column must be."""

    type: Literal["float", "int", "string", "boolean", "datetime"] | None = None
    nullable: bool = True
    unique: bool = False
    min: Finite | None = None
    max: Finite | None = None
    allowed: list[Scalar] | None = Field(default=None, max_length=10_000)
    pattern: Annotated[str, Field(max_length=500), AfterValidator(no_nul)] | None = None

    @model_validator(mode="after")
    def bounds_in_order(self) -> "ColumnContract":
        """`min` is not above `max`."""
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self


class Duplicates(Part):
    """What to do about rows that are equal in every column but `task.id_columns`."""

    action: Literal["ignore", "warn", "drop", "fail"] = "warn"


class Leakage(Part):
    """What to do about a feature that alone predicts the target too well."""

    action: Literal["warn", "fail", "ignore"] = "warn"
    threshold: Share = 0.98
    """Of the single-feature score: AUC for classes, R² for numbers."""


class ShareBounds(Part):
    """The least and the greatest share that a class may have."""

    min: Share = 0.0
    max: Share = 1.0

    @model_validator(mode="after")
    def bounds_in_order(self) -> "ShareBounds":
        """`min` is not above `max`."""
        if self.min > self.max:
            raise ValueError("min is above max")
        return self


class Drift(Part):
    """How today's data is compared with the data of an earlier model."""

    reference: Annotated[str, Field(pattern=r"^(champion|none|version:[1-9][0-9]{0,8}|dataset:ds_[0-9a-z]{8,40})$")] = (
        "champion"
    )
    method: Literal["auto", "psi", "js", "ks", "wasserstein", "chi2"] = "auto"
    threshold: Finite | None = None
    """Of the method's distance; left out, the usual one of the method."""
    significance: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    """The share of alarms among tables that did not drift, over all columns together."""
    joint: bool = True
    """Whether a classifier also tries to tell both tables apart; it needs the rows of the reference."""
    max_drifted_share: Share = 0.5
    """`action: fail` fails the job where more than this share of the columns drifted; 0: where any did, or where the
    classifier of `joint` can tell the tables apart."""
    action: Literal["warn", "fail"] = "warn"


class Validation(Part):
    """The contract that rows must keep before anything is trained."""

    columns: dict[Column, ColumnContract] = Field(default={}, max_length=MAX_COLUMNS)
    min_rows: Count = 50
    max_rows: Count | None = None
    class_share: dict[Label, ShareBounds] = Field(default={}, max_length=1_000)
    """By class, the share of the rows that it must have."""
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
    """`predefined`: holds train | validation | test. `time`, `group`, `hash`: the column to divide by. No other method
    takes one; `auto` goes by `task.time_column` and `task.group_column`."""
    gap: Annotated[str, Field(pattern=r"^[0-9]{1,6}(s|m|h|d)$")] | None = None
    """Between the parts in time, rows that are in none: a whole number of seconds, minutes, hours or days, as `12h`."""
    tested_rows: Literal["keep_out", "allow"] = "keep_out"
    """`keep_out`: a row, by `task.id_columns`, that an earlier version was tested on is never trained on."""

    @model_validator(mode="after")
    def parts_add_up(self, info: ValidationInfo) -> "Split":
        """The three parts are a whole, none is empty, and what is said goes with the method."""
        if abs(self.train + self.validation + self.test - 1.0) > 1e-6:
            raise ValueError("train + validation + test must be 1")
        if min(self.train, self.validation, self.test) <= 0.0:
            raise ValueError("train, validation and test must each be above 0")
        if self.method == "predefined" and self.column is None:
            raise misfit("method predefined needs column", "column")
        if self.column is not None and self.method in {"auto", "random", "stratified"} and not was_accepted(info):
            instead = {"auto": "name method time, group, hash or predefined beside it, or set task.time_column or "
                               "task.group_column instead"}.get(self.method, "leave one of the two out")  # fmt: skip
            raise misfit(f"method {self.method} does not divide by a column; {instead}", "column")
        if self.gap is not None and self.method not in {"time", "auto"}:
            raise misfit("gap goes with method time", "gap")
        return self


class NumericTransform(Part):
    """Numbers: `auto` leaves them as they are, since each trainer fills and scales by itself where it has to."""

    impute: Literal["auto", "median", "mean", "constant", "none"] = "auto"
    scale: Literal["auto", "standard", "minmax", "robust", "quantile", "none"] = "auto"


class CategoricalTransform(Part):
    """Categories: `auto` is codes, of which each trainer makes what suits it, and the target's mean where labels are many."""

    encode: Literal["auto", "one_hot", "embedding", "ordinal", "target", "native"] = "auto"
    min_frequency: Count = 10
    max_categories: Annotated[int, Field(ge=2, le=10_000)] = 200
    dimensions: Annotated[int, Field(ge=1, le=256)] = 16


class TextTransform(Part):
    """Free text: words and pairs of words (of short texts, runs of characters), reduced to `dimensions` numbers."""

    encode: Literal["embedding"] = "embedding"
    dimensions: Annotated[int, Field(ge=1, le=256)] = 30
    scores: bool = True
    """Also what the words say of the target, learned across folds."""


class DatetimeTransform(Part):
    """Times: year, month, day, weekday, hour and seconds since the epoch."""

    encode: Literal["parts"] = "parts"


class ColumnTransform(Part):
    """An override for one column."""

    impute: Literal["median", "mean", "constant", "none"] | None = None
    scale: Literal["standard", "minmax", "robust", "quantile", "none"] | None = None
    encode: Literal["one_hot", "embedding", "ordinal", "target", "native"] | None = None
    min_frequency: Count | None = None
    max_categories: Annotated[int, Field(ge=2, le=10_000)] | None = None
    dimensions: Annotated[int, Field(ge=1, le=256)] | None = None
    scores: bool | None = None
    """Of a text: see `transform.text.scores`."""


class Transform(Part):
    """How features become what a trainer takes; fitted on the training part only."""

    numeric: NumericTransform = NumericTransform()
    categorical: CategoricalTransform = CategoricalTransform()
    text: TextTransform = TextTransform()
    datetime: DatetimeTransform = DatetimeTransform()
    columns: dict[Column, ColumnTransform] = Field(default={}, max_length=MAX_COLUMNS)


__all__ = [
    "Column", "ColumnContract", "ColumnTransform", "Data", "DatabaseSource", "DatasetSource", "FeatureStoreSource",
    "Features", "Format", "HttpSource", "S3Source", "Slug", "Source", "Split", "Task", "Text", "Transform", "Validation",
]  # fmt: skip

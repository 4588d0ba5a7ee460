"""Ingest: read every source, join them, and land one immutable table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from app.errors import CallerError, InvalidData, Unavailable, Violation, bounded, step
from app.spec.data import FeatureStoreSource
from app.spec.job import JobSpec
from trainhouse_loader.derived import columns as derived
from trainhouse_loader.derived.expressions import refused
from workers.context import Context, Done
from workers.engineering import deriving, features, lineage
from workers.engineering.lineage import Origin
from workers.formats.names import like
from workers.sources import ENRICHERS, SOURCES
from workers.sources.base import SourceResult
from workers.table import columns, snapshot

Facts = dict[str, dict[str, Any]]


def run(ctx: Context) -> Done:
    """Lands the artifacts `snapshot`, `column_lineage` and, where there are derived columns, `columns`.

    Output: `rows`, `columns`, `data_digest`; fact: `data_digest`.

    Raises:
        InvalidData, SourceRefused, SourceUnavailable, EgressDenied: a source, the SQL or a named column is at fault.
    """
    table, facts = gathered(ctx)
    require_columns(ctx.spec, table.column_names)
    return landed(ctx, table, facts)


def gathered(ctx: Context) -> tuple[pa.Table, Facts]:
    """(the one feature table with all its columns, what each source said of itself).

    Raises:
        InvalidData, SourceRefused, SourceUnavailable, EgressDenied: see `run`.
    """
    pa.set_cpu_count(ctx.threads)
    results = read_sources(ctx)
    tables = {name: result.table for name, result in results.items()}
    table = joined(ctx, tables)
    origins = origins_of(ctx.spec, {name: each.column_names for name, each in tables.items()}, table.column_names)
    table, made = derived_columns(ctx, table)
    put_json(ctx, "column_lineage", {"version": 1, "columns": {
        name: origin.document() for name, origin in lineage.with_expressions(origins, made).items()}})  # fmt: skip
    return table, {name: result.facts for name, result in results.items()}


def origins_of(spec: JobSpec, tables: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, Origin]:
    """Which column of which source each column of the one feature table comes from."""
    if spec.data.features.sql is not None:
        return lineage.of_sql(spec.data.features.sql, tables, names)
    origins: dict[str, Origin] = {}
    for source, held in tables.items():
        origins = {**lineage.copied(source, held), **origins}
    return {name: origins[name] for name in names}


def landed(ctx: Context, table: pa.Table, facts: Facts) -> Done:
    """Lands `table`, as `gathered` gave it, without the columns that the spec excludes.

    Those stay that a feature is made of: they are needed at serving. So do those by which rows are known or divided.
    """
    kept = needed_inputs(ctx) | columns.roles(ctx.spec)
    table = table.drop_columns(
        [name for name in ctx.spec.data.features.exclude if name in table.column_names and name not in kept]
    )
    digest = snapshot.data_digest(table)
    path = ctx.workspace.scratch / "snapshot.parquet"
    snapshot.write(table, path)
    ctx.workspace.put("snapshot", path, "application/vnd.apache.parquet")
    said = {"rows": table.num_rows, "columns": table.num_columns}
    summary = {**said, "digest": digest, "sources": facts}
    return Done(summary=summary, output={**said, "data_digest": digest}, facts={"data_digest": digest})


def derived_columns(ctx: Context, table: pa.Table) -> tuple[pa.Table, list[dict[str, Any]]]:
    """(`table` with the columns of `data.features.columns`, what each is made of); that is the artifact `columns` too."""
    texts = ctx.spec.data.features.columns
    if not texts:
        return table, []
    table, made = deriving.extended(
        table, texts, scratch=ctx.workspace.scratch, memory_bytes=ctx.spec.resources.memory_bytes,
        threads=ctx.threads, seconds=features.seconds_left(ctx.deadline),
    )  # fmt: skip
    target, others = ctx.spec.task.target, columns.not_features(ctx.spec)
    for name in texts:
        if name not in others and target in made.behind([name]):
            raise refused(name, f"it is made of the target {bounded(target)!r}, which is not known at prediction time",
                          code="expression_denied", hint="Take the target out, or exclude the column.")  # fmt: skip
    document = made.document()
    put_json(ctx, "columns", document)
    return table, document["columns"]


def put_json(ctx: Context, name: str, document: Mapping[str, Any]) -> None:
    """Puts `document` as the artifact `name`."""
    path = ctx.workspace.scratch / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    ctx.workspace.put(name, path, "application/json")


def needed_inputs(ctx: Context) -> set[str]:
    """The columns that derived features are made of."""
    texts = ctx.spec.data.features.columns
    if not texts:
        return set()
    document = json.loads(ctx.workspace.get("columns").read_text(encoding="utf-8"))
    found = derived.part_of(document, [name for name in texts if name not in columns.not_features(ctx.spec)])
    return {name for column in found["columns"] for name in column["uses"]}


def read_sources(ctx: Context) -> dict[str, SourceResult]:
    """What each source of the spec gives, in the spec's order; those that enrich another are read after it.

    What is wrong with a source says which one it is, by its pointer.
    """
    sources = ctx.spec.data.sources
    results: dict[str, SourceResult] = {}
    for number, name in enumerate(sorted(sources, key=lambda name: sources[name].kind in ENRICHERS)):
        ctx.progress(number, len(sources) + 2)
        source = sources[name]
        try:
            if isinstance(source, FeatureStoreSource):
                results[name] = ENRICHERS[source.kind](source, ctx, results[source.entities].table)
            else:
                results[name] = SOURCES[source.kind](source, ctx)
        except (CallerError, Unavailable) as error:
            raise error.under(f"/data/sources/{name}") from None
        ctx.log(f"read {results[name].table.num_rows} rows x {results[name].table.num_columns} columns from {name}")
    return {name: results[name] for name in sources}


def joined(ctx: Context, tables: dict[str, pa.Table]) -> pa.Table:
    """The one feature table: the only source, the enriched one, or what `features.sql` makes of all."""
    if ctx.spec.data.features.sql is None:
        enriched = [name for name, source in ctx.spec.data.sources.items() if source.kind in ENRICHERS]
        return tables[enriched[0]] if enriched else next(iter(tables.values()))
    return features.select(
        ctx.spec.data.features.sql, tables, scratch=ctx.workspace.scratch,
        threads=1 if ctx.spec.reproducibility.mode == "deterministic" else ctx.threads,
        memory_bytes=ctx.spec.resources.memory_bytes, seconds=features.seconds_left(ctx.deadline),
    )  # fmt: skip


def require_columns(spec: JobSpec, names: list[str]) -> None:
    """Every column that the spec names must exist before anything else is done.

    Raises:
        InvalidData: `unknown_column`, with one violation for each name, its pointer and names like it.
    """
    faults = missing_columns(spec, names)
    if not faults:
        return
    shown = ", ".join(repr(fault.facts["column"]) for fault in faults[:3])
    raise InvalidData(f"The data has no column {shown}.", code="unknown_column", hint=faults[0].hint, violations=faults)


def missing_columns(spec: JobSpec, names: list[str]) -> list[Violation]:
    """A violation for each column that the spec names and `names` lacks, with its pointer and names like it."""
    known = set(names)
    missing = [(pointer, name) for pointer, name in named_columns(spec) if name not in known]
    return [Violation(pointer=pointer, code="unknown_column", message=f"There is no column {bounded(name)!r}.",
                      hint=like(name, names), facts={"column": bounded(name)}) for pointer, name in missing[:100]]  # fmt: skip


def named_columns(spec: JobSpec) -> Iterable[tuple[str, str]]:
    """(JSON pointer, column) for every column that the spec names."""
    task = spec.task
    single = {"/task/target": task.target, "/task/group_column": task.group_column,
              "/task/time_column": task.time_column, "/task/weight_column": task.weight_column,
              "/split/column": spec.split.column}  # fmt: skip
    yield from ((pointer, name) for pointer, name in single.items() if name is not None)
    yield from ((f"/task/id_columns/{index}", name) for index, name in enumerate(task.id_columns))
    yield from ((f"/data/features/exclude/{index}", name) for index, name in enumerate(spec.data.features.exclude))
    named: dict[str, Iterable[str]] = {"/data/features/types": spec.data.features.types, "/validation/columns": spec.validation.columns,
             "/transform/columns": spec.transform.columns}  # fmt: skip
    for pointer, mentioned in named.items():
        for name in mentioned:
            yield pointer + step(name), name

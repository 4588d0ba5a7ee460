"""A folder-backed workspace and a context, so that tests run stages without a database or a store."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from app.spec.job import JobSpec, parse_spec
from app.storage import file_digest
from workers.context import Blob, Context, DatasetRef, Done, Outcome, Stage

DATASET_ID = "ds_00000000"


class FolderWorkspace:
    """Blobs are files named by their digest; artifacts are names of blobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        self.artifacts: dict[str, Blob] = {}
        self.scratch.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Path:
        """The file of the artifact `name`."""
        return self.fetch(self.artifacts[name])

    def fetch(self, blob: Blob) -> Path:
        """The file of `blob`."""
        path = self.folder / blob.digest.removeprefix("sha256:")
        if not path.exists():
            raise KeyError(blob.digest)
        return path

    def digest(self, name: str) -> str:
        """The digest of the artifact `name`."""
        return self.artifacts[name].digest

    def put(self, name: str, path: Path, media_type: str = "application/octet-stream") -> Blob:
        """Copies `path` in and records it as the artifact `name`."""
        self.artifacts[name] = blob = self.keep(path, media_type)
        return blob

    def keep(self, path: Path, media_type: str = "application/octet-stream") -> Blob:
        """Copies `path` in under its digest."""
        digest = file_digest(path).removeprefix("sha256:")
        if not (self.folder / digest).exists():
            shutil.copyfile(path, self.folder / digest)
        return Blob("sha256:" + digest, path.stat().st_size, media_type)


def as_file(table: pd.DataFrame | pa.Table | bytes | Path, folder: Path, filename: str) -> Path:
    """`table` as a file: a Path is itself, bytes are written as they are, a table as Parquet."""
    if isinstance(table, Path):
        return table
    path = folder / filename
    if isinstance(table, bytes):
        path.write_bytes(table)
        return path
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(arrow, path)
    return path


def make_context(
    tmp_path: Path,
    spec: Mapping[str, Any],
    *,
    table: pd.DataFrame | pa.Table | bytes | Path | None = None,
    filename: str = "table.parquet",
    **given: Any,
) -> Context:
    """A context whose data set `ds_00000000` holds `table`.

    `spec` may leave out `model` and `data.sources`; then the only source is that data set. `given` are further
    fields of Context (`seed`, `threads`, `champion`, ...).
    """
    workspace = FolderWorkspace(tmp_path)
    document = {"model": "test-model", **spec}
    document["data"] = {"sources": {"main": {"kind": "dataset", "dataset_id": DATASET_ID}}, **document.get("data", {})}
    datasets = dict(given.pop("datasets", {}))
    if table is not None:
        path = as_file(table, workspace.scratch, filename)
        name = path.name if isinstance(table, Path) else filename
        datasets[DATASET_ID] = DatasetRef(DATASET_ID, workspace.keep(path), format_of(name), name)
    given.setdefault("seed", 42)
    return Context(
        job_id="job_test", spec=parsed(document), workspace=workspace, datasets=datasets, **given
    )  # fmt: skip


def parsed(document: Mapping[str, Any]) -> JobSpec:
    """The spec that `document` says."""
    return parse_spec(dict(document))


def format_of(filename: str) -> str:
    """The format that a name's ending says, as an upload would record it."""
    return "csv.gz" if filename.endswith(".csv.gz") else filename.rsplit(".", 1)[-1]


def chain(ctx: Context, *stages: tuple[str, Stage]) -> tuple[Context, dict[str, Outcome]]:
    """Runs `stages`, given as (name, run), in order, carrying outputs; the last context and every outcome by name."""
    outcomes: dict[str, Outcome] = {}
    for name, run in stages:
        outcome = run(ctx)
        outcomes[name] = outcome
        if isinstance(outcome, Done):
            ctx = replace(ctx, outputs={**ctx.outputs, name: dict(outcome.output)})
    return ctx, outcomes


def codes(outcome: Outcome) -> set[str]:
    """The codes of an outcome's warnings."""
    warnings: Iterable[Any] = outcome.warnings if isinstance(outcome, Done) else ()
    return {warned.code for warned in warnings}

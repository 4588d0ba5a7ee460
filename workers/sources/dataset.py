"""Data sets that were uploaded."""

from app.errors import InvalidData
from app.spec.data import DatasetSource
from workers.context import Context
from workers.sources.base import SourceResult
from workers.sources.files import read_file


def read(source: DatasetSource, ctx: Context) -> SourceResult:
    """The uploaded file as a canonical table.

    Raises:
        InvalidData: the data set is gone, or its file cannot be read as a table.
    """
    dataset = ctx.datasets.get(source.dataset_id)
    if dataset is None:
        raise InvalidData(f"There is no data set {source.dataset_id} in this project.", code="unknown_dataset",
                          hint="Upload it with POST /v1/datasets.")  # fmt: skip
    path = ctx.workspace.fetch(dataset.blob)
    table = read_file(path, dataset.format, scratch=ctx.workspace.scratch, threads=ctx.threads, name=dataset.filename)
    return SourceResult(table, dataset.blob.size_bytes, 1)


def version(source: DatasetSource, ctx: Context) -> str | None:
    """The digest of the uploaded bytes and the format that they are read as; None where there is no such data set."""
    dataset = ctx.datasets.get(source.dataset_id)
    return None if dataset is None else f"{dataset.blob.digest} {dataset.format}"

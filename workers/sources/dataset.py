"""Data sets that were uploaded."""

from app.errors import InvalidData, bounded
from app.spec.data import DatasetSource
from workers.context import Context
from workers.sources.base import Part, SourceResult
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
    table = read_file(path, dataset.format, ctx, name=dataset.filename, columns=source.columns)
    part = Part(bounded(dataset.filename), dataset.blob.size_bytes, digest=dataset.blob.digest)
    return SourceResult(table, dataset.blob.size_bytes, 1, parts=(part,))


def version(source: DatasetSource, ctx: Context) -> str | None:
    """The digest of the uploaded bytes and the format that they are read as; None where there is no such data set."""
    dataset = ctx.datasets.get(source.dataset_id)
    return None if dataset is None else f"{dataset.blob.digest} {dataset.format}"

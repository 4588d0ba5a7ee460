"""A file behind a URL, fetched once from the address that was judged."""

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from app.connections import http
from app.egress import Egress, Fetched
from app.errors import SourceRefused, bounded
from app.settings import settings
from app.spec.data import HttpSource
from workers.context import Context
from workers.sources.base import MAX_EXPANDED_BYTES, Part, SourceResult, connection
from workers.sources.files import read_file
from workers.sources.sql import seconds_left

MEDIA_TYPES = {
    "text/csv": "csv", "application/csv": "csv", "text/tab-separated-values": "csv",
    "application/vnd.apache.parquet": "parquet", "application/x-ndjson": "jsonl", "application/jsonl": "jsonl",
    "application/json": "json", "application/vnd.apache.arrow.file": "arrow",
}  # fmt: skip


def read(source: HttpSource, ctx: Context) -> SourceResult:
    """The file at the URL as a canonical table.

    Raises:
        SourceRefused: `redirected`, `not_authorised`, `not_there`, `other_host`, `content_encoded`, `not_http`,
            `bad_certificate`, and other answers that the caller can mend.
        SourceUnavailable: the server does not answer in time, is at fault or busy, or broke off.
        EgressDenied: the URL may not be reached.
        TooLarge: the file is longer than may be read.
        InvalidData: what `read_file` refuses.
    """
    headers: dict[str, str] = {}
    if source.connection is not None:
        found = connection(ctx, source.connection, ("http",))
        headers = http.headers(source.url, found.config, found.secret)
    path = ctx.workspace.scratch / "fetched"
    try:
        got = Egress(settings()).get_to_file(
            source.url, path, headers, deadline_seconds=seconds_left(ctx), max_bytes=MAX_EXPANDED_BYTES,
            on_bytes=lambda count, total: ctx.progress(count, total or count + 1),
        )  # fmt: skip
        http.require_good(got.status)
        name, declared = _named(source, got)
        table = read_file(path, declared, ctx, name=name, columns=source.columns)
    finally:
        path.unlink(missing_ok=True)
    part = Part(bounded(name), got.size_bytes, f"sha256:{got.sha256}", _said(got, "etag"), _said(got, "last-modified"))
    return SourceResult(table, got.size_bytes, 1, (part,))


def _named(source: HttpSource, got: Fetched) -> tuple[str, str]:
    """The file's name and format: as declared, by the URL's last step, by its media type, and then by content.

    A body that the server packed although it was asked not to is read as what it is, where that is a packed CSV.
    """
    name = unquote(PurePosixPath(urlsplit(source.url).path).name)
    media = got.headers.get("content-type", "").partition(";")[0].strip().lower()
    declared = source.format
    if declared == "auto" and "." not in name:
        declared = MEDIA_TYPES.get(media, "auto")  # type: ignore[assignment]  # its values are formats
    packed = got.headers.get("content-encoding", "identity").strip().lower()
    if packed in {"", "identity"} or (packed in {"gzip", "x-gzip"} and name.lower().endswith(".gz")):
        return name, declared
    if packed in {"gzip", "x-gzip"} and (declared == "csv" or (declared == "auto" and name.lower().endswith(".csv"))):
        return name + ".gz", "csv.gz"
    raise SourceRefused(f"The server packed the file as {bounded(packed)!r}, although it was asked not to.",
                        code="content_encoded", hint="Have the server send the file as it is.")  # fmt: skip


def _said(got: Fetched, header: str) -> str | None:
    value = got.headers.get(header)
    return None if value is None else bounded(value)

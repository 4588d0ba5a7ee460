"""Files in an S3-compatible store: listed, fetched one by one into scratch, read like uploads."""

import re
import time
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from app.egress import resolve
from app.errors import InvalidData, SourceRefused, SourceUnavailable, TrainhouseError, Violation, bounded
from app.spec.data import S3Source
from workers.context import ConnectionRef, Context
from workers.sources.base import MAX_EXPANDED_BYTES, SourceResult, connection, without_secrets
from workers.sources.files import read_file

MAX_FILES = 10_000
CHUNK = 4 * 1024**2
CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 60.0
SILENT = ("NETWORK_CONNECTION", "INTERNAL_FAILURE", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "THROTTLING", "REQUEST_TIMEOUT",
          "Timeout", "timed out", "curlCode", "Connection refused")  # fmt: skip


def read(source: S3Source, ctx: Context) -> SourceResult:
    """Every file that `uri` names, as one canonical table in order of their names.

    Raises:
        SourceRefused: the store refuses the key, or there is no such bucket or file.
        SourceUnavailable: the store does not answer.
        EgressDenied: the endpoint may not be reached.
        InvalidData: a file cannot be read, or files have different columns.
    """
    found = connection(ctx, source.connection, ("s3",))
    try:
        store = _open(found)
        files = _files(store, source.uri.removeprefix("s3://"))
        tables, total = [], 0
        for number, info in enumerate(files):
            ctx.progress(number, len(files))
            total += info.size
            if total > MAX_EXPANDED_BYTES:
                raise InvalidData(f"The files of {bounded(source.uri)} are larger than {MAX_EXPANDED_BYTES:,} bytes.",
                                  code="too_large", hint="Name fewer files.")  # fmt: skip
            local = _fetch(store, info, ctx)
            tables.append(read_file(local, source.format, ctx, name=info.base_name, columns=source.columns))
            local.unlink()
    except OSError as error:
        raise _explained(error, found) from None
    return SourceResult(together(tables, [info.path for info in files]), total, len(files))


def _open(found: ConnectionRef) -> fs.S3FileSystem:
    """A client that never looks for credentials elsewhere; its endpoint passed the way out."""
    region = str(found.config.get("region") or "us-east-1")
    secure = bool(found.config.get("secure", True))
    endpoint = str(found.config.get("endpoint") or f"s3.{region}.amazonaws.com")
    endpoint = re.sub(r"^https?://", "", endpoint).rstrip("/")
    host, _, port = (
        endpoint.rpartition(":") if re.search(r":\d+$", endpoint) else (endpoint, "", "443" if secure else "80")
    )
    resolve(host.strip("[]"), int(port))
    return fs.S3FileSystem(
        access_key=found.secret.get("access_key", ""), secret_key=found.secret.get("secret_key", ""),
        session_token=found.secret.get("session_token"), region=region, endpoint_override=endpoint,
        scheme="https" if secure else "http", connect_timeout=CONNECT_SECONDS, request_timeout=REQUEST_SECONDS,
        allow_bucket_creation=False, allow_bucket_deletion=False,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=3),
    )  # fmt: skip


def _files(store: fs.S3FileSystem, pattern: str) -> list[fs.FileInfo]:
    """The files whose key fits `pattern`, sorted; at least one."""
    fixed = re.split(r"[*?]", pattern, maxsplit=1)[0]
    if fixed == pattern and not pattern.endswith("/"):
        info = store.get_file_info(pattern)
        if info.type == fs.FileType.File:
            return [info]
        fixed, pattern = pattern + "/", pattern + "/**"
    elif pattern.endswith("/"):
        pattern += "**"
    wanted = re.compile(glob_regex(pattern))
    listed = store.get_file_info(fs.FileSelector(fixed.rsplit("/", 1)[0], recursive=True, allow_not_found=True))
    files = sorted((info for info in listed if info.type == fs.FileType.File and info.size and wanted.fullmatch(info.path)
                    and not info.base_name.startswith(("_", "."))), key=lambda info: info.path)  # fmt: skip
    if not files:
        raise SourceRefused(f"No file fits s3://{bounded(pattern)}.", code="source_not_found",
                            hint="Check the bucket, the key and the pattern.")  # fmt: skip
    if len(files) > MAX_FILES:
        raise InvalidData(f"{len(files):,} files fit; at most {MAX_FILES:,} are read.", code="too_many_files")
    return files


def glob_regex(pattern: str) -> str:
    """`pattern` as a regular expression: `*` and `?` stay within one step of a path, `**` crosses steps."""
    signs = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    steps = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "".join(signs.get(step) or re.escape(step) for step in steps)


def _fetch(store: fs.S3FileSystem, info: fs.FileInfo, ctx: Context) -> Path:
    """A local copy, never longer than what was listed."""
    local = ctx.workspace.scratch / "fetched"
    with store.open_input_stream(info.path, compression=None) as remote, local.open("wb") as file:
        left = info.size
        while left and (chunk := remote.read(min(CHUNK, left))):
            left -= len(chunk)
            file.write(chunk)
            if time.monotonic() > ctx.deadline:
                raise SourceUnavailable(f"Reading {bounded(info.path)} took too long.")
    if left:
        raise SourceUnavailable(f"{bounded(info.path)} ended {left:,} bytes early.")
    return local


def together(tables: list[pa.Table], names: list[str]) -> pa.Table:
    """Tables of equal columns as one; a column's type is what fits all of its parts.

    Raises:
        InvalidData: `schema_mismatch`.
    """
    first = tables[0]
    faults = []
    for table, name in zip(tables[1:], names[1:], strict=True):
        if set(table.column_names) != set(first.column_names):
            differing = sorted(set(table.column_names) ^ set(first.column_names))[:10]
            faults.append(Violation(pointer=f"/files/{bounded(name)}", code="schema_mismatch",
                                    message="Differing columns: " + ", ".join(repr(bounded(column)) for column in differing)))  # fmt: skip
    if faults:
        raise InvalidData(f"{len(faults)} files have other columns than {bounded(names[0])}.", code="schema_mismatch",
                          hint="Read them as sources of their own and join them with features.sql.", violations=faults[:20])  # fmt: skip
    if len(tables) == 1:
        return first
    columns = [one_column([table.column(name) for table in tables]) for name in first.column_names]
    return pa.table(columns, names=first.column_names)


def one_column(parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Canonical columns end to end: numbers as numbers, otherwise as text where they differ."""
    kinds = {part.type for part in parts if part.null_count < len(part)}
    if len(kinds) <= 1:
        kind = next(iter(kinds), pa.float64())
    else:
        kind = pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.large_string()
    return pa.chunked_array([chunk for part in parts for chunk in _as_type(part, kind).chunks], kind)


def _as_type(part: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if part.null_count == len(part):
        return pa.chunked_array([pa.nulls(len(part), kind)])
    return part.cast(kind, safe=False)


def _explained(error: OSError, found: ConnectionRef) -> TrainhouseError:
    """Whose turn it is after the store's `error`."""
    text = without_secrets(str(error), found)
    silent = any(sign in text for sign in SILENT)
    detail = f"The store of connection {found.name!r} {'does not answer' if silent else 'refused'}: {bounded(text)}"
    return (
        SourceUnavailable(detail) if silent else SourceRefused(detail, hint="Check the key, the bucket and the region.")
    )

"""Files in an S3-compatible store: listed, fetched into scratch a few at a time, read like uploads."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from app.errors import InvalidData, SourceRefused, bounded
from app.spec.data import S3Source
from workers.context import Context
from workers.formats.files import by_name
from workers.sources.base import MAX_EXPANDED_BYTES, SHOWN_PARTS, SourceResult, connection
from workers.sources.files import Asked, parquet_ranges, read_files
from workers.sources.partitions import partitions, with_partitions
from workers.sources.store import MAX_FILES, Listed, Store
from workers.sources.together import of_several_kinds, together

BATCH_FILES, BATCH_BYTES = 50, 64 * 1024**2
"""So many files are on this machine at a time, and are read by one process."""
TAIL_BYTES = 64 * 1024
WORTH_RANGES_BYTES = 1024**2
GAP_BYTES = 256 * 1024
"""Bytes between two ranges that cost less than another request."""


def read(source: S3Source, ctx: Context) -> SourceResult:
    """Every file that `uri` names, as one canonical table in order of their names.

    Raises:
        SourceRefused: the store refuses the key, there is no such bucket or file, or a file changed meanwhile.
        SourceUnavailable: the store does not answer.
        EgressDenied: the endpoint may not be reached.
        InvalidData: a file cannot be read, or files have different columns.
    """
    store, files = _listed(source, ctx)
    steps = partitions([file.key for file in files], source.partitioning)
    keys = set(steps[0])
    wanted = None if source.columns is None else [name for name in source.columns if name not in keys] or None

    def tables_of(as_text: Sequence[str] = ()) -> tuple[list[pa.Table], int]:
        return _tables(source, ctx, store, files, columns=wanted, as_text=as_text)

    tables, came = tables_of()
    if torn := of_several_kinds(tables):  # one file of all rows would keep them as they are written
        tables.clear()
        tables, again = tables_of(torn)
        came += again
    names = [file.key for file in files]
    table = with_partitions(together(tables, names), [part.num_rows for part in tables], steps, source=source)
    shown = tuple(file.part for file in files[:SHOWN_PARTS])
    return SourceResult(table, came, len(files), parts=shown, version={"listing": _digest(files)})


def _tables(
    source: S3Source, ctx: Context, store: Store, files: Sequence[Listed], *,
    columns: Sequence[str] | None, as_text: Sequence[str],
) -> tuple[list[pa.Table], int]:  # fmt: skip
    """(the table of each file, how many bytes came for them)."""
    tables: list[pa.Table] = []
    came = 0
    for batch in _batches(files):
        ctx.progress(len(tables), len(files))
        asked: list[Asked] = []
        for file in batch:
            local = ctx.workspace.scratch / f"fetched-{len(tables) + len(asked)}"
            came += _fetch(store, file, local, source=source, columns=columns, ctx=ctx)
            if came > MAX_EXPANDED_BYTES:
                raise InvalidData(f"The files of {bounded(source.uri)} are larger than {MAX_EXPANDED_BYTES:,} bytes.",
                                  code="too_large", hint="Name fewer files or columns.")  # fmt: skip
            asked.append(Asked(local, source.format, file.key.rsplit("/", 1)[-1], columns, as_text))
        tables += read_files(asked, ctx)
        for one in asked:
            one.path.unlink()
    return tables, came


def version(source: S3Source, ctx: Context) -> str | None:
    """The digest of what the store lists: keys, sizes, ETags and times; no file is read. Raises as `read`."""
    return _digest(_listed(source, ctx)[1])


def _digest(files: Sequence[Listed]) -> str:
    whole = hashlib.sha256(b"trainhouse-listing-1")
    for file in files:
        modified = file.modified_at.timestamp() if file.modified_at and not file.etag else ""
        for said in (file.key, str(file.size), file.etag, str(modified)):
            whole.update(len(said.encode()).to_bytes(8, "little") + said.encode())
    return "sha256:" + whole.hexdigest()


def _listed(source: S3Source, ctx: Context) -> tuple[Store, list[Listed]]:
    """The store, and the files whose key fits the pattern, sorted; at least one."""
    bucket, _, pattern = source.uri.removeprefix("s3://").partition("/")
    store = Store(connection(ctx, source.connection, ("s3",)), bucket, ctx)
    fixed = re.split(r"[*?]", pattern, maxsplit=1)[0]
    if fixed == pattern and not pattern.endswith("/"):
        if (one := store.one(pattern)) is not None:
            return store, [one]
        fixed, pattern = pattern + "/", pattern + "/**"
    elif pattern.endswith("/"):
        pattern += "**"
    wanted = re.compile(glob_regex(pattern), re.DOTALL)
    files: list[Listed] = []
    for file in store.listed(fixed):
        if wanted.fullmatch(file.key) and not file.key.rsplit("/", 1)[-1].startswith(("_", ".")):
            files.append(file)
        if len(files) > MAX_FILES:
            raise InvalidData(f"More than {MAX_FILES:,} files fit; so many are not read.", code="too_many_files",
                              hint="Name a longer prefix.")  # fmt: skip
    if not files:
        raise SourceRefused(f"No file fits {bounded(source.uri)}.", code="source_not_found",
                            hint="Check the bucket, the key and the pattern.")  # fmt: skip
    return store, sorted(files, key=lambda file: file.key)


def glob_regex(pattern: str) -> str:
    """`pattern` as a regular expression: `*` and `?` stay within one step of a path, `**` crosses steps."""
    signs = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    steps = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "".join(signs.get(step) or re.escape(step) for step in steps)


def _batches(files: Sequence[Listed]) -> Iterator[list[Listed]]:
    batch: list[Listed] = []
    for file in files:
        if batch and (len(batch) == BATCH_FILES or sum(each.size for each in batch) + file.size > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(file)
    yield batch


def _fetch(
    store: Store, file: Listed, local: Path, *, source: S3Source, columns: Sequence[str] | None, ctx: Context
) -> int:
    """A local copy, of Parquet only the bytes that `columns` need; returns how many bytes came."""
    said = source.format if source.format != "auto" else by_name(file.key)
    if columns is None or said != "parquet" or file.size < WORTH_RANGES_BYTES:
        return store.fetch(file, local)
    with local.open("wb") as sparse:
        sparse.truncate(file.size)
    tail = min(file.size, TAIL_BYTES)
    came = store.fetch(file, local, [(file.size - tail, tail)])
    with local.open("rb") as sparse:
        sparse.seek(file.size - 8)
        footer = int.from_bytes(sparse.read(4), "little") + 8
        parquet = sparse.read(4) == b"PAR1" and footer < file.size
    if not parquet:  # its reader says best what is wrong with it
        return came + store.fetch(file, local)
    if footer > tail:
        came += store.fetch(file, local, [(file.size - footer, footer - tail)])
    with local.open("r+b") as sparse:
        sparse.write(b"PAR1")
    found = parquet_ranges(local, list(columns), ctx, size=file.size)
    return came + store.fetch(file, local, merged(found))


def merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(offset, length) ranges in order, those close to each other as one."""
    found: list[tuple[int, int]] = []
    for start, length in sorted(ranges):
        if found and start <= sum(found[-1]) + GAP_BYTES:
            found[-1] = (found[-1][0], max(sum(found[-1]), start + length) - found[-1][0])
        else:
            found.append((start, length))
    return found

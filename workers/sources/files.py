"""Files as tables: the format by name or content, one reader per format, hostile files refused with a reason."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from app.errors import InvalidData, bounded
from workers.canonical import canonical
from workers.sources.base import LARGE_BYTES, MAX_EXPANDED_BYTES, MAX_RATIO
from workers.sources.delimited import read_csv
from workers.sources.records import read_json

CHUNK = 1 << 20
MAGIC = [
    (b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip or Excel"),
    (b"\xff\xff\xff\xff", "arrow"), (b"\x93NUMPY", "NumPy"), (b"\x80\x04\x95", "pickle"), (b"%PDF", "PDF"),
    (b"\x89PNG", "PNG"), (b"SQLite format 3", "SQLite"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"ORC", "ORC"), (b"Obj\x01", "Avro"),
]  # fmt: skip


def read_file(path: Path, declared: str, *, scratch: Path, threads: int = 1, name: str = "") -> pa.Table:
    """The file at `path` as a canonical table; `declared` `auto` goes by `name` and then by content.

    Raises:
        InvalidData: `empty_file`, `no_rows`, `not_a_<format>`, `ragged_csv`, `not_utf8`, `duplicate_columns`,
            `gzip_bomb`, `too_many_columns`, `unsupported_type` and what the readers say of single rows.
    """
    if path.stat().st_size == 0:
        raise InvalidData(
            f"The file {_shown(name)} is empty.", code="empty_file", hint="Upload a file with a header and rows."
        )
    seen = sniff(path)
    wanted = declared if declared != "auto" else by_name(name) or {"gzip": "csv.gz"}.get(seen, seen)
    expected = {"csv.gz": "gzip", "parquet": "parquet", "arrow": "arrow"}.get(wanted)
    if (
        wanted not in READERS
        or (seen != expected if expected else seen not in {"text", "json", "html"})
        or seen == "html"
    ):
        raise not_a(wanted if wanted in READERS else "table", seen, name)
    table = canonical(READERS[wanted](path, scratch, threads))
    if table.num_rows == 0:
        raise InvalidData(f"The file {_shown(name)} holds no rows.", code="no_rows", hint="A header alone is no data.")
    return table


def not_a(wanted: str, seen: str, name: str) -> InvalidData:
    """The refusal of a file that is not what its name says."""
    looks = {"text": "plain text", "json": "JSON", "html": "a web page"}.get(seen, seen)
    return InvalidData(f"The file {_shown(name)} is not {wanted}; it looks like {looks}.",
                       code=f"not_a_{wanted.replace('.', '_')}", hint="Name the format that the file has.")  # fmt: skip


def _shown(name: str) -> str:
    return repr(bounded(name)) if name else "of the source"


def by_name(name: str) -> str | None:
    """The format that a file's name says, or None."""
    lower = name.lower()
    endings = {".csv.gz": "csv.gz", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet",
               ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".arrow": "arrow", ".feather": "arrow",
               ".ipc": "arrow"}  # fmt: skip
    return next((known for ending, known in endings.items() if lower.endswith(ending)), None)


def sniff(path: Path) -> str:
    """What the first bytes say: a binary kind by its magic number, otherwise json, html or text."""
    with path.open("rb") as file:
        head = file.read(4096)
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "html"
    return "json" if text.startswith((b"[", b"{")) else "text"


def unpack(path: Path, scratch: Path) -> Path:
    """The gzip file at `path` unpacked into `scratch`.

    Raises:
        InvalidData: `gzip_bomb` where it grows beyond the limits, `not_a_csv_gz` where it is broken.
    """
    target = scratch / f"{path.name}.unpacked"
    stored, grown = path.stat().st_size, 0
    try:
        with gzip.open(path, "rb") as packed, target.open("wb") as file:
            while chunk := packed.read(CHUNK):
                grown += len(chunk)
                if grown > MAX_EXPANDED_BYTES or (grown > LARGE_BYTES and grown > stored * MAX_RATIO):
                    raise InvalidData(f"The gzip file grows from {stored:,} to more than {grown:,} bytes.",
                                      code="gzip_bomb", hint="Upload Parquet, or smaller files.")  # fmt: skip
                file.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidData(f"The gzip file is broken: {bounded(error)}.", code="not_a_csv_gz",
                          hint="Upload the file again; it may have been cut short.") from None  # fmt: skip
    if grown == 0:
        raise InvalidData("The gzip file holds no bytes.", code="empty_file")
    return target


def _csv(path: Path, _scratch: Path, threads: int) -> pa.Table:
    return read_csv(path, threads=threads)


def _csv_gz(path: Path, scratch: Path, threads: int) -> pa.Table:
    unpacked = unpack(path, scratch)
    try:
        seen = sniff(unpacked)
        if seen not in {"text", "json"}:
            raise not_a("csv", seen, "inside the gzip file")
        return read_csv(unpacked, threads=threads)
    finally:
        unpacked.unlink()


def _json(path: Path, _scratch: Path, _threads: int) -> pa.Table:
    return read_json(path)


def _parquet(path: Path, _scratch: Path, threads: int) -> pa.Table:
    """Parquet, its declared size checked before a page is read."""
    try:
        file = pq.ParquetFile(path, arrow_extensions_enabled=False)
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        declared = sum(group.total_byte_size for group in groups)
        if declared > MAX_EXPANDED_BYTES or any(group.num_rows < 0 for group in groups):
            raise InvalidData(f"The Parquet file declares {declared:,} bytes.", code="too_large")
        return file.read(use_threads=threads > 1)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidData(f"The file is not readable as Parquet: {bounded(error)}.", code="not_a_parquet",
                          hint="Write it again; its footer or a page is broken.") from None  # fmt: skip


def _arrow(path: Path, _scratch: Path, _threads: int) -> pa.Table:
    """An Arrow IPC file or stream, every offset checked."""
    try:
        with pa.memory_map(str(path)) as source:
            opened = ipc.open_file(source) if path.read_bytes()[:6] == b"ARROW1" else ipc.open_stream(source)
            table = opened.read_all()
            table.validate(full=True)
            return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidData(f"The file is not readable as Arrow: {bounded(error)}.", code="not_a_arrow") from None


READERS: dict[str, Callable[[Path, Path, int], pa.Table]] = {
    "csv": _csv, "csv.gz": _csv_gz, "parquet": _parquet, "json": _json, "jsonl": _json, "arrow": _arrow,
}  # fmt: skip

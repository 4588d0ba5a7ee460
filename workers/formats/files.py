"""Files as tables: the format by name or content, one reader per format, hostile files refused with a reason."""

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from app.errors import InvalidData, bounded
from workers.formats.columnar import read_arrow, read_parquet
from workers.formats.delimited import read_csv
from workers.formats.limits import Limits
from workers.formats.names import require_known
from workers.formats.records import read_json
from workers.table.canonical import canonical, column_names

LIMITS = Limits()
CHUNK = 1 << 20
MAGIC = [
    (b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip or Excel"),
    (b"\xff\xff\xff\xff", "arrow"), (b"\x93NUMPY", "NumPy"), (b"\x80\x04\x95", "pickle"), (b"%PDF", "PDF"),
    (b"\x89PNG", "PNG"), (b"SQLite format 3", "SQLite"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"ORC", "ORC"), (b"Obj\x01", "Avro"),
]  # fmt: skip


@dataclass(frozen=True)
class Given:
    """What a reader may use: a folder for what it unpacks, threads, how far a file may grow; and what stays text."""

    scratch: Path
    threads: int
    limits: Limits
    as_text: Sequence[str] = ()


Columns = Sequence[str] | None


def read_file(  # noqa: PLR0913  # what is asked of a file
    path: Path, declared: str, *, scratch: Path, threads: int = 1, name: str = "", columns: Columns = None,
    as_text: Sequence[str] = (), limits: Limits = LIMITS,
) -> pa.Table:  # fmt: skip
    """The file at `path` as a canonical table; `declared` `auto` goes by `name` and then by content.

    Args:
        columns: Only these, in this order; None means all.
        as_text: Columns whose text stays as it is written, whatever it says.

    Raises:
        InvalidData: `empty_file`, `no_rows`, `not_a_<format>`, `ragged_csv`, `not_utf8`, `duplicate_columns`,
            `gzip_bomb`, `too_many_columns`, `unknown_column`, `unsupported_type` and what the readers say of rows.
    """
    if path.stat().st_size == 0:
        raise InvalidData(
            f"The file {_shown(name)} is empty.", code="empty_file", hint="Upload a file with a header and rows."
        )
    wanted = _format(path, declared, name)
    chosen = None if columns is None else list(dict.fromkeys(columns))
    table = READERS[wanted](path, chosen, Given(scratch, threads, limits, as_text))
    if table.num_rows == 0:
        raise InvalidData(f"The file {_shown(name)} holds no rows.", code="no_rows", hint="A header alone is no data.")
    return table


def _format(path: Path, declared: str, name: str) -> str:
    """The reader's name, after the file's first bytes agreed."""
    seen = sniff(path)
    wanted = declared if declared != "auto" else by_name(name) or {"gzip": "csv.gz"}.get(seen, seen)
    wanted = {"text": "csv"}.get(wanted, wanted) if declared == "auto" else wanted
    expected = {"csv.gz": {"gzip"}, "parquet": {"parquet"}, "arrow": {"arrow"}}.get(wanted, {"text", "json"})
    if wanted not in READERS or seen not in expected:
        raise not_a(wanted if wanted in READERS else "table", seen, name)
    return wanted


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


def unpack(path: Path, scratch: Path, limits: Limits) -> Path:
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
                if grown > limits.expanded_bytes or (grown > limits.large_bytes and grown > stored * limits.ratio):
                    raise InvalidData(f"The gzip file grows from {stored:,} to more than {grown:,} bytes.",
                                      code="gzip_bomb", hint="Upload Parquet, or smaller files.")  # fmt: skip
                file.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidData(f"The gzip file is broken: {bounded(error)}.", code="not_a_csv_gz",
                          hint="Upload the file again; it may have been cut short.") from None  # fmt: skip
    if grown == 0:
        raise InvalidData("The gzip file holds no bytes.", code="empty_file")
    return target


def _csv(path: Path, columns: Columns, given: Given) -> pa.Table:
    return read_csv(path, columns, as_text=given.as_text)


def _csv_gz(path: Path, columns: Columns, given: Given) -> pa.Table:
    unpacked = unpack(path, given.scratch, given.limits)
    try:
        seen = sniff(unpacked)
        if seen not in {"text", "json"}:
            raise not_a("csv", seen, "inside the gzip file")
        return read_csv(unpacked, columns, as_text=given.as_text)
    finally:
        unpacked.unlink()


def _json(path: Path, columns: Columns, given: Given) -> pa.Table:
    table = read_json(path)
    if columns is not None:
        named = column_names(table.column_names)
        require_known(columns, named)
        table = table.select([named.index(name) for name in columns])
    return canonical(table, as_text=given.as_text)


def _parquet(path: Path, columns: Columns, given: Given) -> pa.Table:
    return canonical(read_parquet(path, columns, threads=given.threads, limits=given.limits), as_text=given.as_text)


def _arrow(path: Path, columns: Columns, given: Given) -> pa.Table:
    return canonical(read_arrow(path, columns), as_text=given.as_text)


READERS: dict[str, Callable[[Path, Columns, Given], pa.Table]] = {
    "csv": _csv, "csv.gz": _csv_gz, "parquet": _parquet, "json": _json, "jsonl": _json, "arrow": _arrow,
}  # fmt: skip

"""Inside the confined child: files become tables, and tables Arrow files that the worker maps into its memory.

What went wrong with a file is written beside them as JSON; the worker trusts neither more than it must.
"""

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from app.errors import InvalidData, TrainhouseError
from workers.formats.columnar import byte_ranges
from workers.formats.files import read_file
from workers.formats.limits import Limits
from workers.isolation.sandbox import confine
from workers.table.canonical import canonical

ANSWER = "answer.json"
MAX_VIOLATIONS = 100
FULL = {errno.EFBIG, errno.ENOSPC, errno.EDQUOT}


def parse(*, files: Sequence[dict[str, Any]], folder: str, threads: int, limits: dict[str, Any]) -> None:
    """Reads each of `files` (keyword arguments of `read_file`) into `<folder>/<position>.arrow`, and says how it went."""
    bounds, into = Limits(**limits), Path(folder)
    said = _confined([file["path"] for file in files], into, bounds)
    pa.set_cpu_count(threads)
    try:
        for number, asked in enumerate(files):
            said["file"] = number
            table = read_file(**{**asked, "path": Path(asked["path"])}, scratch=into, threads=threads, limits=bounds)
            _write(table, into / f"{number}.arrow")
            del table
            pa.default_memory_pool().release_unused()
        said["done"] = True
    except Exception as error:  # noqa: BLE001  # whatever a file brings about is an answer
        said |= refusal(error)
    _answer(into, said)


def layout(*, path: str, folder: str, columns: Sequence[str], size: int, limits: dict[str, Any]) -> None:
    """Says which bytes of a Parquet file of `size` bytes hold `columns`; the file at `path` need hold only its footer."""
    bounds, into = Limits(**limits), Path(folder)
    said = _confined([path], into, bounds)
    try:
        said |= {"ranges": byte_ranges(Path(path), columns, size=size), "done": True}
    except Exception as error:  # noqa: BLE001  # whatever a file brings about is an answer
        said |= refusal(error)
    _answer(into, said)


def warm() -> None:
    """Loads what Arrow loads only when it is first used, so that no child has to."""
    canonical(pa.table({"number": ["1"], "time": ["2000-01-01"], "truth": ["true"], "word": ["x"]}))


def _confined(read: Sequence[str], write: Path, limits: Limits) -> dict[str, Any]:
    walls = confine(
        read=[Path(path) for path in read], write=write, memory_bytes=limits.memory_bytes,
        cpu_seconds=limits.cpu_seconds, file_bytes=limits.expanded_bytes,
    )  # fmt: skip
    # Arrow's own pool reserves address space by the gigabyte, which the limit would count
    pa.set_memory_pool(pa.system_memory_pool())
    return {"walls": walls, "done": False, "file": 0}


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _answer(folder: Path, said: dict[str, Any]) -> None:
    (folder / ANSWER).write_text(json.dumps(said), encoding="utf-8")


def refusal(error: Exception) -> dict[str, Any]:
    """`error` as JSON; of one that has no name on the page of errors only its type is told, for its text may hold data."""
    if isinstance(error, TrainhouseError):
        document = error.document()
        return {"refusal": {**document, "errors": document["errors"][:MAX_VIOLATIONS]}}
    if isinstance(error, MemoryError | RecursionError):
        return {"refusal": out_of_memory().document()}
    if isinstance(error, UnicodeError):
        return {"refusal": InvalidData("A name or a value in the file is not UTF-8.", code="not_utf8",
                                       hint="Write the file again as UTF-8.").document()}  # fmt: skip
    if isinstance(error, OSError) and error.errno in FULL:
        return {"refusal": InvalidData("The file grows beyond its limit while it is read.", code="too_large",
                                       hint="Split it, or leave columns out with `columns`.").document()}  # fmt: skip
    return {"broke": type(error).__name__}


def out_of_memory() -> InvalidData:
    """The refusal of a file that takes more memory than reading it may."""
    return InvalidData("Reading the file takes more memory than a file of its size may.", code="out_of_memory",
                       hint="Leave columns out with `columns`, split the file, or raise resources.memory_bytes.")  # fmt: skip

"""Files of callers as tables: parsed in a confined process of their own, mapped into this one's memory."""

import json
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from app.errors import DeadlineExceeded, InvalidData, MachineError, TrainhouseError, Violation
from trainhouse_loader.reading.arrow import TYPE_NAMES
from workers.context import Context
from workers.formats.limits import Limits
from workers.isolation import fresh
from workers.isolation.parsing import ANSWER, out_of_memory

GIB = 1024**3
LEAST_MEMORY_BYTES = 2 * GIB
MEMORY_PER_BYTE = 24
"""A row of a packed file may take so many times its bytes in memory before the file counts as hostile."""
LEAST_CPU_SECONDS = 120
CPU_BYTES_PER_SECOND = 500_000
MAX_ANSWER_BYTES = 4 * 1024**2


@dataclass(frozen=True)
class Asked:
    """A local file of a caller, what it is said to be, its own name, the columns wanted (None: all), those kept as text."""

    path: Path
    format: str = "auto"
    name: str = ""
    columns: Sequence[str] | None = None
    as_text: Sequence[str] = ()


def read_file(
    path: Path, declared: str, ctx: Context, *, name: str = "", columns: Sequence[str] | None = None
) -> pa.Table:
    """The file at `path` as a canonical table; `declared` `auto` goes by `name` and then by content.

    Raises:
        InvalidData: what `workers.formats.files.read_file` says of the file; `parser_crashed`, `too_large` or
            `out_of_memory` where reading it broke its process or the process's limits.
        DeadlineExceeded, and what `ctx.progress` raises.
    """
    return read_files([Asked(path, declared, name, columns)], ctx)[0]


def read_files(files: Sequence[Asked], ctx: Context) -> list[pa.Table]:
    """Each of `files` as a canonical table, all read by one process; raises as `read_file`."""
    request = {"files": [{"path": str(file.path.resolve()), "declared": file.format, "name": file.name,
                          "columns": None if file.columns is None else list(file.columns),
                          "as_text": list(file.as_text)} for file in files],
               "threads": ctx.threads}  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="parse-", dir=ctx.workspace.scratch))
    try:
        _run("parse", request, ctx, folder=folder, size=sum(file.path.stat().st_size for file in files))
        return [_mapped(folder / f"{number}.arrow") for number in range(len(files))]
    finally:
        shutil.rmtree(folder)


def parquet_ranges(footer: Path, columns: Sequence[str], ctx: Context, *, size: int) -> list[tuple[int, int]]:
    """(offset, length) of the bytes that hold `columns` in a Parquet file of `size` bytes.

    Args:
        footer: A file of that size whose footer is in place; the rest may be empty.

    Raises:
        InvalidData: as `read_file`.
    """
    request = {"path": str(footer.resolve()), "columns": list(columns), "size": size}
    folder = Path(tempfile.mkdtemp(prefix="parse-", dir=ctx.workspace.scratch))
    try:
        said = _run("layout", request, ctx, folder=folder, size=0)
        found = [(int(start), int(length)) for start, length in said["ranges"]]
    finally:
        shutil.rmtree(folder)
    if any(start < 0 or length < 0 or start + length > size for start, length in found):
        raise MachineError("The confined process gave an answer that it could not give.")
    return found


def limits_for(size: int, ctx: Context) -> Limits:
    """What reading `size` bytes may take: memory and processor time by size, within the machine and the job's own."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = min(max(LEAST_MEMORY_BYTES, size * MEMORY_PER_BYTE), max(LEAST_MEMORY_BYTES, machine - GIB))
    if ctx.spec.resources.memory_bytes is not None:
        memory = min(memory, ctx.spec.resources.memory_bytes)
    seconds = LEAST_CPU_SECONDS + size / CPU_BYTES_PER_SECOND
    left = max(1.0, ctx.deadline - time.monotonic()) * ctx.threads
    return Limits(memory_bytes=memory, cpu_seconds=math.ceil(min(seconds, left)))


def _run(kind: str, request: dict[str, Any], ctx: Context, *, folder: Path, size: int) -> dict[str, Any]:
    """What the confined process answered to `request`; raises what went wrong with the file."""
    folder = folder.resolve()
    limits = asdict(limits_for(size, ctx))
    try:
        ended = fresh.ask(
            kind, {**request, "folder": str(folder), "limits": limits}, ends=ctx.deadline,
            tick=lambda: ctx.progress(0, 1),
        )  # fmt: skip
    except TimeoutError:
        raise DeadlineExceeded("Reading a file ran past the job's time limit.") from None
    except ConnectionError:
        raise MachineError("The process that reads files ended without an answer.") from None
    said = _answer(folder / ANSWER)
    if "refusal" in said:
        raise refused(said["refusal"])
    if ended.exit != 0 or not said.get("done"):
        ctx.log(f"reading a file broke: {said.get('broke', 'no word')}, exit {ended.exit}, signal {ended.signal}")
        raise _crashed(ended)
    return said


def _answer(path: Path) -> dict[str, Any]:
    """What the process wrote; nothing where it did not come to it."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(MAX_ANSWER_BYTES))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def refused(document: Mapping[str, Any]) -> TrainhouseError:
    """The error that the confined process put into words."""
    faults = [
        Violation(pointer=fault["pointer"], code=fault["code"], message=fault["message"], hint=fault["hint"])
        for fault in document["errors"]
    ]
    return InvalidData(document["detail"], code=document["code"], hint=document["hint"], violations=faults)


def _crashed(ended: fresh.Ended) -> InvalidData:
    """Why the process ended, as a fault of the file: it is not read again."""
    if ended.signal == signal.SIGXCPU:
        return InvalidData("Reading the file takes more processor time than a file of its size may.", code="too_large",
                           hint="Split it, or write it as Parquet.")  # fmt: skip
    if ended.signal == signal.SIGKILL:
        return out_of_memory()
    return InvalidData("The file broke the process that read it.", code="parser_crashed",
                       hint="Write the file again with another program, or as CSV.")  # fmt: skip


def _mapped(path: Path) -> pa.Table:
    """The table at `path` without a copy; its file has no name any more, and goes with the last use of the table."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    path.unlink()
    if any(kind not in TYPE_NAMES for kind in table.schema.types):
        raise MachineError("The confined process gave a table that is not canonical.")
    table.validate(full=True)  # what a broken process wrote must not break this one
    return table

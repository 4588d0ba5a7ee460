"""JSON: an array of records, or one record a line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from app.errors import InvalidData, bounded
from app.spec.base import MAX_COLUMNS
from trainhouse_loader.reading.nested import nested_text

BLOCK_BYTES = 16 * 1024**2


def read_json(path: Path) -> pa.Table:
    """The records at `path` as a table; a column whose values are of several kinds becomes text.

    Raises:
        InvalidData: `not_a_json` with the line or record, `not_utf8`, `duplicate_columns`, `too_many_columns`.
    """
    if _first_sign(path) != b"[":
        try:
            return pajson.read_json(path, read_options=pajson.ReadOptions(use_threads=False, block_size=BLOCK_BYTES))
        except pa.ArrowException:
            return _table(_lines(path))
    return _table(_array(path))


def _first_sign(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidData(f"The file is not UTF-8: byte {error.start:,} cannot be read.", code="not_utf8",
                          hint="Save the file as UTF-8.") from None  # fmt: skip


def _array(path: Path) -> list[Any]:
    try:
        found = json.loads(_decoded(path), object_pairs_hook=_record)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"The file is not readable as JSON: {bounded(error)}.", code="not_a_json",
                          hint="Give an array of records, or one record a line.") from None  # fmt: skip
    return found if isinstance(found, list) else [found]


def _lines(path: Path) -> list[Any]:
    text = _decoded(path)
    records = []
    for number, line in enumerate(text.splitlines() if "\n" in text else [text], start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, object_pairs_hook=_record))
        except (ValueError, RecursionError) as error:
            raise InvalidData(f"Line {number:,} is not readable as JSON: {bounded(error)}.", code="not_a_json",
                              hint="Give an array of records, or one record a line.") from None  # fmt: skip
    return records


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidData(f"A record names {bounded(twice)!r} twice.", code="duplicate_columns",
                          hint="Give every value its own name.")  # fmt: skip
    return record


def _table(records: list[Any]) -> pa.Table:
    """Records as columns in order of first appearance."""
    names: dict[str, None] = {}
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise InvalidData(f"Record {number:,} is no object with named values.", code="not_a_json",
                              hint="Give an array of records, or one record a line.")  # fmt: skip
        if not record.keys() <= names.keys():
            names.update(dict.fromkeys(record))
        if len(names) > MAX_COLUMNS:
            raise InvalidData(f"The records name more than {MAX_COLUMNS:,} columns.", code="too_many_columns",
                              hint="Give every record the same names, or leave columns out.")  # fmt: skip
    try:
        return pa.table({name: _column([record.get(name) for record in records]) for name in names})
    except UnicodeEncodeError:
        raise InvalidData("The text holds a lone surrogate, which is no character.", code="not_utf8",
                          hint="Write the file as UTF-8.") from None  # fmt: skip


def _column(values: list[Any]) -> pa.Array:
    """Values of one kind as that kind, of several kinds as text."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds or kinds in ({bool}, {str}):
        return pa.array(values)
    if kinds <= {int, float}:
        try:
            return pa.array(values, pa.int64() if kinds == {int} else pa.float64())
        except (OverflowError, pa.ArrowInvalid):
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _as_text(value) for value in values], pa.large_string())


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return nested_text(value) if isinstance(value, dict | list) else repr(value)

"""Results as JSON lines: one line for each run of a system on a table with a seed and a budget, the newest counts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "results.jsonl"
KEY = ("table", "system", "seed", "seconds")


def key_of(record: dict[str, Any]) -> tuple[Any, ...]:
    """What a record is about."""
    return tuple(record[name] for name in KEY)


def kept(file: Path = FILE) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The newest record of each key; a last line that a crash cut short is passed over."""
    return {key_of(record): record for record in _lines(file)}


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def append(record: dict[str, Any], file: Path = FILE) -> None:
    """Writes one line, whole, after whatever stands there."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    with file.open("a", encoding="utf-8") as out:
        out.write(("" if text.endswith("\n") or not text else "\n") + json.dumps(record, sort_keys=True) + "\n")

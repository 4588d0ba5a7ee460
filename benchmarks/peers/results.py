"""Results as JSON lines: one for each run of a system on a table with a seed, a budget and a machine; the newest counts.

Systems are compared only on runs of one machine.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "results.jsonl"
KEY = ("table", "system", "seed", "seconds", "machine")
Record = dict[str, Any]
Records = Mapping[tuple[Any, ...], Record]


def key_of(record: Record) -> tuple[Any, ...]:
    """What a record is about."""
    return tuple(record[name] for name in KEY)


def kept(file: Path = FILE) -> dict[tuple[Any, ...], Record]:
    """The newest record of each key; a last line that a crash cut short is passed over."""
    return {key_of(record): record for record in _lines(file)}


def by_machine(known: Records, table: str, seed: int, seconds: int) -> dict[str, dict[str, Record]]:
    """By machine and system, the records of one contest."""
    found: dict[str, dict[str, Record]] = {}
    for record in known.values():
        if (record["table"], record["seed"], record["seconds"]) == (table, seed, seconds):
            found.setdefault(record["machine"], {})[record["system"]] = record
    return found


def contest(known: Records, table: str, seed: int, seconds: int, systems: Collection[str]) -> dict[str, Record]:
    """By system, the records of the machine on which all `systems` ran, of several the last; else empty."""
    whole = [
        {name: records[name] for name in systems}
        for records in by_machine(known, table, seed, seconds).values()
        if records.keys() >= set(systems)
    ]
    return max(whole, key=lambda records: max(record["at"] for record in records.values()), default={})


def _lines(file: Path) -> Iterator[Record]:
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def append(record: Record, file: Path = FILE) -> None:
    """Writes one line, whole, after whatever stands there."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    with file.open("a", encoding="utf-8") as out:
        out.write(("" if text.endswith("\n") or not text else "\n") + json.dumps(record, sort_keys=True) + "\n")

"""`trainhouse verify`: checks receipts, their chain, and the verdict, from files alone."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.errors import InvalidData
from app.receipts import Broken, fingerprint, verify_chain

CLOSE = 1e-12
"""Two computations of one value may differ by their last bits on another processor."""


def check(paths: list[Path], *, key: str | None, rows: Path | None, say: Callable[[str], Any]) -> int:
    """Says what it finds; 0 where all holds, 1 where something does not, 2 where a file cannot be read."""
    try:
        receipts = [receipt for path in paths for receipt in _read(path)]
    except (OSError, ValueError) as error:
        say(f"trainhouse: {error}")
        return 2
    try:
        verify_chain(receipts, public_key=key)
    except Broken as why:
        say(f"BROKEN  {why}")
        return 1
    for receipt in receipts:
        document = receipt["document"]
        say(
            f"ok      {document['model']} version {document['version']}, verdict {_verdict(document)}, "
            f"signed by {fingerprint(receipt['public_key'])}"
        )
    if key is None:
        say("        compare the key with GET /v1/signing-keys, or give it with --key")
    return 0 if rows is None else _recomputed(receipts[-1]["document"], rows, say)


def _verdict(document: Mapping[str, Any]) -> str:
    found = (document["gate"]["found"] or {}).get("verdict", "none")
    approval = document["approval"]
    return f"{found}, approved by {approval['decided_by']}" if approval else str(found)


def _read(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    several = found["items"] if isinstance(found, dict) and "items" in found else found
    return several if isinstance(several, list) else [several]


def _recomputed(document: Mapping[str, Any], rows: Path, say: Callable[[str], Any]) -> int:
    import hashlib  # noqa: PLC0415  # only this part needs them

    from workers import pinned  # noqa: PLC0415
    from workers.threads import limited  # noqa: PLC0415

    digest = "sha256:" + hashlib.sha256(rows.read_bytes()).hexdigest()
    if digest != document["predictions"]["judged"]:
        say(f"BROKEN  {rows.name} has the digest {digest}, and the receipt names {document['predictions']['judged']}")
        return 1
    try:
        with limited(1):
            found = pinned.recomputed(rows, document)
    except InvalidData as error:
        say(f"BROKEN  {error.detail}")
        return 1
    faults = [
        *_metric_faults(document["metrics"], found["metrics"]),
        *_gate_faults(document["gate"]["found"] or {}, found["gate"]),
    ]
    for fault in faults:
        say(f"BROKEN  {fault}")
    if not faults:
        say(
            f"ok      {len(found['metrics'])} metrics with intervals and {len(found['gate']['rules'])} rules come out the same again"
        )
    return 1 if faults else 0


def _metric_faults(said: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: the receipt says {end} {entry.get(end)}, the rows give {found[name].get(end)}"
        for name, entry in said.items()
        for end in ("value", "low", "high")
        if not _same(entry.get(end), found[name].get(end))
    ]


def _gate_faults(said: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    if said.get("verdict") != found["verdict"]:
        return [f"the gate: the receipt says {said.get('verdict')}, the rows give {found['verdict']}"]
    return [
        f"rule {place}: the receipt says {one['verdict']} at {one.get('value')}, the rows give {two['verdict']} at {two.get('value')}"
        for place, (one, two) in enumerate(zip(said["rules"], found["rules"], strict=True), start=1)
        if one["verdict"] != two["verdict"] or not _same(one.get("value"), two.get("value"))
    ]


def _same(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    return abs(one - two) <= CLOSE * max(1.0, abs(one))

"""`trainhouse verify`: checks receipts, their chain, and the verdict, from files alone."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from app.errors import InvalidData
from app.receipts import Broken, fingerprint, verify_chain

CLOSE = 1e-12
"""Two computations of one value may differ by their last bits on another processor."""


def check(
    paths: list[Path], *, key: str | None, rows: Path | None, say: Callable[[str], Any], bundle: Path | None = None
) -> int:
    """Says what it finds; 0 where all holds, 1 where something does not, 2 where a file cannot be read.

    Args:
        key: The public key that must have signed the receipts.
        rows: The artifact `judged` of the last receipt's job.
        bundle: The bundle of the last receipt's version.
    """
    try:
        pages = [_read(path) for path in paths]
        receipts = [receipt for page in pages for receipt in page.receipts]
        absent = [path for path in (rows, bundle) if path is not None and not path.is_file()]
    except (OSError, ValueError) as error:
        say(f"trainhouse: {error}")
        return 2
    if absent or not receipts:
        say(f"trainhouse: {f'{absent[0]} is no file' if absent else 'there is no receipt'}")
        return 2
    if pages[-1].more:
        say(
            f"trainhouse: {paths[-1].name} is not the last page: get the next one with ?cursor=… of its next_cursor, "
            "and name all pages in order"
        )
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
    last = receipts[-1]["document"]
    faults = 0 if bundle is None else _of_bundle(last, bundle, say)
    return faults if rows is None else max(faults, _recomputed(last, rows, say))


def _of_bundle(document: Mapping[str, Any], bundle: Path, say: Callable[[str], Any]) -> int:
    digest, named = _digest(bundle), document["bundle"]["digest"]
    if digest != named:
        say(f"BROKEN  {bundle.name} has the digest {digest}, and the receipt names {named}")
        return 1
    say(f"ok      {bundle.name} is the bundle that the receipt names")
    return 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _verdict(document: Mapping[str, Any]) -> str:
    found = (document["gate"]["found"] or {}).get("verdict", "none")
    approval = document["approval"]
    return f"{found}, approved by {approval['decided_by']}" if approval else str(found)


class _Page(NamedTuple):
    receipts: list[dict[str, Any]]
    more: bool


def _read(path: Path) -> _Page:
    found = json.loads(path.read_text(encoding="utf-8"))
    paged = isinstance(found, dict) and "items" in found
    several = found["items"] if paged else found
    return _Page(several if isinstance(several, list) else [several], paged and found.get("next_cursor") is not None)


def _recomputed(document: Mapping[str, Any], rows: Path, say: Callable[[str], Any]) -> int:
    from workers import pinned  # noqa: PLC0415  # only this part needs them
    from workers.reuse import code_digest  # noqa: PLC0415
    from workers.threads import limited  # noqa: PLC0415

    digest = _digest(rows)
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
    made_by = document.get("made_by", {}).get("code")
    other = made_by is not None and made_by != code_digest()
    for fault in faults:
        say(f"{'differs' if other else 'BROKEN '} {fault}")
    if faults and other:
        say(f"trainhouse: other code made this version ({made_by}), and may have computed otherwise: use that release")
        return 2
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

"""Estimators as files: skops with a fixed allow-list, and the same state always as the same bytes."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import skops.io

EPOCH = (1980, 1, 1, 0, 0, 0)


def dump(state: Any, path: Path) -> None:
    """Writes `state` (plain values, arrays, estimators of scikit-learn) to `path`."""
    path.write_bytes(constant_bytes(skops.io.dumps(state)))


def constant_bytes(packed: bytes) -> bytes:
    """A skops file without what differs from one dump to the next: addresses, names made of them, and times."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files.pop("schema.json"))
    names = {name: hashlib.sha256(data).hexdigest()[:32] + Path(name).suffix for name, data in files.items()}
    _renumber(schema, {}, names)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        stored = {names[name]: data for name, data in files.items()}
        for name in sorted(stored):
            _add(archive, name, stored[name])
        _add(archive, "schema.json", json.dumps(schema, separators=(",", ":")).encode())
    return target.getvalue()


def _renumber(node: Any, seen: dict[int, int], names: dict[str, str]) -> None:
    """Object ids become 1, 2, 3 … in document order; files are called by their content."""
    if isinstance(node, dict):
        if "__id__" in node:
            node["__id__"] = seen.setdefault(node["__id__"], len(seen) + 1)
        if node.get("file") in names:
            node["file"] = names[node["file"]]
        for inner in node.values():
            _renumber(inner, seen, names)
    elif isinstance(node, list):
        for inner in node:
            _renumber(inner, seen, names)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=EPOCH)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)

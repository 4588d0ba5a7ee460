"""A bundle's bytes: a canonical zip whose manifest covers every one of them.

The same content always packs to the same bytes, so a bundle proves itself: it is opened by packing its content again
and comparing. Nothing in it is pickled, and nothing in it is code.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainhouse_loader.errors import DigestMismatch, bounded

FORMAT = "trainhouse-bundle-1"
MANIFEST = "manifest.json"
FILE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}(\.[a-z0-9]{1,8})?")
MOST_FILES = 400
OF_MLFLOW = frozenset({"registered_model_meta"})
"""What MLflow lays beside the files of a model that it takes from its registry; it is never read here."""


def canonical_json(value: Any) -> bytes:
    """`value` as sorted, indented UTF-8 JSON with a newline at the end."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def manifest_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The digest and size of every file, by name."""
    return {
        "format": FORMAT,
        "files": {
            name: {"sha256": hashlib.sha256(files[name]).hexdigest(), "size_bytes": len(files[name])}
            for name in sorted(files)
        },
    }


def pack(files: Mapping[str, bytes], path: Path) -> dict[str, Any]:
    """Writes `files` and their manifest to the zip `path`, and returns the manifest; equal files give equal bytes.

    Raises:
        ValueError: a name is not a plain file name.
    """
    with path.open("wb") as target:
        return _pack(files, target)


def _pack(files: Mapping[str, bytes], target: Any) -> dict[str, Any]:
    manifest = manifest_of(files)
    content = {**files, MANIFEST: canonical_json(manifest)}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            if not FILE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no plain file name")
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content[name])
    return manifest


def unpack(path: Path, *, digest: str | None = None) -> dict[str, bytes]:
    """The files of the bundle at `path`, a zip or the folder that it was unpacked to, without the manifest, each checked.

    Args:
        digest: `sha256:…` of the zip that is expected, as the registry and receipts name it.

    Raises:
        DigestMismatch: any byte differs from what `pack` wrote, a file is missing or was added, or it is another bundle.
    """
    given = _folder(path) if path.is_dir() else path.read_bytes()
    files = given if isinstance(given, dict) else _entries(given)
    manifest = files.pop(MANIFEST, None)
    if manifest is None:
        raise DigestMismatch("The bundle has no manifest.")
    _require_known(manifest)
    again = io.BytesIO()
    _pack(files, again)
    packed = again.getbuffer()
    whole = manifest == canonical_json(manifest_of(files)) if isinstance(given, dict) else packed == given
    if not whole:
        raise DigestMismatch("The bundle is not what its manifest says.")
    if digest is not None and digest != "sha256:" + hashlib.sha256(packed).hexdigest():
        raise DigestMismatch("This is a bundle, but not the one that was asked for.")
    return files


def _require_known(manifest: bytes) -> None:
    """Nothing, where a manifest is of this format, or says nothing of its own."""
    try:
        said = json.loads(manifest).get("format", FORMAT)
    except (ValueError, AttributeError, RecursionError):
        return  # it will not be what was packed
    if said != FORMAT:
        raise DigestMismatch(
            f"The bundle is of format {bounded(said)!r}, and this loader knows {FORMAT!r}.", code="unknown_format",
            hint="Install the trainhouse-loader that the requirements.txt of the bundle names.",
        )  # fmt: skip


def _folder(path: Path) -> dict[str, bytes]:
    """The files of a folder that hold nothing but a bundle's."""
    entries = sorted(path.iterdir())
    if len(entries) > MOST_FILES:
        raise DigestMismatch("The folder holds more files than a bundle has.")
    files = {}
    for entry in entries:
        if entry.name in OF_MLFLOW:
            continue
        if entry.is_symlink() or not entry.is_file() or not FILE_NAME.fullmatch(entry.name):
            raise DigestMismatch("The folder holds an entry that no bundle has.")
        files[entry.name] = entry.read_bytes()
    return files


def _entries(found: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(found)) as archive:
            entries = archive.infolist()
            plain = all(
                FILE_NAME.fullmatch(entry.filename) and entry.compress_type == zipfile.ZIP_STORED for entry in entries
            )
            total = sum(entry.file_size for entry in entries)
            if not plain or len(entries) > MOST_FILES or total > len(found):
                raise DigestMismatch("The bundle holds an entry that no bundle has.")
            files = {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError, OverflowError) as error:
        raise DigestMismatch("The bundle is no readable zip file.") from error
    if len(files) != len(entries):
        raise DigestMismatch("The bundle holds two entries of one name.")
    return files

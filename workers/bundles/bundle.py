"""A registered model as one file: a canonical zip whose manifest covers every byte, and the way back to predictions.

The same content always packs to the same bytes, so a bundle proves itself: it is opened by packing its content again
and comparing. Nothing in it is pickled, and nothing in it is code.
"""

import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.errors import DigestMismatch, InvalidData
from workers.matrix import encoding
from workers.measures.answers import columns_of
from workers.table import coerce
from workers.terms import TaskType
from workers.trainers import ensemble
from workers.trainers.ensemble import Ensemble, Packed
from workers.trainers.finishing import Finish

if TYPE_CHECKING:
    from workers.engineering.derived import Derivation

FORMAT = "trainhouse-bundle-1"
MANIFEST = "manifest.json"
ENCODER = "encoder.skops"
METADATA = "metadata.json"
COLUMNS = "columns.json"
"""Derived columns and how values are read; only where there is something to say."""

FILE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}(\.[a-z0-9]{1,8})?")
MOST_FILES = 400


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


def unpack(path: Path) -> dict[str, bytes]:
    """The files of the bundle at `path`, without the manifest, each checked.

    Raises:
        DigestMismatch: any byte differs from what `pack` wrote.
    """
    found = path.read_bytes()
    files = _entries(found)
    if files.pop(MANIFEST, None) is None:
        raise DigestMismatch("The bundle has no manifest.")
    again = io.BytesIO()
    _pack(files, again)
    if again.getbuffer() != found:
        raise DigestMismatch("The bundle is not what its manifest says.")
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


@dataclass(frozen=True)
class Bundle:
    """A model with its encoder, ready to predict.

    Attributes:
        metadata: The content of `metadata.json`.
        files: Every file of the bundle by name.
        readings: By column, how its values are read; see `coerce.read`.
        derivation: What makes the derived columns, or None where there are none.
    """

    metadata: Mapping[str, Any]
    files: Mapping[str, bytes]
    encoder: encoding.Encoder
    fitted: Ensemble
    readings: Mapping[str, Mapping[str, Any]]
    derivation: "Derivation | None"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that a row to predict must have."""
        return inputs_of(self.encoder.input_columns, self.derivation)

    @property
    def task(self) -> TaskType:
        """What is predicted."""
        found: TaskType = self.metadata["task"]
        return found

    def raw(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """(rows,) numbers, or (rows, classes) probabilities in the order of `metadata["classes"]`.

        Raises:
            InvalidData: an input column is missing.
        """
        return self.fitted.predict(self.encoder.transform(self.features(frame)))

    def features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`frame` with the derived columns, its values read as training read them: what the encoder takes.

        Raises:
            InvalidData: a column that a derived one is made of is missing.
        """
        if self.derivation is not None:
            frame = self.derivation.extend(frame)
        return coerce.read(frame, self.readings)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`prediction`, and for classes `probability:<class>`, one row for each row of `frame`, with its index.

        Raises:
            InvalidData: an input column is missing.
        """
        threshold = self.fitted.finish.threshold
        found = columns_of(self.task, self.metadata["classes"], self.raw(frame), threshold=threshold)
        return pd.DataFrame(found, index=frame.index)


def inputs_of(input_columns: Sequence[str], derivation: "Derivation | None") -> tuple[str, ...]:
    """What an encoder of `input_columns` needs from outside: those that are not derived, and what those are made of."""
    if derivation is None:
        return tuple(input_columns)
    own = [name for name in input_columns if name not in derivation.names]
    return (*own, *(name for name in derivation.inputs if name not in own))


def derivation_of(document: Mapping[str, Any]) -> "Derivation | None":
    """What makes the derived columns of a `columns.json`, or None where it has none."""
    if not document.get("columns"):
        return None
    from workers.engineering.derived import Derivation  # noqa: PLC0415  # a model without expressions must not need DuckDB

    return Derivation(document)


def open_bundle(path: Path, *, threads: int = 1) -> Bundle:
    """The bundle at `path`, every byte checked before anything is loaded from it.

    Raises:
        DigestMismatch: the file is not a bundle as it was packed.
    """
    files = unpack(path)
    try:
        metadata = json.loads(files[METADATA])
        finish = Finish.of(metadata.get("finish"))
        fitted = ensemble.opened(members_of(metadata, files), threads=threads, finish=finish)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, ENCODER).write_bytes(files[ENCODER])
            encoder = encoding.load(Path(folder, ENCODER))
        columns = json.loads(files.get(COLUMNS, b"{}"))
        derivation = derivation_of(columns)
    except (KeyError, TypeError, ValueError, InvalidData) as error:
        raise DigestMismatch("The bundle lacks a part that every bundle has.") from error
    return Bundle(metadata, files, encoder, fitted, columns.get("readings", {}), derivation)


def members_of(metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[Packed, ...]:
    """The members of the model that `metadata` names, each from its file."""
    return tuple(
        Packed(said["algorithm"], float(said["weight"]), said["params"], int(said["iterations"]), files[said["file"]])
        for said in metadata["members"]
    )

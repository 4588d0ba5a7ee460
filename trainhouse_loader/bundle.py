"""A registered model as one file, and the way back from it to predictions."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainhouse_loader.answers import columns_of
from trainhouse_loader.archive import unpack
from trainhouse_loader.encoding import encoder as encoding
from trainhouse_loader.encoding.encoder import Encoder
from trainhouse_loader.errors import DigestMismatch, InvalidData
from trainhouse_loader.models import ensemble
from trainhouse_loader.models.ensemble import Ensemble, Packed
from trainhouse_loader.models.finish import Finish
from trainhouse_loader.reading import coerce
from trainhouse_loader.terms import TaskType

if TYPE_CHECKING:
    from trainhouse_loader.derived.columns import Derivation

ENCODER = "encoder.skops"
METADATA = "metadata.json"
EXAMPLE = "input_example.json"
COLUMNS = "columns.json"
"""Derived columns and how values are read; only where there is something to say."""


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
    encoder: Encoder
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

    @property
    def example(self) -> pd.DataFrame:
        """A few rows as they may be asked for."""
        return pd.DataFrame(**json.loads(self.files[EXAMPLE]))

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
    from trainhouse_loader.derived.columns import Derivation  # noqa: PLC0415  # a model without expressions must not need DuckDB

    return Derivation(document)


def open_bundle(path: str | Path, *, threads: int = 1, digest: str | None = None) -> Bundle:
    """The bundle at `path`, a zip or the folder that it was unpacked to, every byte checked before anything is loaded.

    Args:
        threads: The most threads that it predicts with.
        digest: `sha256:…` of the zip, as the registry and receipts name it; the manifest alone proves that a bundle is
            whole, this that it is the one which was registered.

    Raises:
        DigestMismatch: it is not a bundle as it was packed, or another one.
        MachineError: `extra_missing`, a library that its model needs is not installed.
    """
    files = unpack(Path(path), digest=digest)
    try:
        metadata = json.loads(files[METADATA])
        finish = Finish.of(metadata.get("finish"))
        fitted = ensemble.opened(members_of(metadata, files), threads=threads, finish=finish)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, ENCODER).write_bytes(files[ENCODER])
            encoder = encoding.load(Path(folder, ENCODER))
        columns = json.loads(files.get(COLUMNS, b"{}"))
        derivation = derivation_of(columns)
    except (KeyError, TypeError, ValueError, RecursionError, InvalidData) as error:
        raise DigestMismatch("The bundle lacks a part that every bundle has.") from error
    return Bundle(metadata, files, encoder, fitted, columns.get("readings", {}), derivation)


def members_of(metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[Packed, ...]:
    """The members of the model that `metadata` names, each from its file."""
    return tuple(
        Packed(said["algorithm"], float(said["weight"]), said["params"], int(said["iterations"]), files[said["file"]])
        for said in metadata["members"]
    )

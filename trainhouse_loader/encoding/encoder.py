"""The encoder: features in, numbers out; fitted where models are trained, and the same wherever they serve."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from trainhouse_loader.encoding import vault
from trainhouse_loader.encoding.blocks import APPLY, State
from trainhouse_loader.errors import DigestMismatch, InvalidData, bounded

Floats = npt.NDArray[np.float64]
FORMAT = 2


@dataclass(frozen=True)
class Encoder:
    """A fitted encoder.

    Attributes:
        input_columns: The features, in the order of the snapshot; a frame to transform must have them all.
        feature_names: One per column of the result; any text.
        categorical: Places of the result's columns that hold category codes 0.. and NaN.
        blocks: The fitted state, as plain values, arrays and scikit-learn estimators.
    """

    input_columns: tuple[str, ...]
    feature_names: tuple[str, ...]
    categorical: tuple[int, ...]
    blocks: tuple[State, ...]

    @property
    def lineage(self) -> tuple[str, ...]:
        """For each column of the result, the input column that it is made of."""
        return tuple(block["columns"][place] for block in self.blocks for place in block["origins"])

    def transform(self, frame: pd.DataFrame) -> Floats:
        """(rows, features) float64, C order. Labels and values never seen become missing, never an error.

        Raises:
            InvalidData: `missing_column`, where `frame` lacks an input column.
        """
        lacking = [name for name in self.input_columns if name not in frame.columns]
        if lacking:
            raise InvalidData(f"The rows lack the column {bounded(lacking[0])!r}.", code="missing_column")
        out = np.empty((len(frame), len(self.feature_names)), dtype=np.float64)
        start = 0
        for block in self.blocks if len(frame) else ():
            end = start + len(block["names"])
            _write(frame, block, out[:, start:end])
            start = end
        return out


def assembled(input_columns: tuple[str, ...], blocks: list[State]) -> Encoder:
    """The encoder of `blocks`, in their order."""
    names = tuple(name for block in blocks for name in block["names"])
    kinds = [block["kind"] for block in blocks for _ in block["names"]]
    categorical = tuple(place for place, kind in enumerate(kinds) if kind == "native")
    return Encoder(input_columns, names, categorical, tuple(blocks))


def _write(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """Writes what `block` makes of `frame` into `out`, (rows, features of the block)."""
    APPLY[block["kind"]](frame, block, out)
    if block["imputer"] is not None or block["scaler"] is not None:
        out[:] = _after(out, block)


def _after(numbers: Floats, block: State) -> Floats:
    """Missing values filled and numbers scaled, as far as the block asks for it."""
    for part in ("imputer", "scaler"):
        if block[part] is not None:
            numbers = np.asarray(block[part].transform(numbers), dtype=np.float64)
    return numbers


def load(path: Path) -> Encoder:
    """The encoder that training wrote to `path`.

    Raises:
        DigestMismatch: the file is none of ours, or holds a type that is not allowed.
    """
    state = vault.load(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DigestMismatch("The file holds no encoder of this format.")
    return assembled(tuple(state["input_columns"]), list(state["blocks"]))

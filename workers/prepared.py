"""What trainers take: the encoded matrix with its target, parts and names, and its file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
TaskType = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class Prepared:
    """All rows of a job after encoding, in snapshot order.

    Attributes:
        x: (rows, features) float64, C order; NaN is missing. Category columns hold codes 0.. and NaN.
        y: (rows,) float64. Class index into `classes`, or the number to predict.
        weight: (rows,) float64, or None.
        part: (rows,) int8, index into PARTS.
        row: (rows,) int64, position in the snapshot.
        feature_names: One per column of `x`; any text.
        categorical: Indices of the columns of `x` that hold category codes (native encoding).
        task: The resolved task.
        classes: Class labels as text in sorted order; empty for regression. For binary tasks the positive class
            is the last (index 1), whatever the order of the text.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64] | None
    part: npt.NDArray[np.int8]
    row: npt.NDArray[np.int64]
    feature_names: tuple[str, ...]
    categorical: tuple[int, ...]
    task: TaskType
    classes: tuple[str, ...]

    def where(self, part: Part) -> npt.NDArray[np.bool_]:
        """(rows,) True where a row belongs to `part`."""
        chosen: npt.NDArray[np.bool_] = self.part == PARTS.index(part)
        return chosen


def save(prepared: Prepared, path: Path) -> None:
    """Writes `prepared` to `path` as an uncompressed npz that holds no pickle."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "x": prepared.x, "y": prepared.y, "part": prepared.part, "row": prepared.row,
        "feature_names": np.asarray(prepared.feature_names, dtype=np.str_),
        "categorical": np.asarray(prepared.categorical, dtype=np.int64),
        "task": np.asarray(prepared.task, dtype=np.str_),
        "classes": np.asarray(prepared.classes, dtype=np.str_),
    }  # fmt: skip
    if prepared.weight is not None:
        arrays["weight"] = prepared.weight
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: Path) -> Prepared:
    """The matrix that `save` wrote to `path`."""
    with np.load(path, allow_pickle=False) as arrays:
        return Prepared(
            x=arrays["x"], y=arrays["y"], weight=arrays.get("weight"),
            part=arrays["part"], row=arrays["row"],
            feature_names=tuple(str(name) for name in arrays["feature_names"]),
            categorical=tuple(int(index) for index in arrays["categorical"]),
            task=str(arrays["task"]),  # type: ignore[arg-type]  # written from a TaskType
            classes=tuple(str(name) for name in arrays["classes"]),
        )  # fmt: skip

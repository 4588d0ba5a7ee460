"""What trainers take: the encoded matrix with its target, parts and names, and its file."""

import hashlib
import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from trainhouse_loader.terms import TaskType
from workers.terms import PARTS, Part

FORMAT = "trainhouse-matrix-2"


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
        block: (rows,) int64, equal for rows that no division may tear apart; None where every row is alone.
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
    block: npt.NDArray[np.int64] | None = None

    @cached_property
    def key(self) -> str:
        """A digest of all that a fit learns from: equal keys mean equal matrices, in whatever process or file."""
        found = hashlib.blake2b(
            json.dumps([self.x.shape, self.categorical, self.task, self.classes]).encode(), digest_size=16
        )
        for member in (self.x, self.y, self.weight, self.part):
            found.update(b"-" if member is None else np.ascontiguousarray(member).data)
        return found.hexdigest()

    def let_go(self) -> None:
        """Takes the pages of a mapped file off this process; whoever reads a row again finds them in the page cache."""
        owner: Any = self.x
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            owner.madvise(mmap.MADV_DONTNEED)

    def where(self, part: Part) -> npt.NDArray[np.bool_]:
        """(rows,) True where a row belongs to `part`."""
        chosen: npt.NDArray[np.bool_] = self.part == PARTS.index(part)
        return chosen


def save(prepared: Prepared, path: Path) -> None:
    """Writes `prepared` to `path`; see `write`."""
    write(replace(prepared, x=prepared.x[:0]), [prepared.x], path)


def write(prepared: Prepared, x: Iterable[npt.NDArray[np.float64]], path: Path) -> None:
    """Writes the matrix whose rows come in the blocks `x` (each C order), and everything else of `prepared`, to `path`.

    The file is a row of `.npy` arrays, one after the other: what the matrix is, as JSON; then `x`, `y`, `row`, `weight`
    where there is one, `part`, and `block` where there is one. Each number stands where a map of the file can be read without copying it.
    """
    rows, features = len(prepared.y), len(prepared.feature_names)
    about = {
        "format": FORMAT, "weight": prepared.weight is not None, "block": prepared.block is not None, "categorical": list(prepared.categorical),
        "task": prepared.task, "classes": list(prepared.classes), "feature_names": list(prepared.feature_names),
    }  # fmt: skip
    written = json.dumps(about).encode()
    with path.open("wb") as file:
        _put(file, np.frombuffer(written + b" " * (-len(written) % 64), dtype=np.uint8))
        header = {"descr": "<f8", "fortran_order": False, "shape": (rows, features)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in x:
            np.ascontiguousarray(block, dtype=np.float64).tofile(file)
        members = [prepared.y, prepared.row, prepared.weight, prepared.part, prepared.block]
        for member in members:
            if member is not None:
                _put(file, member)


def _put(file: BinaryIO, member: npt.NDArray[Any]) -> None:
    np.lib.format.write_array(file, np.ascontiguousarray(member), allow_pickle=False)


def load(path: Path) -> Prepared:
    """The matrix that `write` wrote to `path`; its arrays are read-only maps of the file, shared by all its readers.

    Raises:
        ValueError: the file is no matrix of this format.
    """
    whole: npt.NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
    with path.open("rb") as file:
        about = json.loads(_member(file, whole).tobytes())
        if about["format"] != FORMAT:
            raise ValueError("the file is no matrix of this format")
        x, y, row = (_member(file, whole) for _ in range(3))
        weight = _member(file, whole) if about["weight"] else None
        part = _member(file, whole)
        block = _member(file, whole) if about["block"] else None
    return Prepared(
        x=x, y=y, weight=weight, part=part, row=row, feature_names=tuple(about["feature_names"]),
        categorical=tuple(about["categorical"]), task=about["task"], classes=tuple(about["classes"]),
        block=block,
    )  # fmt: skip


def _member(file: BinaryIO, whole: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The next array of `file` as a part of its map `whole`."""
    np.lib.format.read_magic(file)
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    start = file.tell()
    end = start + int(np.prod(shape)) * kind.itemsize
    file.seek(end)
    return np.asarray(whole[start:end]).view(kind).reshape(shape)

"""The certificate of a split: every promise measured again on the finished parts, by code that did not make them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import MachineError, bounded
from workers.division.tested import among, keys
from workers.table import snapshot
from workers.table.targets import Target
from workers.terms import PARTS

Rows = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
ODD = 0x9E3779B97F4A7C15
SHOWN_CLASSES = 20
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Divided:
    """A finished split.

    Attributes:
        path: The snapshot.
        rows: (rows,) positions in the snapshot, ascending.
        part: (rows,) index into PARTS.
        read: Whole columns that were read from the snapshot, by name.
    """

    path: Path
    rows: Rows
    part: Codes
    read: dict[str, pa.ChunkedArray] = field(default_factory=dict, repr=False)

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Some columns of the snapshot, for these rows."""
        lacking = [name for name in names if name not in self.read]
        if lacking:
            self.read.update(zip(lacking, snapshot.read(self.path, lacking).columns, strict=True))
        return snapshot.rows(pa.table([self.read[name] for name in names], names=list(names)), self.rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """The values of one column of the snapshot, for these rows."""
        return self.columns([name]).column(0)


def require(measured: Mapping[str, Any], kept: Sequence[str]) -> None:
    """Nothing, where each of the counts named by `kept` is 0.

    Raises:
        MachineError: `split_promise_broken`; the service's own fault, never hidden.
    """
    broken = [name for name in kept if measured[name]]
    if broken:
        raise MachineError(f"The split does not keep its promise: {broken[0]} is {measured[broken[0]]:,}.",
                           code="split_promise_broken")  # fmt: skip


def sizes(divided: Divided) -> dict[str, int]:
    """The rows of each part."""
    return {part: int((divided.part == index).sum()) for index, part in enumerate(PARTS)}


def labels(divided: Divided, y: npt.NDArray[np.float64], target: Target) -> dict[str, dict[str, float]]:
    """For each part the share of each class (the largest first, at most twenty), or mean and quantiles of a number."""
    found: dict[str, dict[str, float]] = {}
    for index, part in enumerate(PARTS):
        values = y[divided.part == index]
        if not target.classes:
            found[part] = {"mean": _short(values.mean())} | {
                f"q{round(share * 100)}": _short(value)
                for share, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)
            }
            continue
        held = np.bincount(values.astype(np.int64), minlength=len(target.classes))
        shown = np.argsort(-np.bincount(y.astype(np.int64), minlength=len(held)), kind="stable")[:SHOWN_CLASSES]
        found[part] = {bounded(target.classes[place]): round(float(held[place] / held.sum()), 6) for place in shown}
    return found


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def groups_crossing(divided: Divided, name: str) -> int:
    """How many values of the column stand in more than one part; missing values are one."""
    pairs = pa.table({"group": divided.column(name), "part": divided.part})
    ends = pairs.group_by("group", use_threads=False).aggregate([("part", "min"), ("part", "max")])
    return int(pc.sum(pc.not_equal(ends.column("part_min"), ends.column("part_max"))).as_py() or 0)


def duplicates_crossing(divided: Divided, names: Sequence[str]) -> int:
    """How many rows have an equal in another part, in all columns `names`.

    Equal rows have equal fingerprints; the few rows whose fingerprint stands in two parts are compared value by value.
    """
    prints = np.zeros(len(divided.rows), dtype=np.uint64)
    for name in names:
        prints = (prints ^ (prints >> np.uint64(29))) * np.uint64(ODD) + _numbered(divided.column(name))
    order = np.argsort(prints, kind="stable")
    sorted_prints, part = prints[order], divided.part[order]
    starts = np.flatnonzero(np.r_[True, sorted_prints[1:] != sorted_prints[:-1]])
    mixed = np.minimum.reduceat(part, starts) != np.maximum.reduceat(part, starts)
    suspects = np.sort(order[np.repeat(mixed, np.diff(np.r_[starts, len(order)]))])
    if not len(suspects):
        return 0
    few = Divided(divided.path, divided.rows[suspects], divided.part[suspects], divided.read)
    codes = [f"c{place}" for place in range(len(names))]
    columns = {code: pa.array(_numbered(few.column(name))) for code, name in zip(codes, names, strict=True)}
    ends = pa.table({**columns, "part": few.part}).group_by(codes, use_threads=False)
    found = ends.aggregate([("part", "min"), ("part", "max"), ("part", "count")])
    crossing = pc.not_equal(found.column("part_min"), found.column("part_max"))
    return int(pc.sum(found.column("part_count").filter(crossing)).as_py() or 0)


def _numbered(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """(rows,) Numbers that are equal exactly where the values of one column are; missing values are equal."""
    array = column.combine_chunks()
    if array.type in (pa.int64(), pa.float64(), pa.timestamp("us")) and not array.null_count:
        values = array.to_numpy(zero_copy_only=False)
        # Adding zero makes -0.0 the 0.0 that it equals.
        return (values + 0.0 if array.type == pa.float64() else values).view(np.uint64)
    if array.type == pa.float64():
        array = pc.add(array, 0.0)
    codes = array.dictionary_encode(null_encoding="encode").indices
    return np.asarray(codes.to_numpy(zero_copy_only=False)).astype(np.uint64)


def tested(divided: Divided, ids: Sequence[str], past: npt.NDArray[np.uint64]) -> dict[str, Any]:
    """Of the sorted keys `past` of rows that judged earlier versions: how many judge again, and train all the same.

    Without `ids` rows have no keys, and nothing is held.
    """
    found = {"held": bool(ids), "keys": len(past), "frozen": 0, "trained_on": 0}
    if ids and len(past):
        again = divided.part[among(*keys(divided.columns(ids)), past)]
        judging = int((again == PARTS.index("test")).sum())
        found |= {"frozen": judging, "trained_on": len(again) - judging}
    return found


def order(divided: Divided, name: str) -> dict[str, Any]:
    """Of the column of times: first and last of each part, rows that come too early, and the gaps between parts.

    Gaps are seconds (or numbers, of a column of numbers) from the last row of a part to the first of the next.
    """
    column = divided.column(name)
    timed = column.type == pa.timestamp("us")
    times = column.cast(pa.int64()).to_numpy() if timed else column.to_numpy()
    ends = {part: (times[divided.part == index].min(), times[divided.part == index].max())
            for index, part in enumerate(PARTS)}  # fmt: skip
    early = sum(
        int((times[divided.part > index] <= ends[part][1]).sum()) for index, part in enumerate(PARTS[:-1])
    )  # fmt: skip
    unit = 1e6 if timed else 1.0
    gaps = {f"{one}_to_{two}": float(ends[two][0] - ends[one][1]) / unit for one, two in pairwise(PARTS)}
    shown = {part: [_moment(value, timed=timed) for value in pair] for part, pair in ends.items()}
    return {"future_crossing": early, "times": shown, "gaps": gaps}


def _moment(value: Any, *, timed: bool) -> str | float:
    return str(np.datetime64(int(value), "us")) if timed else float(value)

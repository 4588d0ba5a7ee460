"""Split: decide once which rows train, which steer the search and which judge."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.errors import InvalidData, bounded
from app.spec.job import JobSpec
from workers import partition, snapshot, targets
from workers.context import Context, Done, Warned
from workers.partition import Parts
from workers.prepared import PARTS
from workers.targets import Target


def run(ctx: Context) -> Done:
    """Artifact `split`: `row` (position in the snapshot, ascending) and `part`.

    Output: `method` and the rows of each part.

    Raises:
        InvalidData: a part would be empty or could not judge, or the dividing column is unfit.
    """
    spec, said = ctx.spec, ctx.outputs["validate"]
    kept = pq.read_table(ctx.workspace.get("kept")).column("row").to_numpy()
    target = Target(said["task_type"], tuple(said["classes"]))
    method, column = chosen_method(spec)
    wanted = list(dict.fromkeys(name for name in (spec.task.target, column) if name is not None))
    table = snapshot.rows(snapshot.read(ctx.workspace.get("snapshot"), wanted), kept)
    y = targets.encode(table.column(spec.task.target), target)
    strata = y.astype(np.int64) if target.classes else partition.quantile_strata(y)
    parts = divided(method, table, strata, spec=spec, column=column)
    _require_parts(parts, method)
    warned = _check_classes(parts, y, target, method)
    used = parts != partition.NOWHERE
    if not used.all():
        warned.append(Warned("gap", f"{int((~used).sum()):,} rows within the gap are in no part."))
    _put(ctx, kept[used], parts[used])
    counts: dict[str, int] = {part: int((parts == index).sum()) for index, part in enumerate(PARTS)}
    summary = {"method": method, **counts, "class_shares": class_shares(parts, y, target)}
    return Done(summary=summary, output={"method": method, "rows": counts}, warnings=tuple(warned))


def chosen_method(spec: JobSpec) -> tuple[str, str | None]:
    """(method, column to divide by): `auto` goes by time, then group, then the balance of classes or quantiles.

    Raises:
        InvalidData: `split_column_missing`.
    """
    split, task = spec.split, spec.task
    method: str = split.method
    if method == "auto":
        by_column = "time" if task.time_column else "group" if task.group_column else None
        method = by_column or "stratified"
    by_method = {"time": split.column or task.time_column, "group": split.column or task.group_column,
              "predefined": split.column, "hash": split.column or next(iter(task.id_columns), None)}  # fmt: skip
    column = by_method.get(method)
    if column is None and method in {"time", "group", "predefined", "hash"}:
        raise InvalidData(f"split.method {method} needs split.column"
                          + (f" or task.{method}_column." if method in {"time", "group"} else "."),
                          code="split_column_missing")  # fmt: skip
    return method, column


def divided(method: str, table: pa.Table, strata: npt.NDArray[np.int64], *, spec: JobSpec, column: str | None) -> Parts:
    """(rows,) The part of each row, as an index into PARTS; `strata` (rows,) are to be balanced where the method can."""
    split = spec.split
    shares, seed = (split.train, split.validation, split.test), split.seed
    if method == "stratified":
        return partition.stratified(strata, shares, seed=seed)
    if method == "random" or column is None:
        return partition.at_random(len(strata), shares, seed=seed)
    values = table.column(column)
    if method == "time":
        return partition.by_time(values, shares, gap=split.gap, name=column)
    if method == "predefined":
        return partition.predefined(values, strata, seed=seed, name=column)
    if method == "group":
        return partition.by_group(_codes(values), shares, seed=seed)
    return partition.by_hash(values.cast(pa.large_string()).to_pylist(), shares, seed=seed)


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """(rows,) Equal numbers for equal values; missing values are one group."""
    codes = column.combine_chunks().dictionary_encode().indices
    return np.asarray(pc.fill_null(codes, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _require_parts(parts: Parts, method: str) -> None:
    empty = [part for index, part in enumerate(PARTS) if not (parts == index).any()]
    if empty:
        raise InvalidData(f"The part {' and '.join(empty)} would be empty (split.method {method}).", code="empty_part",
                          hint="Change the shares, the method, or bring more rows.")  # fmt: skip


def _check_classes(parts: Parts, y: npt.NDArray[np.float64], target: Target, method: str) -> list[Warned]:
    """Warnings for classes that a part lacks.

    Raises:
        InvalidData: `class_missing`, where a part of two classes lacks one, or of more all but one.
    """
    warned = []
    for index, part in enumerate(PARTS if target.classes else ()):
        held = np.bincount(y[parts == index].astype(np.int64), minlength=len(target.classes))
        lacking = [bounded(name) for name, count in zip(target.classes, held, strict=True) if not count]
        if len(target.classes) - len(lacking) < 2:
            raise InvalidData(f"The part {part} lacks the class {lacking[0]!r} (split.method {method}).", code="class_missing",
                              hint="Use split.method stratified, or bring more rows of that class.")  # fmt: skip
        if lacking:
            shown = ", ".join(repr(name) for name in lacking[:5])
            warned.append(Warned("class_missing", f"The part {part} lacks {len(lacking)} classes: {shown}.",
                                 hint="They have too few rows to stand in every part."))  # fmt: skip
    return warned


def class_shares(parts: Parts, y: npt.NDArray[np.float64], target: Target) -> Mapping[str, Any]:
    """For each part, the share of each of the first ten classes."""
    shares: dict[str, Any] = {}
    for index, part in enumerate(PARTS if target.classes else ()):
        held = np.bincount(y[parts == index].astype(np.int64), minlength=len(target.classes))
        shares[part] = {bounded(name): round(float(count / held.sum()), 6)
                        for name, count in list(zip(target.classes, held, strict=True))[:10]}  # fmt: skip
    return shares


def _put(ctx: Context, rows: npt.NDArray[np.int64], parts: Parts) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array(parts), pa.array(PARTS)).cast(pa.string())
    path = ctx.workspace.scratch / "split.parquet"
    pq.write_table(pa.table({"row": rows, "part": words}), path, compression="zstd")
    ctx.workspace.put("split", path, "application/vnd.apache.parquet")

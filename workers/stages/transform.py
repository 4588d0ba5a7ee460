"""Transform: features become the matrix that trainers take; learned from the training part alone."""

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.errors import InvalidData, bounded
from trainhouse_loader.encoding.encoder import Encoder
from workers.context import Context, Done
from workers.matrix import encoding, prepared
from workers.matrix.encoding import Crossed
from workers.matrix.prepared import Prepared
from workers.table import columns, snapshot, targets
from workers.table.batches import Source, base_of
from workers.table.targets import Target
from workers.terms import PARTS
from workers.threads import limited

Floats = npt.NDArray[np.float64]
SHOWN_FEATURES = 200


def run(ctx: Context) -> Done:
    """Artifacts `encoder` (skops), `matrix` (`workers.matrix.prepared`) and `lineage` (JSON: the column of each feature).

    Output: `features` and `categorical`, the numbers of them, `lineage` of the first features, and for numbers to
    predict `target`, the train rows' `least`, `mean` and `deviation`.

    Raises:
        InvalidData: `bad_weight`.
    """
    said, task = ctx.outputs["validate"], ctx.spec.task
    target = Target(said["task_type"], tuple(said["classes"]))
    types = columns.from_output(said["features"])
    divided = pq.read_table(ctx.workspace.get("split"))
    part = pc.index_in(divided.column("part"), value_set=pa.array(PARTS)).to_numpy().astype(np.int8)
    source = Source(ctx.workspace.get("snapshot"), divided.column("row").to_numpy(), said.get("readings", {}))
    y = targets.encode(source.table([task.target]).column(0), target)
    weight = weights(source, task.weight_column) if task.weight_column else None
    with limited(ctx.threads):
        encoder, crossed = learned(ctx, source, y, train=part == 0, types=types, target=target)
        ctx.progress(1, 2)
        block = divided.column("block").to_numpy() if "block" in divided.column_names else None
        matrix = Prepared(
            x=np.empty((0, len(encoder.feature_names))), y=y, weight=weight, part=part, row=source.rows,
            feature_names=encoder.feature_names, categorical=encoder.categorical, task=target.task_type,
            classes=target.classes, block=block,
        )  # fmt: skip
        path = ctx.workspace.scratch / "matrix"
        prepared.write(matrix, encoded(ctx, source, encoder, crossed, train=part == 0), path)
    ctx.workspace.put("matrix", path, "application/octet-stream")
    path = ctx.workspace.scratch / "encoder.skops"
    encoding.dump(encoder, path)
    ctx.workspace.put("encoder", path, "application/vnd.skops")
    found = {"features": len(encoder.feature_names), "categorical": len(encoder.categorical)}
    return Done(
        summary={"rows": len(y), "columns": len(types), **found},
        output={**found, **_about(y[part < PARTS.index("test")], target), "lineage": _traced(ctx, encoder)},
    )


def _about(y: Floats, target: Target) -> dict[str, dict[str, float]]:
    """`target`: what the numbers are like of the rows that the final model learns from, where numbers are to be predicted."""
    if target.classes or not len(y):
        return {}
    with np.errstate(over="ignore", invalid="ignore"):
        found = {"least": float(y.min()), "mean": float(y.mean()), "deviation": float(y.std())}
    return {"target": found} if np.isfinite(list(found.values())).all() else {}


def learned(
    ctx: Context,
    source: Source,
    y: Floats,
    *,
    train: npt.NDArray[np.bool_],
    types: Mapping[str, str],
    target: Target,
) -> tuple[Encoder, list[Crossed]]:
    """The encoder and what differs for training rows, learned from the rows of `train` (rows,) and no other."""
    kinds = source.table(list(types), np.arange(len(train)) < 1).schema
    bases = {name: base_of(kinds.field(name).type) for name in types}

    def lessons(names: list[str]) -> pd.DataFrame:
        return snapshot.frame(source.table(names, train))

    return encoding.fit(lessons, y[train], spec=ctx.spec, types=types, bases=bases, task=target.task_type)


def encoded(
    ctx: Context, source: Source, encoder: Encoder, crossed: Sequence[Crossed], *, train: npt.NDArray[np.bool_]
) -> Iterator[Floats]:
    """The encoded rows, some at a time, by the very code that serves; training rows with their cross-fitted numbers."""
    start = taught = 0
    for frame in source.batches(encoder.input_columns):
        block = encoder.transform(frame)
        own = np.flatnonzero(train[start : start + len(frame)])
        for one in crossed:
            places = slice(one.start, one.start + one.numbers.shape[1])
            numbers = block[own, places]
            encoding.take(one.numbers[taught : taught + len(own)], numbers)
            block[own, places] = numbers
        yield block
        start, taught = start + len(frame), taught + len(own)
        ctx.progress(1 + start / len(train), 2)


def _traced(ctx: Context, encoder: Encoder) -> dict[str, str]:
    """Stores the column that each feature is made of as the artifact `lineage`; gives that of the first features."""
    pairs = list(zip(encoder.feature_names, encoder.lineage, strict=True))
    path = ctx.workspace.scratch / "lineage.json"
    path.write_text(json.dumps([{"feature": name, "column": column} for name, column in pairs]), encoding="utf-8")
    ctx.workspace.put("lineage", path, "application/json")
    return {bounded(name): bounded(column) for name, column in pairs[:SHOWN_FEATURES]}


def weights(source: Source, name: str) -> Floats:
    """(rows,) The weight of each row.

    Raises:
        InvalidData: `bad_weight`, where one is missing, negative, infinite or no number, or all are 0.
    """
    column = source.table([name]).column(name)
    if column.type not in (pa.int64(), pa.float64()):
        raise _bad_weight(name, "no numbers")
    found = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any() or not found.any():
        where = f" (row {int(source.rows[np.flatnonzero(wrong)[0]])})" if wrong.any() else ""
        raise _bad_weight(name, f"values that are no weights{where}")
    return found


def _bad_weight(name: str, what: str) -> InvalidData:
    error = InvalidData(f"The weight column {bounded(name)!r} holds {what}.", code="bad_weight",
                        hint="Weights are numbers from 0, not all 0, and none is missing.")  # fmt: skip
    return error.under("/task/weight_column")

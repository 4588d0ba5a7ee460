"""Transform: features become the matrix that trainers take; learned from the training part alone."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from app.errors import InvalidData, bounded
from workers import columns, encoding, prepared, snapshot, targets
from workers.context import Context, Done
from workers.prepared import PARTS, Prepared
from workers.targets import Target


def run(ctx: Context) -> Done:
    """Artifacts `encoder` (skops) and `matrix` (`workers.prepared`); output: `features`, the number of them.

    Raises:
        InvalidData: `bad_weight`.
    """
    said = ctx.outputs["validate"]
    target = Target(said["task_type"], tuple(said["classes"]))
    types = columns.from_output(said["features"])
    divided = pq.read_table(ctx.workspace.get("split"))
    rows = divided.column("row").to_numpy()
    part = pc.index_in(divided.column("part"), value_set=pa.array(PARTS)).to_numpy().astype(np.int8)
    others = [name for name in (ctx.spec.task.target, ctx.spec.task.weight_column) if name is not None]
    table = snapshot.rows(snapshot.read(ctx.workspace.get("snapshot"), [*types, *others]), rows)
    y = targets.encode(table.column(ctx.spec.task.target), target)
    frame = snapshot.frame(table.select(list(types)))
    with threadpool_limits(ctx.threads):
        encoder, x = encoding.fit_transform(
            frame, y, train=part == 0, spec=ctx.spec, types=types, task=target.task_type
        )
    ctx.progress(1, 2)
    matrix = Prepared(
        x=x, y=y, weight=weights(table, ctx.spec.task.weight_column), part=part, row=rows,
        feature_names=encoder.feature_names, categorical=encoder.categorical, task=target.task_type, classes=target.classes,
    )  # fmt: skip
    path = ctx.workspace.scratch / "encoder.skops"
    encoding.dump(encoder, path)
    ctx.workspace.put("encoder", path, "application/vnd.skops")
    path = ctx.workspace.scratch / "matrix.npz"
    prepared.save(matrix, path)
    ctx.workspace.put("matrix", path, "application/octet-stream")
    found = {"features": len(encoder.feature_names), "categorical": len(encoder.categorical)}
    return Done(summary={"rows": len(rows), "columns": len(types), **found}, output=found)


def weights(table: pa.Table, name: str | None) -> npt.NDArray[np.float64] | None:
    """(rows,) The weight of each row, or None without a weight column.

    Raises:
        InvalidData: `bad_weight`, where one is missing, negative, infinite or no number, or all are 0.
    """
    if name is None:
        return None
    column = table.column(name)
    if column.type not in (pa.int64(), pa.float64()):
        raise InvalidData(f"The weight column {bounded(name)!r} holds no numbers.", code="bad_weight")
    found = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any() or not found.any():
        where = f" (row {int(np.flatnonzero(wrong)[0])})" if wrong.any() else ""
        raise InvalidData(f"The weight column {bounded(name)!r} holds values that are no weights{where}.", code="bad_weight",
                          hint="Weights are numbers from 0, not all 0, and none is missing.")  # fmt: skip
    return found

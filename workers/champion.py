"""The champion on today's test rows: what its bundle predicts for them in a fresh process, or why it cannot."""

import json
import time

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.errors import DeadlineExceeded, DigestMismatch, NotFound, ParityFailed
from trainhouse_loader.archive import unpack
from trainhouse_loader.bundle import METADATA
from trainhouse_loader.models.finish import Finish
from workers.bundles import golden
from workers.context import Champion, Context
from workers.isolation import fresh
from workers.matrix.prepared import Prepared
from workers.table import snapshot

Floats = npt.NDArray[np.float64]
SECONDS = 300.0


class Unfit(Exception):
    """The champion cannot score the rows; the text says why."""


def predicted(ctx: Context, champion: Champion, data: Prepared) -> tuple[Floats, float]:
    """(what the champion predicts for the test rows, in the order and with the classes of `data`; its threshold).

    Raises:
        Unfit: it cannot; every reason but an outage of the store is one.
    """
    blob = champion.artifacts.get("bundle")
    if blob is None:
        raise Unfit("its bundle is gone")
    try:
        path = ctx.workspace.fetch(blob)
        files = unpack(path)
        about, inputs = json.loads(files[METADATA]), json.loads(files["signature.json"])["inputs"]
    except (NotFound, DigestMismatch, KeyError, ValueError):
        raise Unfit("its bundle cannot be opened") from None
    _require_same_answer(about, data)
    rows = _rows(ctx, [each["name"] for each in inputs], data)
    asked, answers = ctx.workspace.scratch / "champion.parquet", ctx.workspace.scratch / "champion.npy"
    snapshot.write(rows, asked)
    try:
        fresh.predict(path, [asked], answers, seconds=max(1.0, min(SECONDS, (ctx.deadline - time.monotonic()) / 2)))
    except (ParityFailed, DeadlineExceeded) as error:
        raise Unfit(error.detail) from None
    found: Floats = np.load(answers, allow_pickle=False)
    if not np.isfinite(found).all():
        raise Unfit("a prediction of it is not a finite number")
    if data.task == "regression":
        return found, 0.5
    places = [about["classes"].index(name) for name in data.classes]
    threshold = Finish.of(about.get("finish")).threshold
    return found[:, places], threshold if places[0] == 0 else 1.0 - threshold


def _require_same_answer(about: dict[str, object], data: Prepared) -> None:
    if about["task"] != data.task:
        raise Unfit(f"it answers a {about['task']} task, and this one is {data.task}")
    classes = about["classes"]
    if not isinstance(classes, list) or set(classes) != set(data.classes):
        raise Unfit("it tells other classes apart than there are now")


def _rows(ctx: Context, inputs: list[str], data: Prepared) -> pa.Table:
    path = ctx.workspace.get("snapshot")
    missing = [name for name in inputs if name not in snapshot.names(path)]
    if missing:
        raise Unfit(f"the data has no column {', '.join(repr(name) for name in missing[:3])} any more")
    return golden.exact(snapshot.taken(path, inputs, data.row[data.where("test")]))

"""Split: decide once which rows train, which steer the search and which judge, and certify what was decided."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.errors import InvalidData, bounded
from app.spec.job import JobSpec
from trainhouse_loader.mixing import Hashes
from workers.context import Context, Done, Warned
from workers.division import certificate, partition, rowkeys, tested
from workers.division.certificate import Divided
from workers.division.divisions import NO_ROWS, Division, Plan, chosen, divide
from workers.division.partition import Labels, Parts
from workers.table import snapshot, targets
from workers.table.targets import Target
from workers.terms import PARTS

COMMON_REPEATS = 0.5
MESSAGES = {
    "gap": ("gap", "{:,} rows within the gap are in no part.", ""),
    "group_or_gap": ("group_time_dropped", "{:,} rows are in no part: outside the time of their group's part, or in the gap.", "Use split.method group or time alone to keep them."),
    "tested": ("tested_rows_left_out", "{:,} rows that would train were tests of an earlier version; they are left out.",
               "Set split.tested_rows to allow to train on them."),
}  # fmt: skip


def run(ctx: Context) -> Done:
    """Artifacts `split`, `certificate`, `tested`, and `row_keys_trained` and `row_keys_tested` where rows have ids.

    `split` has `row`, the position in the snapshot, ascending, `part`, and `block` where rows belong together.
    Output: `method`, the rows of each part, and the certificate (see `certified`).

    Raises:
        InvalidData: a part would be empty or could not judge, or the dividing column is unfit.
        MachineError: `split_promise_broken`.
    """
    said = ctx.outputs["validate"]
    target = Target(said["task_type"], tuple(said["classes"]))
    kept = pq.read_table(ctx.workspace.get("kept")).column("row").to_numpy()
    table = Divided(ctx.workspace.get("snapshot"), kept, np.zeros(len(kept), dtype=np.int8))
    y = targets.encode(table.column(ctx.spec.task.target), target)
    past = tested.earlier(ctx)
    try:
        plan = chosen(ctx.spec, snapshot.names(table.path))
        division = divide(plan, ctx.spec, table, y=y, target=target, past=past)
        _require_parts(division.parts, plan.method)
        warned = _check_classes(division.parts, y, target, plan.method)
    except InvalidData as error:
        raise error.under(_blamed(error.stable_code, ctx.spec)) from None
    used = division.parts != partition.NOWHERE
    final = replace(
        _put(ctx, kept[used], division.parts[used], None if division.units is None else division.units[used]),
        read=table.read,
    )
    ctx.progress(1, 2)
    document = certified(ctx, plan, division, final=final, past=past, y=y[used], target=target)
    _put_tested(ctx, division)
    _put_row_keys(ctx, kept, division)
    path = ctx.workspace.scratch / "certificate.json"
    path.write_text(json.dumps(document, allow_nan=False, sort_keys=True, indent=1), encoding="utf-8")
    ctx.workspace.put("certificate", path, "application/json")
    summary = {"method": plan.method, **document["rows"], "class_shares": document["labels"] if target.classes else {},
               "dropped": document["dropped"], "duplicates_crossing": document["duplicates_crossing"],
               "tested": document["tested"]}  # fmt: skip
    return Done(summary=summary, output={"method": plan.method, "rows": document["rows"], "certificate": document,
                                         "tested_before": sorted(blob.digest for blob in ctx.tested)},
                warnings=(*warned, *_warnings(document), *_coarse(plan, division)))  # fmt: skip


def _blamed(code: str, spec: JobSpec) -> str:
    """The pointer to what decides about a division that cannot be."""
    by_column = "/split/column" if spec.split.column is not None else "/task/time_column"
    places = {
        "gap_needs_times": "/split/gap", "split_column_missing": "/split/column", "class_missing": by_column if spec.split.method == "predefined" else "/split/method",
        "empty_part": by_column if spec.split.method == "predefined" else "/split",
        "too_few_groups": by_column if spec.split.column is not None else "/task/group_column",
    }  # fmt: skip
    return places.get(code, by_column)


def certified(
    ctx: Context,
    plan: Plan,
    division: Division,
    *,
    final: Divided,
    past: Hashes,
    y: npt.NDArray[np.float64],
    target: Target,
) -> dict[str, Any]:
    """What the finished parts are, measured on them.

    Raises:
        MachineError: `split_promise_broken`, where a promise of the method does not hold.
    """
    split, rows = ctx.spec.split, certificate.sizes(final)
    asked: dict[str, float] = dict(zip(PARTS, (split.train, split.validation, split.test), strict=True))
    found: dict[str, Any] = {
        "method": plan.method, "columns": plan.named(), "seed": split.seed, "rows": rows,
        "shares": {part: {"asked": asked[part], "got": round(count / len(final.rows), 6)} for part, count in rows.items()},
        "labels": certificate.labels(final, y, target), "dropped": division.dropped,
        "duplicates_crossing": certificate.duplicates_crossing(final, plan.content), "groups_crossing": None,
        "future_crossing": None, "tested": {**certificate.tested(final, plan.ids if division.keys is not None else (), past), "note": division.note},
    }  # fmt: skip
    group = plan.group or ctx.spec.task.group_column
    if group is not None:
        found["groups_crossing"] = certificate.groups_crossing(final, group)
    if plan.time is not None:
        found |= certificate.order(final, plan.time)
    promises = [name for name, promised in (
        ("duplicates_crossing", plan.whole), ("groups_crossing", plan.group is not None),
        ("future_crossing", plan.time is not None)) if promised]  # fmt: skip
    certificate.require(found, promises)
    certificate.require(found["tested"], ["trained_on"])
    return {**found, "promised": promises}


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


def _warnings(said: Mapping[str, Any]) -> list[Warned]:
    """What a person should know of a certificate."""
    found = [Warned(code, message.format(said["dropped"][reason]), hint=hint)
             for reason, (code, message, hint) in MESSAGES.items() if reason in said["dropped"]]  # fmt: skip
    if said["duplicates_crossing"]:
        found.append(Warned("duplicates_cross", f"{said['duplicates_crossing']:,} rows have an equal in another part.",
                            hint="Set validation.duplicates.action to drop, or divide in another way."))  # fmt: skip
    if said["tested"]["note"] == NO_ROWS:
        found.append(Warned("ids_repeat", f"{NO_ROWS} Rows tested on are not kept out of later training.",
                            hint="Name columns in task.id_columns that together differ in every row."))  # fmt: skip
    return found


def _coarse(plan: Plan, division: Division) -> list[Warned]:
    """A warning where equal rows are the rule: then parts share few values, and the test is harder than new rows are."""
    if plan.group is not None or plan.keys or division.repeated <= COMMON_REPEATS * len(division.parts):
        return []
    return [Warned("rows_repeat", f"{division.repeated:,} of {len(division.parts):,} rows have an equal and stand in one "
                   "part with it; where equal rows are usual, scores come out too low.",
                   hint="Set validation.duplicates.action to drop, or divide by split.method predefined.")]  # fmt: skip


def _put(ctx: Context, rows: npt.NDArray[np.int64], parts: Parts, units: Labels | None) -> Divided:
    """Stores the artifact `split`, and gives what was stored."""
    blocks = {} if units is None else {"block": np.unique(units, return_inverse=True)[1].reshape(-1)}
    words = pa.DictionaryArray.from_arrays(pa.array(parts), pa.array(PARTS)).cast(pa.string())
    path = ctx.workspace.scratch / "split.parquet"
    pq.write_table(pa.table({"row": rows, "part": words, **blocks}), path, compression="zstd", use_dictionary=["part"],
                   column_encoding={"row": "DELTA_BINARY_PACKED"})  # fmt: skip
    ctx.workspace.put("split", path, "application/vnd.apache.parquet")
    stored = pq.read_table(path)
    part = pc.index_in(stored.column("part"), value_set=pa.array(PARTS)).to_numpy().astype(np.int8)
    return Divided(ctx.workspace.get("snapshot"), stored.column("row").to_numpy(), part)


def _put_tested(ctx: Context, division: Division) -> None:
    """Stores the artifact `tested`, where rows can be recognised by their ids."""
    if division.keys is not None:
        path = ctx.workspace.scratch / "tested.parquet"
        tested.write(division.keys[(division.parts == partition.TEST) & division.known], path)
        ctx.workspace.put("tested", path, "application/vnd.apache.parquet")


def _put_row_keys(ctx: Context, kept: npt.NDArray[np.int64], division: Division) -> None:
    """Stores keyed hashes of the rows that the model may learn from, and of those that judge it, where they have ids."""
    path = ctx.workspace.get("snapshot")
    ids = tested.columns(ctx.spec.task.id_columns, snapshot.names(path))
    if ctx.row_secret is None or not ids:
        return
    judging = division.parts == PARTS.index("test")
    learning = (division.parts != partition.NOWHERE) & ~judging  # a refit takes the validation rows too
    for name, rows in (("row_keys_trained", kept[learning]), ("row_keys_tested", kept[judging])):
        written = ctx.workspace.scratch / name
        rowkeys.write(snapshot.taken(path, ids, rows), ctx.row_secret, written)
        ctx.workspace.put(name, written)

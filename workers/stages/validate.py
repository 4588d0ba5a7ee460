"""Validate: stop bad data before it corrupts a run, and settle the task, the rows and the features."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import InvalidData, Violation, bounded
from workers import columns, contract, drift, leakage, profile, snapshot, targets
from workers.context import Context, Done, Warned
from workers.reference import reference_profile
from workers.repeats import repeats
from workers.targets import Target

Rows = npt.NDArray[np.int64]
SHOWN_COLUMNS = 20


def run(ctx: Context) -> Done:
    """Artifacts `profile`, `validation` and `kept` (column `row`: positions in the snapshot that are trained on).

    Output: `task_type`, `classes` (sorted, the positive one last), `features` as [name, type] pairs in snapshot
    order, `rows`, `dropped`.

    Raises:
        InvalidData: the contract, the target, the nulls, the duplicates, a leak or the drift forbid training.
    """
    spec = ctx.spec
    table = snapshot.read(ctx.workspace.get("snapshot"))
    contract.check(table, spec.validation.columns)
    ctx.progress(1, 6)
    kept, warned = _kept_rows(table, ctx)
    rows = snapshot.rows(table, kept)
    target = targets.resolve(rows.column(spec.task.target), spec.task)
    types, concerns = columns.feature_types(rows, spec)
    _require_features(types)
    nulls = _audit_nulls(rows, types, spec.validation.max_null_fraction)
    ctx.progress(3, 6)
    scores, leaks = _leaks(rows, types, target, ctx)
    described = profile.profile(rows, types)
    ctx.progress(5, 6)
    moved, drifted = _drift(rows, types, ctx)
    report = {"rows": len(kept), "dropped": table.num_rows - len(kept), "task_type": target.task_type,
              "classes": list(target.classes), "features": types, "null_shares": nulls, "single_feature_scores": scores,
              "drift": drift.as_json(moved)}  # fmt: skip
    _put_json(ctx, "profile", described)
    _put_json(ctx, "validation", report)
    _put_rows(ctx, kept)
    output = {"task_type": target.task_type, "classes": list(target.classes), "features": columns.as_pairs(types),
              "rows": len(kept), "dropped": table.num_rows - len(kept)}  # fmt: skip
    summary = {"rows": len(kept), "dropped": table.num_rows - len(kept), "features": len(types),
               "task_type": target.task_type, "classes": len(target.classes),
               "drifted": sum(one.drifted for one in moved)}  # fmt: skip
    return Done(summary=summary, output=output, warnings=(*warned, *concerns, *leaks, *drifted))


def _kept_rows(table: pa.Table, ctx: Context) -> tuple[Rows, list[Warned]]:
    """(positions, warnings): the rows with a target, without repetitions where those are to be dropped.

    Raises:
        InvalidData: `duplicate_rows`, `too_few_rows`.
    """
    spec, warned = ctx.spec, []
    usable = targets.known(table.column(spec.task.target))
    missing = int((~usable).sum())
    if missing == table.num_rows:
        raise InvalidData(f"The target {bounded(spec.task.target)!r} has no values.", code="target_missing")
    if missing:
        warned.append(
            Warned("target_missing", f"{missing:,} rows without a target are left out.", column=spec.task.target)
        )
    action = spec.validation.duplicates.action
    if action != "ignore":
        repeated = repeats(table) & usable
        count = int(repeated.sum())
        if count and action == "fail":
            first = ", ".join(str(row) for row in np.flatnonzero(repeated)[:5])
            raise InvalidData(f"{count:,} rows repeat an earlier row (row {first} …).", code="duplicate_rows",
                              hint="Set validation.duplicates.action to drop, warn or ignore.")  # fmt: skip
        if count:
            done = "are left out" if action == "drop" else "are kept"
            warned.append(Warned("duplicate_rows", f"{count:,} rows repeat an earlier row; they {done}."))
        usable = usable & ~repeated if action == "drop" else usable
    kept = np.flatnonzero(usable).astype(np.int64)
    if len(kept) < spec.validation.min_rows:
        raise InvalidData(f"{len(kept):,} rows can be trained on; validation.min_rows asks for {spec.validation.min_rows:,}.",
                          code="too_few_rows", hint="Bring more rows, or lower validation.min_rows.")  # fmt: skip
    return kept, warned


def _require_features(types: Mapping[str, str]) -> None:
    if not types:
        raise InvalidData("No column is left to learn from.", code="no_features",
                          hint="Columns of one value and identifiers are left out; see data.features.")  # fmt: skip


def _audit_nulls(table: pa.Table, types: Mapping[str, str], limit: float) -> dict[str, float]:
    """The share of nulls of each feature that has any.

    Raises:
        InvalidData: `too_many_nulls`.
    """
    shares = {name: table.column(name).null_count / table.num_rows for name in types}
    faults = [Violation(pointer="/validation/max_null_fraction", code="too_many_nulls",
                        message=f"Column {bounded(name)!r} is {share:.1%} null; the limit is {limit:.1%}.")
              for name, share in shares.items() if share > limit]  # fmt: skip
    if faults:
        raise InvalidData(f"{len(faults)} columns hold too many nulls; first: {faults[0].message}", code="too_many_nulls",
                          hint="Put them into data.features.exclude, or raise validation.max_null_fraction.",
                          violations=faults[:100])  # fmt: skip
    return {name: round(share, 6) for name, share in shares.items() if share}


def _leaks(
    table: pa.Table, types: Mapping[str, str], target: Target, ctx: Context
) -> tuple[dict[str, float], list[Warned]]:
    """(score by feature, warnings for those above the threshold).

    Raises:
        InvalidData: `leakage`.
    """
    spec = ctx.spec.validation.leakage
    if spec.action == "ignore":
        return {}, []
    y = targets.encode(table.column(ctx.spec.task.target), target)
    found = leakage.scores(table, types, y, classes=len(target.classes), seed=ctx.seed)
    metric = "AUC" if target.classes else "R²"
    warned = [Warned("leakage", f"Column {bounded(name)!r} alone predicts the target with {metric} {score:.3f}.", column=name,
                     hint="If it is not known at prediction time, put it into data.features.exclude.")
              for name, score in found.items() if score > spec.threshold]  # fmt: skip
    if warned and spec.action == "fail":
        raise InvalidData(warned[0].message, code="leakage", hint=warned[0].hint, violations=[
            Violation(pointer="/validation/leakage", code="leakage", message=leak.message) for leak in warned])  # fmt: skip
    return {name: round(score, 4) for name, score in found.items()}, warned


def _drift(table: pa.Table, types: Mapping[str, str], ctx: Context) -> tuple[list[drift.Moved], list[Warned]]:
    """(verdict by column, warnings for those that drifted).

    Raises:
        InvalidData: `drift`, where the action is `fail` and more than the allowed share of columns drifted.
    """
    spec = ctx.spec.validation.drift
    past, concerns = reference_profile(ctx)
    if past is None:
        return [], concerns
    moved = drift.compare(table.select([ctx.spec.task.target, *types]), past, spec)
    gone = [one for one in moved if one.drifted]
    if moved and spec.action == "fail" and len(gone) > spec.max_drifted_share * len(moved):
        raise InvalidData(f"{len(gone)} of {len(moved)} columns drifted from {spec.reference}.", code="drift",
                          hint="Look at the data, or raise validation.drift.max_drifted_share.", violations=[
            Violation(pointer="/validation/drift", code="drift", message=_said(one)) for one in gone[:100]])  # fmt: skip
    return moved, concerns + [Warned("drift", _said(one), column=one.column) for one in gone[:SHOWN_COLUMNS]]


def _said(moved: drift.Moved) -> str:
    return f"Column {bounded(moved.column)!r} drifted: {moved.method} {moved.value:.3f} is above {moved.threshold:g}."


def _put_json(ctx: Context, name: str, document: Mapping[str, Any]) -> None:
    path = ctx.workspace.scratch / f"{name}.json"
    path.write_text(json.dumps(document, allow_nan=False))
    ctx.workspace.put(name, path, "application/json")


def _put_rows(ctx: Context, kept: Rows) -> None:
    path = ctx.workspace.scratch / "kept.parquet"
    pq.write_table(pa.table({"row": kept}), path, compression="zstd", use_dictionary=False,
                   column_encoding="DELTA_BINARY_PACKED")  # fmt: skip
    ctx.workspace.put("kept", path, "application/vnd.apache.parquet")

"""Validate: find all that is wrong with the data in one pass, and settle the task, the rows and the features."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import InvalidData, bounded
from workers import audit, columns, contract, drift, findings, leakage, profile, snapshot, targets
from workers.context import Context, Done, Warned
from workers.findings import Finding
from workers.reference import reference_profile
from workers.targets import Target

Rows = npt.NDArray[np.int64]
STEPS = 6


@dataclass
class Survey:
    """What a look at the ingested table found, whether or not it can be trained on.

    Attributes:
        findings: Of every check, the worst first.
        target: The task that the target makes, or None where it makes none.
        kept: (rows,) Ascending positions in the snapshot that would be trained on.
        types: The type of each feature, in snapshot order.
        profile: What the columns look like.
        report: The whole of it as JSON: the artifact `validation`.
    """

    findings: list[Finding] = field(default_factory=list)
    target: Target | None = None
    kept: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    types: dict[str, str] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    def drifted(self) -> int:
        """How many columns drifted."""
        return sum(bool(one["drifted"]) for one in self.report.get("drift", ()))


def run(ctx: Context) -> Done:
    """Artifacts `profile`, `validation` and `kept` (column `row`: positions in the snapshot that are trained on).

    Output: `task_type`, `classes` (sorted, the positive one last), `features` as [name, type] pairs in snapshot
    order, `rows`, `dropped`.

    Raises:
        InvalidData: any finding is a failure; all of them are its violations, and the artifact `validation` is there.
    """
    seen = survey(ctx)
    _put_json(ctx, "profile", seen.profile)
    _put_json(ctx, "validation", seen.report)
    failing = findings.failures(seen.findings)
    target = seen.target
    if failing or target is None:
        raise findings.refusal(failing)
    return settled(ctx, seen, target)


def settled(ctx: Context, seen: Survey, target: Target) -> Done:
    """What later stages read of a survey: the artifact `kept` and the output of this stage."""
    _put_rows(ctx, seen.kept)
    counted = {"rows": len(seen.kept), "dropped": seen.report["dropped"]}
    output = {"task_type": target.task_type, "classes": list(target.classes), "features": columns.as_pairs(seen.types),
              **counted}  # fmt: skip
    summary = {**counted, "features": len(seen.types), "task_type": target.task_type, "classes": len(target.classes),
               "drifted": seen.drifted(), "findings": _tally(seen.findings)}  # fmt: skip
    warned = tuple(finding.warned() for finding in seen.findings if finding.severity == "warn")
    return Done(summary=summary, output=output, warnings=warned)


def survey(ctx: Context) -> Survey:
    """Every check of the ingested table, whatever the ones before it found; refuses nothing.

    Columns that the spec names and the table lacks are findings; without a target only the columns are looked at.
    """
    spec, seen = ctx.spec, Survey()
    table = snapshot.read(ctx.workspace.get("snapshot"))
    whole = table.num_rows
    seen.findings += contract.check(table, spec.validation.columns)
    ctx.progress(1, STEPS)
    seen.kept = _kept(table, ctx, seen)
    table = snapshot.rows(table, seen.kept)
    ctx.progress(2, STEPS)
    seen.target, facts = _target(table, ctx, seen)
    seen.types, concerns = columns.feature_types(table, spec)
    seen.findings += [_of_warning(concern) for concern in concerns]
    if not seen.types:
        seen.findings.append(Finding("fail", "no_features", "No column is left to learn from.", pointer="/data/features",
                                     hint="Columns of one value and identifiers are left out; see data.features."))  # fmt: skip
    shares, empty = audit.nulls(table, seen.types, spec.validation.max_null_fraction)
    seen.findings += empty
    ctx.progress(3, STEPS)
    scores = _leaks(table, ctx, seen)
    ctx.progress(4, STEPS)
    seen.profile = profile.profile(table, seen.types)
    ctx.progress(5, STEPS)
    moved = _drift(table, ctx, seen)
    seen.findings = findings.in_order(seen.findings)
    seen.report = {
        "version": 2, "rows": len(seen.kept), "dropped": whole - len(seen.kept), **facts, "features": seen.types,
        "findings": [finding.document() for finding in seen.findings], "null_shares": shares,
        "single_feature_scores": scores, "drift": drift.as_json(moved),
    }  # fmt: skip
    return seen


def _kept(table: pa.Table, ctx: Context, seen: Survey) -> Rows:
    """The rows with a target, without repetitions where those are to be dropped."""
    task, validation = ctx.spec.task, ctx.spec.validation
    usable = np.ones(table.num_rows, dtype=bool)
    if task.target in table.column_names:
        usable, found = audit.labelled(table, task)
        seen.findings += found
    else:
        seen.findings.append(Finding("fail", "unknown_column", f"There is no column {bounded(task.target)!r}.",
                                     column=task.target, pointer="/task/target", hint="Name the target's column."))  # fmt: skip
    again, found = audit.repeated(table, validation, task)
    seen.findings += found
    if validation.duplicates.action == "drop":
        usable &= ~again
    kept = np.flatnonzero(usable).astype(np.int64)
    if not findings.failures(seen.findings) or len(kept):
        seen.findings += audit.enough(len(kept), validation)
    return kept


def _target(table: pa.Table, ctx: Context, seen: Survey) -> tuple[Target | None, dict[str, Any]]:
    """(the task, what the report says of it); None where the target is missing or makes no task."""
    task = ctx.spec.task
    if task.target not in table.column_names or not table.num_rows:
        return None, {"task_type": None, "classes": []}
    column = table.column(task.target)
    try:
        target = targets.resolve(column, task)
    except InvalidData as error:
        seen.findings.append(Finding("fail", error.stable_code, error.detail, column=task.target, pointer="/task/target",
                                     hint=error.hint))  # fmt: skip
        return None, {"task_type": None, "classes": []}
    counts: dict[str, int] = {}
    if target.classes:
        counts, found = audit.classes(column, target, ctx.spec.validation)
    else:
        found = audit.numbers(column, task)
        found = [replace(one, rows=tuple(int(seen.kept[row]) for row in one.rows)) for one in found]
    seen.findings += found
    return target, {"task_type": target.task_type, "classes": list(target.classes), "class_counts": counts}


def _leaks(table: pa.Table, ctx: Context, seen: Survey) -> dict[str, float]:
    """The score of each feature alone; those above the threshold are findings."""
    spec = ctx.spec.validation.leakage
    if spec.action == "ignore" or seen.target is None or not seen.types:
        return {}
    y = targets.encode(table.column(ctx.spec.task.target), seen.target)
    found = leakage.scores(table, seen.types, y, classes=len(seen.target.classes), seed=ctx.seed)
    metric = "AUC" if seen.target.classes else "R²"
    seen.findings += [
        Finding("fail" if spec.action == "fail" else "warn", "leakage",
                f"Column {bounded(name)!r} alone predicts the target with {metric} {score:.3f}.", column=name,
                hint="If it is not known at prediction time, put it into data.features.exclude.",
                pointer="/validation/leakage")
        for name, score in found.items() if score > spec.threshold]  # fmt: skip
    return {name: round(score, 4) for name, score in found.items()}


def _drift(table: pa.Table, ctx: Context, seen: Survey) -> list[drift.Moved]:
    """The verdict by column; those that drifted are findings."""
    spec = ctx.spec.validation.drift
    past, concerns = reference_profile(ctx)
    seen.findings += [_of_warning(concern) for concern in concerns]
    if past is None or not table.num_rows:
        return []
    compared = [name for name in (ctx.spec.task.target, *seen.types) if name in table.column_names]
    moved = drift.compare(table.select(compared), past, spec)
    gone = [one for one in moved if one.drifted]
    failing = spec.action == "fail" and len(gone) > spec.max_drifted_share * len(moved)
    seen.findings += [Finding("fail" if failing else "warn", "drift", _said(one), column=one.column,
                              pointer="/validation/drift") for one in gone]  # fmt: skip
    return moved


def _said(moved: drift.Moved) -> str:
    return f"Column {bounded(moved.column)!r} drifted: {moved.method} {moved.value:.3f} is above {moved.threshold:g}."


def _of_warning(warned: Warned) -> Finding:
    return Finding(
        "warn", warned.code, warned.message, column=warned.column, hint=warned.hint, pointer="/data/features"
    )


def _tally(found: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity that occurs."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.severity] = counts.get(one.severity, 0) + 1
    return counts


def _put_json(ctx: Context, name: str, document: Mapping[str, Any]) -> None:
    path = ctx.workspace.scratch / f"{name}.json"
    path.write_text(json.dumps(document, allow_nan=False))
    ctx.workspace.put(name, path, "application/json")


def _put_rows(ctx: Context, kept: Rows) -> None:
    path = ctx.workspace.scratch / "kept.parquet"
    pq.write_table(pa.table({"row": kept}), path, compression="zstd", use_dictionary=False,
                   column_encoding="DELTA_BINARY_PACKED")  # fmt: skip
    ctx.workspace.put("kept", path, "application/vnd.apache.parquet")

"""A look at an ingested table that refuses nothing: every check, all findings, and what training would take."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.errors import InvalidData, bounded
from app.spec.job import JobSpec, known_task
from trainhouse_loader.reading import coerce
from workers.context import Context
from workers.quality import audit, contract, findings, giveaways, profile, stability, suspicion
from workers.quality.findings import Finding, pointer_to
from workers.quality.leakage import Leak
from workers.table import columns, snapshot, targets
from workers.table.columns import Decision
from workers.table.targets import Target

Rows = npt.NDArray[np.int64]
STEPS = 100


@dataclass
class Survey:
    """What a look at the ingested table found, whether or not it can be trained on.

    Attributes:
        findings: Of every check, the worst first.
        decisions: What becomes of each column that may be a feature.
        target: The task that the target makes, or None where it makes none.
        kept: (rows,) Ascending positions in the snapshot that would be trained on.
        types: The type of each feature, in snapshot order.
        profile: What the columns look like.
        drift: What `stability.judged` says, or None where there is nothing to compare with.
        report: The whole of it as JSON: the artifact `validation`.
        together: Columns that are empty where the target is.
    """

    findings: list[Finding] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    target: Target | None = None
    kept: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    types: dict[str, str] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    drift: dict[str, Any] | None = None
    report: dict[str, Any] = field(default_factory=dict)
    together: list[Leak] = field(default_factory=list)


def survey(ctx: Context) -> Survey:
    """Every check of the snapshot, whatever the ones before it found.

    Columns that the spec names and the table lacks are findings; without a target only the columns are looked at.
    Where no row has a target, the columns of all rows are described.
    """
    spec, seen = ctx.spec, Survey()
    table = snapshot.read(ctx.workspace.get("snapshot"))
    whole = table.num_rows
    seen.findings += contract.check(table, spec.validation.columns)
    ctx.progress(10, STEPS)
    _kept(table, ctx, seen)
    table = snapshot.rows(table, seen.kept) if len(seen.kept) else table
    ctx.progress(20, STEPS)
    seen.target, facts = _target(table, ctx, seen)
    _decide(table, spec, seen)
    readings = columns.readings_of(seen.decisions)
    shares, empty = audit.nulls(table, seen.types, spec.validation.max_null_fraction)
    seen.findings += empty
    ctx.progress(30, STEPS)
    leaks = _leaks(table, ctx, seen)
    ctx.progress(50, STEPS)
    _describe(table, readings, ctx, seen)
    seen.findings = findings.in_order(seen.findings)
    seen.report = {
        "version": 2, "rows": len(seen.kept), "dropped": whole - len(seen.kept), **facts, "features": seen.types,
        "findings": [finding.document() for finding in seen.findings], "null_shares": shares, **leaks, "drift": seen.drift,
    }  # fmt: skip
    return seen


def _kept(table: pa.Table, ctx: Context, seen: Survey) -> None:
    """Settles the rows that are kept: with a target, and without those repetitions that are to go."""
    task, validation = ctx.spec.task, ctx.spec.validation
    usable = np.ones(table.num_rows, dtype=bool)
    if task.target in table.column_names:
        usable, found = audit.labelled(table, task)
        seen.findings += found
        features = [name for name in table.column_names if name not in columns.not_features(ctx.spec)]
        seen.together = suspicion.recorded_together(table, features, usable)
    else:
        seen.findings.append(Finding("fail", "unknown_column", f"There is no column {bounded(task.target)!r}.",
                                     column=task.target, pointer="/task/target", hint="Name the target's column."))  # fmt: skip
    again, found = audit.repeated(table, validation, task)
    seen.findings += found
    wanted = usable & ~again if validation.duplicates.action == "drop" else usable
    seen.kept = np.flatnonzero(wanted).astype(np.int64)
    if usable.any() or not len(usable):
        seen.findings += audit.enough(len(seen.kept), validation)


def _target(table: pa.Table, ctx: Context, seen: Survey) -> tuple[Target | None, dict[str, Any]]:
    """(the task, what the report says of it); None where the target is missing or makes no task."""
    task = ctx.spec.task
    nothing: dict[str, Any] = {"task_type": None, "classes": [], "class_counts": {}}
    if task.target not in table.column_names or not len(seen.kept):
        return None, nothing
    column = table.column(task.target)
    try:
        target = targets.resolve(column, task, said=known_task(task.type, ctx.spec.training.objective))
    except InvalidData as error:
        pointer = "/task/positive_class" if "positive_class" in error.stable_code else "/task/target"
        seen.findings.append(Finding("fail", error.stable_code, error.detail, column=task.target, pointer=pointer,
                                     hint=error.hint))  # fmt: skip
        return None, nothing
    counts: dict[str, int] = {}
    if target.classes:
        counts, found = audit.classes(column, target, ctx.spec.validation)
    else:
        found = audit.numbers(column, task)
        found = [replace(one, rows=tuple(int(seen.kept[row]) for row in one.rows)) for one in found]
    seen.findings += found
    return target, {"task_type": target.task_type, "classes": list(target.classes), "class_counts": counts}


def _decide(table: pa.Table, spec: JobSpec, seen: Survey) -> None:
    """The type of each feature, and what is odd about the columns; types that do not fit are findings."""
    if not table.num_rows:
        return
    try:
        seen.decisions = columns.decide(table, spec)
    except InvalidData as error:
        wrong = [str(fault.facts.get("column")) for fault in error.violations]
        seen.findings += [
            _of_mismatch(fault.message, fault.hint, column)
            for fault, column in zip(error.violations, wrong, strict=True)
        ]
        seen.decisions = columns.decide(table, _without_types(spec, wrong))
    seen.types = columns.as_types(seen.decisions)
    seen.findings += [Finding("warn", said.code, said.message, column=said.column, hint=said.hint,
                              pointer=pointer_to("/data/features/types", said.column or ""))
                      for said in columns.warnings_of(seen.decisions)]  # fmt: skip
    if not seen.types:
        seen.findings.append(Finding("fail", "no_features", "No column is left to learn from.", pointer="/data/features",
                                     hint="Columns of one value and identifiers are left out; see data.features."))  # fmt: skip


def _of_mismatch(message: str, hint: str, column: str) -> Finding:
    return Finding("fail", "type_mismatch", message, column=column, check="type", hint=hint,
                   pointer=pointer_to("/data/features/types", column))  # fmt: skip


def _without_types(spec: JobSpec, names: Sequence[str]) -> JobSpec:
    """`spec` as if it did not say the types of the columns `names`."""
    kept = {name: kind for name, kind in spec.data.features.types.items() if name not in set(names)}
    features = spec.data.features.model_copy(update={"types": kept})
    return spec.model_copy(update={"data": spec.data.model_copy(update={"features": features})})


def _leaks(table: pa.Table, ctx: Context, seen: Survey) -> dict[str, Any]:
    """What the report says of the features' scores alone; those that give the target away are findings."""
    spec = ctx.spec.validation.leakage
    if seen.target is None or not seen.types:
        return {"single_feature_scores": {}, "leaks": []}
    sample = giveaways.sample_of(table, seen.decisions, ctx.spec.task.target, seen.target, seed=ctx.seed)
    seen.findings += giveaways.twins(sample)
    if spec.action == "ignore":
        return {"single_feature_scores": {}, "leaks": []}
    scores, found = giveaways.evidence(sample, spec, threads=ctx.threads)
    found = found + seen.together
    seen.findings += giveaways.as_findings(found, spec)
    return {"single_feature_scores": {name: round(score, 4) for name, score in scores.items()},
            "leaks": [asdict(leak) for leak in found]}  # fmt: skip


def _describe(table: pa.Table, readings: dict[str, dict[str, Any]], ctx: Context, seen: Survey) -> None:
    """The profile, and the drift from the reference: one column is held beside the table at a time."""
    judge, found = stability.prepared(ctx, seen.types, readings)
    seen.findings += found
    decided = {decision.name: decision for decision in seen.decisions}
    described: dict[str, Any] = {}
    room = profile.room_for(table.num_columns)
    for place, name in enumerate(table.column_names):
        ctx.progress(50 + 40 * place // table.num_columns, STEPS)
        one = coerce.read_table(table.select([name]), {name: readings[name]} if name in readings else {})
        looked = profile.look(one.column(name), seen.types.get(name))
        described[name] = profile.describe(looked, room=room) | _reasons(decided.get(name))
        if judge is not None:
            judge.look(name, looked)
    seen.profile = {"version": profile.VERSION, "rows": table.num_rows, "columns": described}
    if judge is not None and table.num_rows:
        seen.drift, moved = judge.verdict(table, readings)
        seen.findings += moved


def _reasons(decision: Decision | None) -> dict[str, Any]:
    """Why a column is what it is."""
    if decision is None:
        return {"feature": False}
    return {"feature": decision.type is not None, "reason": decision.reason, "given": decision.given,
            "concern": decision.concern, "missing_words": list(decision.missing_words),
            "date_format": decision.date_format}  # fmt: skip

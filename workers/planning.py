"""A plan: reads the data as a job would, trains nothing, and says all that a job of this spec would meet and take."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

import pyarrow.parquet as pq

from app.errors import CallerError, InvalidData, Violation
from app.spec.job import JobSpec
from app.states import STAGES
from workers import estimates, misfits, reuse
from workers.context import Context, Done
from workers.estimates import Size
from workers.exporting import unexportable
from workers.fitting import rows as fitting_rows
from workers.matrix import encoding
from workers.memory import total_bytes
from workers.quality.findings import ORDER
from workers.quality.survey import Rows
from workers.search.facts import facts_of
from workers.search.plan import planned
from workers.stages import ingest, split, transform, validate
from workers.stages.validate import Survey
from workers.table import columns, targets
from workers.table.batches import Source
from workers.table.targets import Target
from workers.trainers.scaling import not_negative

T = TypeVar("T")
DIVIDING = {"/split/column", "/task/group_column", "/task/time_column", "/task/target"}


@dataclass
class Draft:
    """What is known of the plan so far."""

    ctx: Context
    findings: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    table_bytes: int = 0
    features: int | None = None

    def add(self, stage: str, found: Iterable[dict[str, Any]]) -> None:
        """Takes findings of `stage`, each once."""
        known = {(one["pointer"], one["code"], one["message"]) for one in self.findings}
        self.findings += [
            {"stage": stage, **one} for one in found if (one["pointer"], one["code"], one["message"]) not in known
        ]

    def tried(self, stage: str, work: Callable[[], T]) -> T | None:
        """What `work` gives; None where the caller is at fault, whose faults are findings then."""
        try:
            return work()
        except CallerError as error:
            faults = error.violations or [Violation("", error.stable_code, error.detail, error.hint)]
            self.add(stage, [_failing(fault) for fault in faults])
            return None

    @property
    def blocked_at(self) -> str | None:
        """The first stage that would fail."""
        failing = {one["stage"] for one in self.findings if one["severity"] == "fail"}
        return next((stage for stage in STAGES if stage in failing), None)


def run(ctx: Context) -> Done:
    """Fact `plan`: see `app.jobs.schemas.PlanOut`. Output: the `keys` of the stages, and where the job is `blocked_at`.

    Raises:
        Unavailable: a source does not answer.
    """
    draft = Draft(ctx)
    keys = {"ingest": reuse.key_of("ingest", ctx)}
    gathered = draft.tried("ingest", lambda: ingest.gathered(ctx))
    if gathered is not None:
        table, facts = gathered
        draft.table_bytes = table.nbytes
        missing = ingest.missing_columns(ctx.spec, table.column_names)
        draft.add("ingest", [_failing(fault) for fault in missing])
        ctx = replace(ctx, spec=without(ctx.spec, missing), outputs=draft.outputs)
        draft.outputs["ingest"] = dict(ingest.landed(ctx, table, facts).output)
        del table, gathered
        keys["validate"] = reuse.key_of("validate", ctx)
        ctx.progress(1, 3)
        _look(draft, ctx, keys, may_split=not DIVIDING & {fault.pointer for fault in missing})
    plan = _document(draft)
    output = {"keys": {name: asdict(key) for name, key in keys.items()}, "blocked_at": draft.blocked_at}
    summary = {"blocked": plan["blocked"], "findings": len(plan["findings"])}
    return Done(summary=summary, output=output, facts={"plan": plan})


def _look(draft: Draft, ctx: Context, keys: dict[str, reuse.Key], *, may_split: bool) -> None:
    """Surveys the landed table; splits it, where it has a target."""
    seen: Survey | None = draft.tried("validate", lambda: validate.survey(ctx))
    if seen is None:
        return
    validate.reported(ctx, seen)
    draft.add("validate", [finding.document() for finding in seen.findings])
    target = seen.target
    if target is None:
        return
    draft.outputs["validate"] = dict(validate.settled(ctx, seen, target).output)
    draft.features = estimates.features_of(ctx.spec, seen.types, seen.profile, task=target.task_type)
    draft.tried("train", lambda: fitting_rows.check_metrics(ctx.spec, target.task_type))
    draft.tried("train", lambda: fitting_rows.check_finish(ctx.spec, target.task_type))
    draft.tried("train", lambda: fitting_rows.check_columns(ctx))
    draft.tried("train", lambda: misfits.check_task(ctx.spec, target.task_type))
    draft.tried("train", lambda: misfits.check_monotone(ctx.spec, seen.types))
    if "onnx" in ctx.spec.registration.exports:
        types = columns.from_output(draft.outputs["validate"]["features"])
        kinds = {name: step.kind for step, names in encoding.plan(ctx.spec, types) for name in names}
        draft.tried("train", lambda: unexportable.refuse(kinds, ctx.spec.fitted_algorithms()))
    ctx.progress(2, 3)
    rows = taught = seen.kept
    if may_split and len(rows):
        keys["split"] = reuse.key_of("split", ctx)
        done = draft.tried("split", lambda: split.run(ctx))
        if done is not None:
            draft.outputs["split"] = dict(done.output)
            keys["transform"] = reuse.key_of("transform", ctx)
            divided = pq.read_table(ctx.workspace.get("split"), columns=["row", "part"])
            rows = divided.column("row").to_numpy()
            taught = rows[divided.column("part").to_numpy() != "test"]
    _look_at_numbers(draft, ctx, rows, taught, target=target)


def _look_at_numbers(draft: Draft, ctx: Context, rows: Rows, taught: Rows, *, target: Target) -> None:
    """Weights of `rows` that are none, and targets of the rows `taught` that are no counts, where counts are to be learned."""
    task, path = ctx.spec.task, ctx.workspace.get("snapshot")
    weight = task.weight_column
    if weight is not None and len(rows):
        draft.tried("transform", lambda: transform.weights(Source(path, rows), weight))
    if ctx.spec.training.objective == "poisson" and not target.classes:
        draft.tried("train", lambda: _check_counts(Source(path, taught), task.target, target))


def _check_counts(source: Source, name: str, target: Target) -> None:
    try:
        not_negative(targets.encode(source.table([name]).column(0), target))
    except InvalidData as error:
        raise error.under("/training/objective") from None


def _failing(fault: Violation) -> dict[str, Any]:
    return {"severity": "fail", **fault.document()}


def _of_memory(spec: JobSpec, wanted: int) -> list[dict[str, Any]]:
    """A warning where the job would take more memory than it may, or than this machine has."""
    limit = spec.resources.memory_bytes or total_bytes()
    if wanted <= limit:
        return []
    message = f"A worker process would take about {wanted / 1e9:.1f} GB; there are {limit / 1e9:.1f} GB."
    return [{"severity": "warn", "code": "memory", "pointer": "/resources/memory_bytes", "message": message,
             "hint": "Take fewer columns or rows, or a smaller encoding."}]  # fmt: skip


def without(spec: JobSpec, missing: Iterable[Violation]) -> JobSpec:
    """`spec` without the columns that the table lacks; the target stays, since everything is about it."""
    gone = {fault.facts["column"] for fault in missing}

    def there(name: str | None) -> str | None:
        return None if name in gone else name

    task = spec.task.model_copy(update={
        "id_columns": [name for name in spec.task.id_columns if name not in gone],
        **{part: there(getattr(spec.task, part)) for part in ("group_column", "time_column", "weight_column")},
    })  # fmt: skip
    given = spec.data.features
    features = given.model_copy(update={
        "exclude": [name for name in given.exclude if name not in gone], "types": _known(given.types, gone),
    })  # fmt: skip
    return spec.model_copy(update={
        "task": task, "data": spec.data.model_copy(update={"features": features}),
        "validation": spec.validation.model_copy(update={"columns": _known(spec.validation.columns, gone)}),
        "transform": spec.transform.model_copy(update={"columns": _known(spec.transform.columns, gone)}),
        "split": spec.split.model_copy(update={"column": there(spec.split.column)}),
    })  # fmt: skip


def _known(named: dict[str, T], gone: set[str]) -> dict[str, T]:
    return {name: value for name, value in named.items() if name not in gone}


def _document(draft: Draft) -> dict[str, Any]:
    """The plan as callers see it; what could not be known is null."""
    spec, outputs = draft.ctx.spec, draft.outputs
    said = outputs.get("validate", {})
    landed = outputs.get("ingest", {})
    parts = outputs.get("split", {}).get("rows")
    trials = planned(spec, facts_of(outputs) if said else None).trials
    memory, seconds = None, None
    if said and draft.features is not None:
        rows = int(said["rows"])
        texts = "text" in {kind for _name, kind in said["features"]}
        training = int(parts["train"]) if parts else int(rows * spec.split.train)
        size = Size(rows, landed["columns"], draft.table_bytes, draft.features, training, len(said["classes"]), texts)
        memory, seconds = estimates.memory_bytes(size), estimates.seconds(spec, size, trials=trials)
        draft.add("transform", _of_memory(spec, memory))
    return {
        "blocked": draft.blocked_at is not None,
        "findings": sorted(draft.findings, key=lambda one: ORDER[one["severity"]]),
        "rows": landed.get("rows"), "columns": landed.get("columns"), "features": draft.features,
        "task_type": said.get("task_type"), "parts": parts, "trials": trials, "memory_bytes": memory,
        "seconds": seconds, "stages": [],
    }  # fmt: skip

"""Whether today's table is like the reference: each column, the columns as such, and all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from app.errors import bounded
from app.spec.data import Drift
from trainhouse_loader.reading import coerce
from workers.context import Context
from workers.quality import drift, joint, reference
from workers.quality.drift import Cells, Moved
from workers.quality.findings import Finding
from workers.quality.joint import Told
from workers.quality.profile import Look
from workers.quality.reference import Reference

PART = "/validation/drift"
SHOWN = 3


@dataclass
class Judge:
    """Looks at column after column, then gives its verdict.

    Attributes:
        past: What today's columns are compared with.
        types: The kind of each column that is compared: the features, and the target.
        spec: How to judge.
        left_out: Columns that today's table lacks on purpose.
        seed, threads: Of the classifier.
        counted: By column that both sides have, its cells so far.
    """

    past: Reference
    types: Mapping[str, str | None]
    spec: Drift
    left_out: Sequence[str] = ()
    seed: int = 0
    threads: int = 1
    counted: dict[str, Cells | None] = field(default_factory=dict)

    def look(self, name: str, seen: Look) -> None:
        """Counts the column `name` beside its earlier profile, if it plays a part in learning today or did so then."""
        before = self.past.profile["columns"].get(name)
        if before is not None and (name in self.types or before.get("feature")):
            self.counted[name] = drift.cells(seen, before, int(self.past.profile["rows"]))

    def verdict(
        self, table: pa.Table, readings: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, Any], list[Finding]]:
        """(the verdict as JSON, findings) on the columns looked at and on the canonical `table` of today as a whole."""
        spec = self.spec
        told, why_not = self._together(table, readings)
        alpha = spec.significance / 2 if told is not None else spec.significance
        moved = drift.judge(self.counted, spec, significance=alpha, seed=self.seed) + self._came_and_went(table)
        gone = [one for one in moved if one.drifted]
        share = len(gone) / max(1, len(moved))
        tolerated = share <= spec.max_drifted_share and not (told and told.drifted and spec.max_drifted_share == 0)
        severity: Any = "fail" if spec.action == "fail" and not tolerated else "warn"
        found = [_found(one, self.past.name, severity) for one in moved if one.drifted or one.change == "new"]
        found += [_of_joint(told, self.past.name, severity)] if told and told.drifted else []
        found += [] if why_not is None else [why_not]
        said = {"reference": self.past.name, "rows": {"now": table.num_rows, "then": int(self.past.profile["rows"])},
                "significance": spec.significance, "drifted": len(gone), "share": round(share, 6),
                "columns": drift.as_json(moved), "joint": asdict(told) if told else None}  # fmt: skip
        return said, found

    def _came_and_went(self, table: pa.Table) -> list[Moved]:
        """The columns that only one side has; those that the spec leaves out do not count."""
        before = self.past.profile["columns"]
        present = {*self.left_out, *table.column_names}
        missing = [name for name, past in before.items() if name not in present and past.get("feature", True)]
        new = [name for name in self.types if name not in before]
        return drift.absent(missing, "missing") + drift.absent(new, "new")

    def _together(
        self, table: pa.Table, readings: Mapping[str, Mapping[str, Any]]
    ) -> tuple[Told | None, Finding | None]:
        """(how well a classifier tells both tables apart, or why that was not tried)."""
        shared = {
            name: kind for name, kind in self.types.items() if kind is not None and self.counted.get(name) is not None
        }
        if not self.spec.joint or not shared:
            return None, None
        if self.past.sample is None:
            return None, Finding("info", "joint_drift_not_judged", f"The rows of {bounded(self.past.name)} are not kept any "
                                 "more, so all columns together were not compared; each one was.", pointer=f"{PART}/joint")  # fmt: skip
        rng = np.random.default_rng(self.seed)
        names = list(shared)
        rows = pa.array(reference.some(table.num_rows, joint.MAX_ROWS, rng))
        now = pa.table({name: table.column(name).take(rows) for name in names})
        then = self.past.sample(names, joint.MAX_ROWS, rng)
        told = joint.tell_apart(
            coerce.read_table(now, readings), coerce.read_table(then, readings), shared,
            significance=self.spec.significance / 2, seed=self.seed, threads=self.threads)  # fmt: skip
        return told, None


def prepared(
    ctx: Context, types: Mapping[str, str], readings: Mapping[str, Mapping[str, Any]]
) -> tuple[Judge | None, list[Finding]]:
    """(a judge of the columns to come, findings); None where there is no reference.

    The target is compared too, but by itself: that classes became rarer is no drift of the features' relations.
    """
    past, found = reference.find(ctx, types, readings)
    if past is None:
        return None, found
    spec = ctx.spec
    judge = Judge(past, {**types, spec.task.target: None}, spec.validation.drift, spec.data.features.exclude,
                  ctx.seed, ctx.threads)  # fmt: skip
    return judge, found


def _found(moved: Moved, past: str, severity: Any) -> Finding:
    """The finding that one column moved, in words."""
    name = bounded(moved.column)
    if moved.change == "new":
        return Finding(
            "info", "drift_column_new", f"Column {name!r} was not in {past}.", column=moved.column, pointer=PART
        )
    if moved.change == "missing":
        return Finding(severity, "drift_column_missing", f"Column {name!r} of {past} is not in the data any more.",
                       column=moved.column, pointer=PART, hint="Look whether its source still delivers it.")  # fmt: skip
    if moved.change == "type":
        return Finding(severity, "drift_column_type", f"Column {name!r} holds another kind of value than in {past}.",
                       column=moved.column, pointer=PART, hint="Compare both profiles, or name its type in data.features.types.")  # fmt: skip
    message = (f"Column {name!r} drifted from {past}: {moved.method} {moved.value:.3f} is above {moved.threshold:g}, and "
               f"chance explains it with {_odds(moved.p_adjusted)}.{_details(moved)}")  # fmt: skip
    return Finding(severity, "drift", message, column=moved.column, check=moved.method, pointer=PART,
                   hint="Look at both histograms in the artifact validation.")  # fmt: skip


def _odds(p: float) -> str:
    return "p < 1e-12" if p < 1e-12 else f"p = {p:.2g}"


def _details(moved: Moved) -> str:
    """What moved, where a few words can say it: missing values, categories that came or went."""
    now, then = moved.nulls
    parts = [f"missing values: {then:.1%} before, {now:.1%} now"] if abs(now - then) > 0.01 else []
    for word, labels in (("new", moved.new), ("vanished", moved.vanished)):
        if labels:
            shown = ", ".join(f"{bounded(label)!r} ({share:.1%})" for label, share in list(labels.items())[:SHOWN])
            parts.append(f"{word}: {shown}{' …' if len(labels) > SHOWN else ''}")
    return f" Here: {'; '.join(parts)}." if parts else ""


def _of_joint(told: Told, past: str, severity: Any) -> Finding:
    shown = ", ".join(f"{bounded(name)!r} ({share:.0%})" for name, share in list(told.columns.items())[:SHOWN])
    return Finding(severity, "joint_drift", f"A classifier tells the rows from those of {past} with AUC {told.auc:.3f} "
                   f"({_odds(told.p_value)}); it looks at {shown}.", check="classifier", pointer=f"{PART}/joint",
                   hint="Where no single column drifted, their relations did: look at these columns together.")  # fmt: skip

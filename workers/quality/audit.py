"""Counting checks: rows, repetitions, nulls, and whether the target can be learned from."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import bounded
from app.spec.data import Task, Validation
from workers.quality.findings import Finding, examples, listed, pointer_to
from workers.table import targets
from workers.table.repeats import repeats
from workers.table.targets import Target

Mask = npt.NDArray[np.bool_]

RARE_ROWS = 10
HEAVY_SHARE = 0.95
NEARLY_CONSTANT = 0.99
FAR_OUT = 100.0
SHOWN = 5


def labelled(table: pa.Table, task: Task) -> tuple[Mask, list[Finding]]:
    """((rows,) where the target can be learned from, findings about the others)."""
    column = table.column(task.target)
    usable = targets.known(column)
    name = bounded(task.target)
    found = []
    for failing, code, what in (
        (~usable & column.is_null().to_numpy(), "target_missing", "no value"),
        (~usable & column.is_valid().to_numpy(), "target_infinite", "an infinite value"),
    ):
        count = int(failing.sum())
        if count:
            rows = examples(failing)
            found.append(Finding(
                "warn", code, f"{count:,} rows have {what} in the target {name!r} and are left out ({listed(rows, count)}).",
                column=task.target, count=count, share=round(count / len(usable), 6), rows=rows, pointer="/task/target",
                hint="Look whether rows without an answer are like the others."))  # fmt: skip
    if len(usable) and not usable.any():
        found = [Finding("fail", "target_missing", f"The target {name!r} has no values.", column=task.target,
                         count=len(usable), share=1.0, pointer="/task/target",
                         hint="Name another column in task.target.")]  # fmt: skip
    return usable, found


def repeated(table: pa.Table, validation: Validation, task: Task) -> tuple[Mask, list[Finding]]:
    """((rows,) True where a row repeats an earlier one, findings): identifiers do not make rows different."""
    action = validation.duplicates.action
    compared = [name for name in table.column_names if name not in set(task.id_columns)]
    if action == "ignore" or not compared:
        return np.zeros(table.num_rows, dtype=bool), []
    failing = repeats(table.select(compared))
    count = int(failing.sum())
    if not count:
        return failing, []
    rows = examples(failing)
    done = {"drop": "are left out", "warn": "are kept", "fail": "are not allowed"}[action]
    but = " but for task.id_columns" if len(compared) < table.num_columns else ""
    found = Finding(
        "fail" if action == "fail" else "warn", "duplicate_rows",
        f"{count:,} rows repeat an earlier row{but}; they {done} ({listed(rows, count)}).", count=count,
        share=round(count / table.num_rows, 6), rows=rows, pointer="/validation/duplicates/action",
        hint="Set validation.duplicates.action to drop them: copies on both sides of a split flatter the model."
        if action != "drop" else "")  # fmt: skip
    return failing, [found]


def enough(rows: int, validation: Validation) -> list[Finding]:
    """Whether as many rows are left as the spec asks for, and no more than it allows."""
    if rows < validation.min_rows:
        return [Finding("fail", "too_few_rows", f"{rows:,} rows can be trained on; validation.min_rows asks for "
                        f"{validation.min_rows:,}.", count=rows, pointer="/validation/min_rows",
                        hint="Bring more rows, or lower validation.min_rows.")]  # fmt: skip
    if validation.max_rows is not None and rows > validation.max_rows:
        return [Finding("fail", "too_many_rows", f"{rows:,} rows can be trained on; validation.max_rows allows "
                        f"{validation.max_rows:,}.", count=rows, pointer="/validation/max_rows",
                        hint="Look whether a join multiplied rows, or raise validation.max_rows.")]  # fmt: skip
    return []


def nulls(table: pa.Table, types: Mapping[str, str], limit: float) -> tuple[dict[str, float], list[Finding]]:
    """(the share of nulls of each feature that has any, findings for those above `limit`)."""
    if not table.num_rows:
        return {}, []
    counts = {name: table.column(name).null_count for name in types}
    shares = {name: count / table.num_rows for name, count in counts.items()}
    found = [Finding("fail", "too_many_nulls", f"Column {bounded(name)!r} is {share:.1%} null; the limit is {limit:.1%}.",
                     column=name, count=counts[name], share=round(share, 6), pointer="/validation/max_null_fraction",
                     hint="Put it into data.features.exclude, or raise validation.max_null_fraction.")
             for name, share in shares.items() if share > limit]  # fmt: skip
    return {name: round(share, 6) for name, share in shares.items() if share}, found


def classes(column: pa.ChunkedArray, target: Target, validation: Validation) -> tuple[dict[str, int], list[Finding]]:
    """(rows by class, findings): shares against the contract, classes of a few rows, one class that swallows all."""
    counted = pc.value_counts(column.combine_chunks())
    names = targets.labels(pa.chunked_array([counted.field(0)])).to_pylist()
    held = dict(zip(names, counted.field(1).to_pylist(), strict=True))
    counts = {label: int(held.get(label, 0)) for label in target.classes}
    rows = sum(counts.values())
    found = _shares(counts, rows, validation)
    rare = sorted((count, label) for label, count in counts.items() if count < RARE_ROWS)
    if rare:
        shown = ", ".join(f"{bounded(label)!r} ({count})" for count, label in rare[:SHOWN])
        found.append(Finding("warn", "rare_class", f"Of {len(counts)} classes, {len(rare)} with fewer than {RARE_ROWS} rows: {shown}.",
                             count=len(rare), pointer="/task/target",
                             hint="A class of a few rows cannot be learned and judged; merge it, or bring more rows."))  # fmt: skip
    label, most = max(counts.items(), key=lambda item: item[1])
    if most / rows >= HEAVY_SHARE:
        found.append(Finding("warn", "imbalanced", f"{most / rows:.1%} of the rows are of the class {bounded(label)!r}.",
                             count=most, share=round(most / rows, 6), pointer="/task/target",
                             hint="Judge by average_precision or mcc: accuracy is high for a model that knows nothing."))  # fmt: skip
    return counts, found


def _shares(counts: Mapping[str, int], rows: int, validation: Validation) -> list[Finding]:
    """The classes whose share is not the one that `validation.class_share` asks for."""
    found = []
    for label, bounds in validation.class_share.items():
        share = counts.get(label, 0) / rows
        pointer = pointer_to("/validation/class_share", label)
        if label not in counts:
            shown = ", ".join(repr(bounded(name)) for name in list(counts)[:SHOWN])
            found.append(Finding("fail", "unknown_class", f"The target has no class {bounded(label)!r}.", count=0, share=0.0,
                                 pointer=pointer, hint=f"Its classes are {shown}{' …' if len(counts) > SHOWN else ''}."))  # fmt: skip
        elif not bounds.min <= share <= bounds.max:
            found.append(Finding("fail", "class_share", f"The class {bounded(label)!r} has {share:.2%} of the rows; "
                                 f"{bounds.min:.2%} to {bounds.max:.2%} are asked for.", count=counts[label],
                                 share=round(share, 6), pointer=pointer,
                                 hint="Look at how the rows were chosen, or change validation.class_share."))  # fmt: skip
    return found


def numbers(column: pa.ChunkedArray, task: Task) -> list[Finding]:
    """What is odd about a target that is measured: nearly always one value, or a few values far out."""
    values = column.cast(pa.float64(), safe=False).to_numpy()
    name, found = bounded(task.target), []
    most = pc.mode(column, n=1)[0]["count"].as_py()
    if most / len(values) >= NEARLY_CONSTANT:
        found.append(Finding("warn", "nearly_constant_target", f"{most / len(values):.1%} of the target {name!r} is one value.",
                             column=task.target, count=most, share=round(most / len(values), 6), pointer="/task/target",
                             hint="Consider a classifier that tells this value from the others."))  # fmt: skip
    low, middle, high = np.quantile(values, [0.01, 0.5, 0.99])
    spread = high - low
    far = np.abs(values - middle) > FAR_OUT * spread if spread > 0 else np.zeros(len(values), dtype=bool)
    if far.any():
        rows = examples(far)
        found.append(Finding("warn", "absurd_target", f"{int(far.sum()):,} values of the target {name!r} lie more than "
                             f"{FAR_OUT:,.0f} times as far from the median as the middle 98% span ({listed(rows, int(far.sum()))}).",
                             column=task.target, count=int(far.sum()), share=round(float(far.mean()), 6), rows=rows,
                             pointer="/task/target", hint="A few such rows rule every squared error; mend or drop them."))  # fmt: skip
    return found

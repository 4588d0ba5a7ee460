"""All evidence that features give the target away, the certain first, then what only looks like it."""

from collections.abc import Sequence

import pyarrow as pa

from app.spec.data import Leakage
from trainhouse_loader.reading import coerce
from workers.quality import leakage, relations, suspicion
from workers.quality.findings import Finding
from workers.quality.leakage import Leak, Sample
from workers.table import columns, targets
from workers.table.columns import Decision
from workers.table.targets import Target

HINT = "If it is not known at prediction time, put it into data.features.exclude."


def sample_of(table: pa.Table, decisions: Sequence[Decision], name: str, target: Target, *, seed: int) -> Sample:
    """The features and the target, which is the column `name`, in the rows of `table` that are looked at."""
    types = columns.as_types(decisions)
    taken = pa.array(leakage.sampled(table.num_rows, len(types), seed))
    small = pa.table({feature: table.column(feature).take(taken) for feature in types})
    y = targets.encode(table.column(name).take(taken), target)
    return Sample(coerce.read_table(small, columns.readings_of(decisions)), types, y, len(target.classes), seed)


def evidence(sample: Sample, spec: Leakage, *, threads: int) -> tuple[dict[str, float], list[Leak]]:
    """(score by feature, leaks): copies and relations, scores above the threshold, then suspicious signs.

    What is certain is set aside before signs are looked for, so that one leak does not hide another. Accomplices are
    looked for only where more than one strong feature speaks for a leak: honest features add to each other, too.
    """
    scores = leakage.scores(sample)
    found = relations.copies(sample)
    found += relations.sums(sample, _named(found))
    named = _named(found)
    found += [leak for leak in leakage.too_good(sample, scores, spec.threshold) if leak.columns[0] not in named]
    certain = _named(found)
    signs = [leak for leak in suspicion.missingness(sample) if leak.columns[0] not in certain]
    signs += suspicion.pairs(sample, scores, certain)
    model = suspicion.quick(sample, scores, threads=threads)
    fronts = {leak.columns[0] for leak in signs}
    signs += suspicion.dominance(sample, model, scores, certain | fronts)
    suspects = sorted({leak.columns[0] for leak in signs} & scores.keys(), key=lambda name: -scores[name])
    if suspects and (fronts or certain):
        partners = {name for leak in signs for name in leak.columns} - {suspects[0]}
        signs += suspicion.accomplices(model, suspects[0], certain | partners)
    return scores, found + signs


def _named(found: Sequence[Leak]) -> set[str]:
    return {name for leak in found for name in leak.columns}


def as_findings(found: Sequence[Leak], spec: Leakage) -> list[Finding]:
    """One finding for each column, with all evidence against it.

    What is certain is `leakage`, and fails where the spec says so; what is not is `suspected_leakage`, a warning.
    """
    by_column: dict[str, list[Leak]] = {}
    for leak in sorted(found, key=lambda leak: not leak.certain):
        by_column.setdefault(leak.columns[0], []).append(leak)
    return [Finding("fail" if leaks[0].certain and spec.action == "fail" else "warn",
                    "leakage" if leaks[0].certain else "suspected_leakage", " ".join(leak.message for leak in leaks),
                    column=name, check=leaks[0].kind, share=round(leaks[0].score, 4), hint=HINT, pointer="/validation/leakage")
            for name, leaks in by_column.items()]  # fmt: skip


def twins(sample: Sample) -> list[Finding]:
    """Features that say the same as an earlier one in other words."""
    return [Finding("info", "relabelled_column", f"Column {name!r} says the same as {earlier!r} in other words: "
                    f"{values:,} values, one to one.", column=name, count=values, pointer="/data/features/exclude",
                    hint="One of both is enough: exclude the other.")
            for name, earlier, values in relations.relabelled(sample.table, sample.types)]  # fmt: skip

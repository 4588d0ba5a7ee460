"""What the gate and people judge a candidate by: its metrics with intervals, beside the champion's, in slices and gaps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.spec.decision import Rule, Slice
from trainhouse_loader.models import ensemble
from trainhouse_loader.models.ensemble import Ensemble
from workers import champion as champions
from workers.champion import Unfit
from workers.context import Context
from workers.fitting.fits import predict_ms
from workers.matrix.prepared import Prepared
from workers.measures import slicing
from workers.measures.intervals import Confidence, resamples_of
from workers.measures.metrics import lower_is_better
from workers.measures.samples import Floats, Rows
from workers.measures.scoring import compared, gap, measured, values
from workers.table import snapshot
from workers.trainers.contract import fold_weights

METHOD = "percentile bootstrap, Poisson(1) draws"
MOST_COMPARED = 1_000
"""Groups of one gap: each is drawn again and written down."""


@dataclass(frozen=True)
class Bench:
    """The test rows with what is predicted for them, and what is asked about them.

    Attributes:
        ours: With the candidate's predictions.
        theirs: With the champion's; None where there is none that can answer.
        names: The metrics.
        leading: The metric that the search optimised.
        confidence: How intervals are made.
        slices: The slices that are looked at.
        rules: The gate's, which may look at further ones.
        table: (rows of `ours`) the columns that slices and rules look at.
    """

    ours: Rows
    theirs: Rows | None
    names: Sequence[str]
    leading: str
    confidence: Confidence
    slices: Sequence[Slice]
    rules: Sequence[Rule]
    table: pa.Table


def gathered(
    ctx: Context, data: Prepared, fitted: Ensemble, predicted: Floats, names: Sequence[str]
) -> tuple[dict[str, Any], Bench]:
    """(the evidence, as `app.verdicts.judged` takes it, with `confidence` beside it; the rows that it rests on).

    Args:
        predicted: What `fitted` says of the test rows.
        names: The metrics to measure.
    """
    held = data.where("test")
    weights = fold_weights(data, np.flatnonzero(held))
    ours = Rows(data.task, data.y[held], predicted, ctx.spec.training.quantile, weights, fitted.finish.threshold)
    said, theirs = _champion(ctx, data, ours)
    asked = ctx.spec.evaluation
    bench = Bench(
        ours, theirs, names, ctx.outputs["train"]["metric"],
        Confidence(asked.confidence.level, asked.confidence.resamples, ctx.seed), asked.slices, ctx.spec.gate.rules,
        _columns(ctx, data.row[held]),
    )  # fmt: skip
    return {**weighed(bench, said), "costs": costs(ctx, data, fitted)}, bench


def weighed(bench: Bench, champion: dict[str, Any] | None) -> dict[str, Any]:
    """All evidence that follows from the rows; `champion` is what is known of it besides its predictions."""
    ours, theirs, names, confidence = bench.ours, bench.theirs, bench.names, bench.confidence
    if champion is not None and theirs is not None:
        champion = {**champion, "metrics": values(theirs, names), "gains": compared(ours, theirs, names, confidence)}
    return {
        "rows": len(ours), "metrics": measured(ours, names, confidence), "champion": champion, "slices": sliced(bench),
        "gaps": [_gap(bench, rule) for rule in bench.rules if rule.across],
        "confidence": {
            "level": confidence.level, "resamples": resamples_of(ours, confidence) if len(ours) else 0,
            "asked": confidence.resamples, "seed": confidence.seed, "method": METHOD,
        },
    }  # fmt: skip


def _champion(ctx: Context, data: Prepared, ours: Rows) -> tuple[dict[str, Any] | None, Rows | None]:
    """What is said of the champion, and the rows with its predictions."""
    if ctx.champion is None:
        return None, None
    said: dict[str, Any] = {"version": ctx.champion.version, "job_id": ctx.champion.job_id}
    if not len(ours):
        return {**said, "reason": "there are no test rows"}, None
    try:
        predicted, threshold = champions.predicted(ctx, ctx.champion, data)
    except Unfit as reason:
        ctx.log(f"version {ctx.champion.version}, the champion, cannot score the test rows: {reason}")
        return {**said, "reason": str(reason)}, None
    return {**said, "threshold": threshold}, replace(ours, p=predicted, threshold=threshold, kept={})


def _columns(ctx: Context, rows: npt.NDArray[np.int64]) -> pa.Table:
    asked = [name for each in ctx.spec.evaluation.slices for name in each.columns]
    asked += [name for rule in ctx.spec.gate.rules for name in (*rule.slice, *rule.across)]
    if not asked:
        return pa.table({})
    return snapshot.taken(ctx.workspace.get("snapshot"), list(dict.fromkeys(asked)), rows)


def sliced(bench: Bench) -> list[dict[str, Any]]:
    """The slices that the evaluation and the rules ask for, each `{where, rows, metrics}`, worst first.

    Slices that are too small to be measured have no metrics, and come last.
    """
    found: list[dict[str, Any]] = []
    for each in bench.slices:
        found += [
            _slice(bench, group.where, group.rows, few=len(group.rows) < each.min_rows)
            for group in slicing.groups(bench.table, each.columns)
        ]
    ruled = [rule for rule in bench.rules if rule.slice]
    for where in [
        rule.slice for place, rule in enumerate(ruled) if rule.slice not in [each.slice for each in ruled[:place]]
    ]:
        compare = any(rule.against for rule in ruled if rule.slice == where)
        rows = slicing.matching(bench.table, where)
        found = [each for each in found if each["where"] != where]
        found.append(_slice(bench, where, rows, compare=compare))
    return sorted(found, key=lambda each: _badness(each, bench.leading))


def _slice(
    bench: Bench, where: Any, rows: npt.NDArray[np.int64], *, few: bool = False, compare: bool = False
) -> dict[str, Any]:  # fmt: skip
    said: dict[str, Any] = {"where": dict(where), "rows": len(rows), "metrics": {}}
    if few:
        return {**said, "reason": "fewer rows than min_rows"}
    said["metrics"] = measured(bench.ours.taken(rows), bench.names, bench.confidence)
    if compare and bench.theirs is not None:
        ours, theirs = bench.ours.taken(rows), bench.theirs.taken(rows)
        said["champion"] = {"gains": compared(ours, theirs, bench.names, bench.confidence)}
    return said


def _badness(said: dict[str, Any], metric: str) -> tuple[bool, float]:
    value = said["metrics"].get(metric, {}).get("value")
    return value is None, 0.0 if value is None else (-value if lower_is_better(metric) else value)


def _gap(bench: Bench, rule: Rule) -> dict[str, Any]:
    known = slicing.groups(bench.table, rule.across, every=True)
    counted = [each for each in known if len(each.rows) >= rule.min_rows]
    about = {"columns": list(rule.across), "metric": rule.metric, "min_rows": rule.min_rows,
             "left_out": len(known) - len(counted)}  # fmt: skip
    if len(counted) > MOST_COMPARED:
        why = f"{len(counted):,} groups have min_rows rows, and at most {MOST_COMPARED:,} are compared"
        return {**about, "groups": [], "value": None, "low": None, "high": None, "reason": why}
    parts = [bench.ours.taken(each.rows) for each in counted]
    told = [
        {"where": dict(each.where), "rows": len(each.rows), **values(rows, [rule.metric])[rule.metric]}
        for each, rows in zip(counted, parts, strict=True)
    ]
    return {**about, "groups": told, **gap(parts, rule.metric, bench.confidence)}


def costs(ctx: Context, data: Prepared, fitted: Ensemble) -> dict[str, float]:
    """`model_bytes` of the models, and `predict_ms`, milliseconds to predict one encoded row."""
    rows = np.flatnonzero(data.where("test"))
    found = {"model_bytes": float(ensemble.size(ctx.workspace.get("model")))}
    if len(rows):
        found["predict_ms"] = predict_ms(data, rows, [fitted])
    return found

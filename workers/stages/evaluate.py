"""Evaluate: the chosen model meets the test part once, and everything that is said of it is written down."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainhouse_loader.answers import columns_of
from trainhouse_loader.models import ensemble
from trainhouse_loader.models.ensemble import Ensemble
from workers import explain, pinned
from workers.context import Context, Done, Warned
from workers.evidence import gathered
from workers.fitting.rows import forget, matrix_of
from workers.isolation import fresh
from workers.matrix.prepared import Prepared
from workers.measures import curves
from workers.measures.metrics import names_for
from workers.measures.samples import Floats, Rows, Sample
from workers.terms import PARTS
from workers.threads import limited
from workers.trainers.contract import fold_weights

MOST_CLASSES_IN_MATRIX = 200
PARQUET = "application/vnd.apache.parquet"


def run(ctx: Context) -> Done:
    """Scores `model` on the test part; puts `predictions_test` and `judged` (Parquet), `evaluation` (JSON).

    Output: the evidence that the gate judges, see `workers.evidence.gathered`; and `validation` and `baseline`, each by
    metric name, and `rows` by part. The validation metrics are those of the search: the model may have learned from the
    validation rows since. The baselines are the best constant and a linear model.
    """
    fresh.warm()  # for the champion, and for the proof of the bundle after the next stages
    data = matrix_of(ctx)
    fitted = ensemble.load(ctx.workspace.get("model"), threads=ctx.threads)
    asked = [
        *ctx.spec.evaluation.metrics,
        *(rule.metric for rule in ctx.spec.gate.rules),
        ctx.outputs["train"]["metric"],
    ]
    names = names_for(data.task, asked)
    validation = {name: dict(entry) for name, entry in ctx.outputs["tune"]["metrics"].items()}
    with limited(ctx.threads):
        ctx.progress(0, 4)
        predicted = fitted.predict(data.x[data.where("test")])
        ctx.progress(1, 4)
        evidence, bench = gathered(ctx, data, fitted, predicted, names)
        ctx.progress(3, 4)
        report = _report(ctx, data, fitted, predicted, evidence, validation)
    _put_predictions(ctx, data, predicted, threshold=fitted.finish.threshold)
    rows = ctx.workspace.scratch / "judged.parquet"
    pinned.write(bench, data.classes, rows)
    ctx.workspace.put("judged", rows, PARQUET)
    forget()  # no later stage reads the matrix
    path = ctx.workspace.scratch / "evaluation.json"
    path.write_text(json.dumps(report, allow_nan=False, sort_keys=True), encoding="utf-8")
    ctx.workspace.put("evaluation", path, "application/json")
    test = evidence["metrics"]
    return Done(
        summary={"rows": evidence["rows"], "metrics": {name: entry["value"] for name, entry in test.items()}},
        output={
            **evidence, "test_rows": evidence["rows"], "threshold": fitted.finish.threshold, "validation": validation, "baseline": report["baseline"],
            "linear": report["linear"], "rows": report["rows"],
        },
        warnings=tuple(
            Warned("metric_undefined", f"{name} has no value on the test part: {entry.get('reason')}.")
            for name, entry in test.items() if entry["value"] is None
        ),
        metrics={"test": test, "validation": validation},
    )  # fmt: skip


def _report(
    ctx: Context,
    data: Prepared,
    fitted: Ensemble,
    predicted: Floats,
    evidence: dict[str, Any],
    validation: dict[str, Any],
) -> dict[str, Any]:
    held, names = data.where("test"), list(evidence["metrics"])
    rows = Rows(
        data.task, data.y[held], predicted, weights=fold_weights(data, np.flatnonzero(held)),
        threshold=fitted.finish.threshold,
    )  # fmt: skip
    report: dict[str, Any] = {
        "task": data.task, "classes": list(data.classes),
        "rows": {part: int(data.where(part).sum()) for part in PARTS},
        "metrics": {"test": evidence["metrics"], "validation": validation},
        **{name: evidence[name] for name in ("confidence", "champion", "slices", "gaps", "costs")},
        "baseline": explain.baseline(data, names, ctx.spec.training), "linear": explain.linear(ctx, data, names),
        "curves": curves.of_rows(rows), "finish": fitted.finish.document(),
    }  # fmt: skip
    if ctx.spec.evaluation.explain:
        metric = ctx.outputs["train"]["metric"]
        report["importances"] = explain.importances(fitted, data)
        report["contributions"] = explain.explained(
            fitted, data, metric=metric, quantile=ctx.spec.training.quantile, seed=ctx.seed
        )
    if data.classes and len(data.classes) <= MOST_CLASSES_IN_MATRIX:
        report["confusion"] = {"labels": list(data.classes), "counts": Sample.whole(rows).cells[0].tolist()}
    return report


def _put_predictions(ctx: Context, data: Prepared, predicted: Floats, *, threshold: float) -> None:
    held = data.where("test")
    columns: dict[str, Any] = {
        "row": pa.array(data.row[held], pa.int64()),
        "part": pa.array(["test"] * int(held.sum()), pa.string()),
    }
    if data.task == "regression":
        columns["target"] = pa.array(data.y[held])
    else:
        names = np.asarray(data.classes, dtype=object)
        columns["target"] = pa.array(names[data.y[held].astype(np.int64)], pa.string())
    answers = columns_of(data.task, data.classes, predicted, threshold=threshold)
    columns.update({name: pa.array(values) for name, values in answers.items()})
    path = ctx.workspace.scratch / "predictions_test.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd")
    ctx.workspace.put("predictions_test", path, PARQUET)

"""Evaluate: the chosen model meets the test part once, and everything that is said of it is written down."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.spec.modelling import Training
from workers import explain
from workers.context import Context, Done, Warned
from workers.fitting.rows import forget, matrix_of
from workers.isolation import fresh
from workers.matrix.prepared import Prepared
from workers.measures.answers import columns_of
from workers.measures.metrics import names_for
from workers.measures.samples import Floats, Rows
from workers.measures.scoring import scores
from workers.terms import PARTS
from workers.threads import limited
from workers.trainers import ensemble
from workers.trainers.ensemble import Ensemble

MOST_CLASSES_IN_MATRIX = 200


def run(ctx: Context) -> Done:
    """Scores `model` on the test part; puts `predictions_test` (Parquet) and `evaluation` (JSON).

    Output: `{metrics, validation, baseline}`, each by metric name, and `rows` by part; test metrics carry intervals.
    The validation metrics are those of the search: the model may have learned from the validation rows since.
    """
    fresh.warm()  # for the proof of the bundle, after the next stages
    data = matrix_of(ctx)
    fitted = ensemble.load(ctx.workspace.get("model"), threads=ctx.threads)
    asked = [
        *ctx.spec.evaluation.metrics,
        *(rule.metric for rule in ctx.spec.gate.rules),
        ctx.outputs["train"]["metric"],
    ]
    names, quantile = names_for(data.task, asked), ctx.spec.training.quantile
    validation = {name: dict(entry) for name, entry in ctx.outputs["tune"]["metrics"].items()}
    with limited(ctx.threads):
        ctx.progress(0, 3)
        predicted = fitted.predict(data.x[data.where("test")])
        ctx.progress(1, 3)
        test = scores(
            data.task, data.y[data.where("test")], predicted, names=names, quantile=quantile, intervals=True,
            seed=ctx.seed,
        )  # fmt: skip
        ctx.progress(2, 3)
        report = _report(data, fitted, predicted, {"test": test, "validation": validation}, ctx.spec.training)
    _put_predictions(ctx, data, predicted)
    forget()  # no later stage reads the matrix
    path = ctx.workspace.scratch / "evaluation.json"
    path.write_text(json.dumps(report, allow_nan=False, sort_keys=True), encoding="utf-8")
    ctx.workspace.put("evaluation", path, "application/json")
    return Done(
        summary={"rows": int(data.where("test").sum()), "metrics": {name: entry["value"] for name, entry in test.items()}},
        output={
            "metrics": test, "validation": validation, "baseline": report["baseline"], "rows": report["rows"],
        },
        warnings=tuple(
            Warned("metric_undefined", f"{name} has no value on the test part: {entry.get('reason')}.")
            for name, entry in test.items() if entry["value"] is None
        ),
        metrics={"test": test, "validation": validation},
    )  # fmt: skip


def _report(
    data: Prepared, fitted: Ensemble, predicted: Floats, metrics: dict[str, Any], training: Training
) -> dict[str, Any]:
    y = data.y[data.where("test")]
    report: dict[str, Any] = {
        "task": data.task, "classes": list(data.classes),
        "rows": {part: int(data.where(part).sum()) for part in PARTS},
        "metrics": metrics, "baseline": explain.baseline(data, list(metrics["test"]), training),
        "importances": explain.importances(fitted, data),
    }  # fmt: skip
    if data.classes and len(data.classes) <= MOST_CLASSES_IN_MATRIX:
        report["confusion"] = {"labels": list(data.classes), "counts": Rows(data.task, y, predicted).cells.tolist()}
    if data.task == "binary":
        report["curves"] = explain.curves(y, predicted[:, 1])
    return report


def _put_predictions(ctx: Context, data: Prepared, predicted: Floats) -> None:
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
    answers = columns_of(data.task, data.classes, predicted)
    columns.update({name: pa.array(values) for name, values in answers.items()})
    path = ctx.workspace.scratch / "predictions_test.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd")
    ctx.workspace.put("predictions_test", path, "application/vnd.apache.parquet")

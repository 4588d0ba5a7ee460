"""What a report says of a model besides its metrics: importances, and what guessing or a linear model would score."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import InvalidData, InvalidSpec, MachineError
from app.spec.modelling import Training
from workers.context import Context
from workers.fitting.candidates import Candidate, recipe_of
from workers.matrix.prepared import Prepared
from workers.measures.scoring import scores
from workers.terms import TaskType
from workers.trainers import TRAINERS
from workers.trainers.contract import Company, Fold, fold_weights
from workers.trainers.ensemble import Ensemble

Floats = npt.NDArray[np.float64]
SAMPLE_ROWS = 10_000
MOST_IMPORTANCES = 100
LINEAR_ROWS = 20_000
LINEAR_STEPS = 100


def importances(fitted: Ensemble, data: Prepared) -> list[dict[str, Any]]:
    """Features by falling importance, as `{"feature", "share"}`; at most `MOST_IMPORTANCES`, none without a share."""
    shares = fitted.importances(data.x[np.flatnonzero(data.where("train"))[:SAMPLE_ROWS]])
    order = sorted(range(len(shares)), key=lambda index: (-shares[index], index))
    return [
        {"feature": data.feature_names[index], "share": float(shares[index])}
        for index in order[:MOST_IMPORTANCES]
        if shares[index] > 0
    ]


def guess(task: TaskType, y: Floats, *, classes: int, rows: int, quantile: float | None = None) -> Floats:
    """What the best constant predicts for `rows` rows: the shares of the classes, or the mean of `y` (rows,).

    With a `quantile` it is that of `y`, which is best where quantiles (or absolute errors, by the median) count.
    """
    if task == "regression":
        return np.full(rows, y.mean() if quantile is None else np.quantile(y, quantile))
    shares = np.bincount(y.astype(np.int64), minlength=classes) / len(y)
    return np.tile(shares, (rows, 1))


def baseline(data: Prepared, names: Sequence[str], training: Training) -> dict[str, dict[str, Any]]:
    """Test metrics of the best constant of the train part for the objective of `training`."""
    quantile = {"quantile": training.quantile, "huber": 0.5}.get(training.objective)
    learned, rows = data.y[data.where("train")], int(data.where("test").sum())
    constant = guess(data.task, learned, classes=len(data.classes), rows=rows, quantile=quantile)
    return _on_test(data, constant, names, training)


def linear(ctx: Context, data: Prepared, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Test metrics of a linear model of the train part, of `LINEAR_ROWS` of its rows at the most; empty where none can be fitted."""
    rows = np.flatnonzero(data.where("train"))
    if len(rows) > LINEAR_ROWS:
        rows = np.sort(np.random.default_rng(ctx.seed).choice(rows, LINEAR_ROWS, replace=False))
    validation = np.flatnonzero(data.where("validation"))[:LINEAR_ROWS]
    recipe = recipe_of(ctx, data, Candidate("linear", {}), rounds=LINEAR_STEPS)
    try:
        fitted = TRAINERS["linear"].fit(
            data, Fold(name="baseline", train=rows, validation=validation), replace(recipe, monotone={}),
            Company(threads=ctx.threads, on_iteration=lambda _step, _value: ctx.progress(3, 4)),
        )  # fmt: skip
        predicted = fitted.predict(data.x[data.where("test")])
    except (InvalidData, InvalidSpec, MachineError) as error:
        ctx.log(f"no linear model to compare with: {error.detail}")
        return {}
    return _on_test(data, predicted, names, ctx.spec.training)


def _on_test(data: Prepared, predicted: Floats, names: Sequence[str], training: Training) -> dict[str, dict[str, Any]]:
    held = data.where("test")
    weights = fold_weights(data, np.flatnonzero(held))
    return scores(data.task, data.y[held], predicted, names=names, quantile=training.quantile, weights=weights)

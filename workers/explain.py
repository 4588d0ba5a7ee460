"""What a report says of a model besides its metrics: importances, and what guessing or a linear model would score."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import InvalidData, InvalidSpec, MachineError
from app.spec.modelling import Training
from trainhouse_loader.models.ensemble import Ensemble
from trainhouse_loader.terms import TaskType
from workers.context import Context
from workers.fitting.candidates import Candidate, recipe_of
from workers.matrix.prepared import Prepared
from workers.measures.metrics import lower_is_better
from workers.measures.scoring import scores
from workers.trainers import TRAINERS
from workers.trainers.contract import Company, Fold, fold_weights

Floats = npt.NDArray[np.float64]
SAMPLE_ROWS = 10_000
MOST_IMPORTANCES = 100
FIRST_ROWS, SHAP_ROWS, PERMUTED_ROWS = 5, 500, 2_000
MOST_SECONDS = 2.0
REPEATS = 3
EXAMPLES, SHOWN = 5, 10
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


def explained(fitted: Ensemble, data: Prepared, *, metric: str, quantile: float, seed: int) -> dict[str, Any]:
    """What features do to the predictions of test rows: exact contributions, or the loss of the metric when shuffled.

    `tree_shap`, of a model of one booster: `features` by mean absolute contribution to the raw score, and single rows with
    theirs. `permutation`, of all others (Breiman, 2001, https://doi.org/10.1023/A:1010933404324): `features` by how much
    worse the metric becomes, the mean over `REPEATS`. Either stops looking at rows or features when it has taken long.
    """
    held = np.flatnonzero(data.where("test"))
    if not len(held):
        return {"method": "none", "reason": "there are no test rows"}
    only = fitted.members[0] if len(fitted.members) == 1 else None
    began = time.perf_counter()
    first = None if only is None else only.contributions(data.x[held[:FIRST_ROWS]])
    if only is None or first is None:
        return _permuted(fitted, data, held, metric=metric, quantile=quantile, seed=seed)
    affordable = int(MOST_SECONDS / max(1e-6, time.perf_counter() - began) * FIRST_ROWS)
    rows = held[: min(SHAP_ROWS, max(FIRST_ROWS, affordable))]
    found = only.contributions(data.x[rows])
    return _contributed(first if found is None else found, data, rows)


def _contributed(found: Floats, data: Prepared, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    by_output = found[:, None, :] if found.ndim == 2 else found
    sizes = np.abs(by_output[:, :, :-1]).mean(axis=(0, 1))
    order = [place for place in np.argsort(-sizes, kind="stable")[:MOST_IMPORTANCES].tolist() if sizes[place] > 0]
    examples = []
    for place, row in enumerate(rows[:EXAMPLES].tolist()):
        output = by_output[place, int(by_output[place].sum(axis=1).argmax())]
        largest = np.argsort(-np.abs(output[:-1]), kind="stable")[:SHOWN]
        examples.append({
            "row": int(data.row[row]), "base": float(output[-1]), "raw_score": float(output.sum()),
            "contributions": {data.feature_names[each]: float(output[each]) for each in largest.tolist()},
        })  # fmt: skip
    return {
        "method": "tree_shap", "rows": len(rows), "examples": examples,
        "features": [{"feature": data.feature_names[place], "mean_absolute": float(sizes[place])} for place in order],
    }  # fmt: skip


def _permuted(
    fitted: Ensemble, data: Prepared, held: npt.NDArray[np.int64], *, metric: str, quantile: float, seed: int
) -> dict[str, Any]:  # fmt: skip
    random = np.random.default_rng(seed)
    rows = held if len(held) <= PERMUTED_ROWS else np.sort(random.choice(held, PERMUTED_ROWS, replace=False))
    x, weights = np.array(data.x[rows]), fold_weights(data, rows)

    def value() -> float | None:
        said = scores(data.task, data.y[rows], fitted.predict(x), names=[metric], quantile=quantile, weights=weights)
        found: float | None = said[metric]["value"]
        return found

    began, whole = time.monotonic(), value()
    if whole is None:
        return {"method": "none", "reason": f"{metric} has no value on the test rows"}
    likely = [data.feature_names.index(each["feature"]) for each in importances(fitted, data)]
    found: list[dict[str, Any]] = []
    sign = 1.0 if lower_is_better(metric) else -1.0
    for place in likely:
        if found and time.monotonic() - began > MOST_SECONDS:
            break
        kept, losses = x[:, place].copy(), []
        for _repeat in range(REPEATS):
            x[:, place] = random.permutation(kept)
            losses.append(value())
        x[:, place] = kept
        known = [sign * (loss - whole) for loss in losses if loss is not None]
        if known:
            found.append(
                {"feature": data.feature_names[place], "loss": float(np.mean(known)), "spread": float(np.std(known))}
            )
    return {
        "method": "permutation", "metric": metric, "rows": len(rows), "left_out": len(likely) - len(found),
        "features": sorted(found, key=lambda each: -float(each["loss"])),
    }  # fmt: skip


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
            data, Fold(name=f"baseline {ctx.seed}", train=rows, validation=validation), replace(recipe, monotone={}),
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

"""The matrix that fits learn from, and what must be true of it before one begins."""

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np

from app.errors import InvalidData, InvalidSpec, Violation, bounded, step
from app.spec.decision import COSTS
from app.spec.job import JobSpec
from trainhouse_loader.models.fitted import Indices
from trainhouse_loader.terms import TaskType
from workers.context import Context
from workers.formats.names import like
from workers.matrix import prepared
from workers.matrix.prepared import Prepared
from workers.measures.metrics import fitting, metric_of, names_for
from workers.measures.samples import Floats
from workers.measures.scoring import scores
from workers.table import snapshot
from workers.trainers.contract import fold_weights

_LOADED: dict[tuple[Any, ...], Prepared] = {}
_LOADING = Lock()


def matrix_of(ctx: Context) -> Prepared:
    """The job's matrix; the last one stays in memory for the next trial of this process."""
    with _LOADING:
        path = ctx.workspace.get("matrix")
        stat = path.stat()
        # Not the time of change: the cache touches a file at each use.
        key = (str(path), stat.st_size, stat.st_ino)
        if key not in _LOADED:
            _LOADED.clear()
            _LOADED[key] = prepared.load(path)
        return _LOADED[key]


def forget() -> None:
    """Lets the matrix go, and with it what libraries made of it for the next fit."""
    with _LOADING:
        _LOADED.clear()


def scored_rows(data: Prepared, folds: int) -> Indices:
    """Positions of the rows that candidates are scored on: with folds the train and validation rows, else the latter."""
    held = data.where("validation")
    return np.flatnonzero(held | data.where("train") if folds else held)


def metric_for(ctx: Context, task: TaskType) -> str:
    """The metric that the search of a job optimises."""
    return metric_of(ctx.spec.tuning.metric, task, ctx.spec.training.objective)


def measured(ctx: Context, data: Prepared, rows: Indices, predictions: Floats) -> dict[str, dict[str, Any]]:
    """By name, every metric that the spec asks for and the usual ones, of `predictions` for `rows`."""
    asked = [metric_for(ctx, data.task), *ctx.spec.evaluation.metrics, *(rule.metric for rule in ctx.spec.gate.rules)]
    return scores(
        data.task, data.y[rows], predictions, names=names_for(data.task, asked), quantile=ctx.spec.training.quantile,
        weights=fold_weights(data, rows),
    )  # fmt: skip


def check(spec: JobSpec, data: Prepared) -> None:
    """Nothing, where `data` can teach what `spec` asks for.

    Raises:
        InvalidData: `no_train_rows`, `no_validation_rows`, `no_features`, `one_class`.
        InvalidSpec: `metric_does_not_fit`.
    """
    for part in ("train", "validation"):
        if not data.where(part).any():
            raise InvalidData(f"There are no {part} rows.", code=f"no_{part}_rows", hint="Give the split more rows.")
    if data.x.shape[1] == 0:
        raise InvalidData("No feature is left to learn from.", code="no_features")
    if data.classes and len(set(data.y[data.where("train")].tolist())) < 2:
        raise InvalidData("The train part holds one class only.", code="one_class")
    check_metrics(spec, data.task)
    check_finish(spec, data.task)


def check_columns(ctx: Context) -> None:
    """Nothing, where the snapshot has every column that slices and rules look at.

    Raises:
        InvalidSpec: `unknown_column`, with one violation for each that it has not.
    """
    asked = list(_judged_columns(ctx.spec))
    names = snapshot.names(ctx.workspace.get("snapshot")) if asked else []
    wrong = [
        Violation(pointer, "unknown_column", f"There is no column {bounded(name)!r}.", like(name, names))
        for pointer, name in asked
        if name not in names
    ]
    if wrong:
        raise InvalidSpec(
            "The data lacks a column that the model is to be judged by.", code="unknown_column", hint=wrong[0].hint,
            violations=wrong,
        )  # fmt: skip


def _judged_columns(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Each column that slices and rules look at, after its JSON pointer."""
    for place, each in enumerate(spec.evaluation.slices):
        yield from ((f"/evaluation/slices/{place}/columns/{index}", name) for index, name in enumerate(each.columns))
    for place, rule in enumerate(spec.gate.rules):
        for name in rule.slice:
            yield f"/gate/rules/{place}/slice{step(name)}", name
        yield from ((f"/gate/rules/{place}/across/{index}", name) for index, name in enumerate(rule.across))


def check_metrics(spec: JobSpec, task: TaskType) -> None:
    """Nothing, where every metric that `spec` names is one of the task that the data turned out to be.

    Raises:
        InvalidSpec: `metric_does_not_fit`, with one violation for each that is not.
    """
    named = {"/tuning/metric": metric_of(spec.tuning.metric, task, spec.training.objective)}
    named |= {f"/evaluation/metrics/{place}": name for place, name in enumerate(spec.evaluation.metrics)}
    named |= {
        f"/gate/rules/{place}/metric": rule.metric
        for place, rule in enumerate(spec.gate.rules)
        if rule.metric not in COSTS
    }
    wrong = [
        Violation(pointer, "metric_does_not_fit", f"{name} is no metric of a {task} task.")
        for pointer, name in named.items()
        if name not in fitting(task)
    ]
    if wrong:
        raise InvalidSpec(
            f"The target makes this a {task} task, which has no {wrong[0].message.split(' ')[0]}.",
            code="metric_does_not_fit", hint="Choose other metrics, or name task.type.", violations=wrong,
        )  # fmt: skip


def check_finish(spec: JobSpec, task: TaskType) -> None:
    """Nothing, where what `spec` asks to be done to answers is for a task like the one that the data turned out to be.

    Raises:
        InvalidSpec: `finish_does_not_fit`.
    """
    asked = {"/training/calibrate": spec.training.calibrate and task == "regression",
             "/training/tune_threshold": spec.training.tune_threshold is not None and task != "binary"}  # fmt: skip
    unfit = [
        Violation(pointer, "finish_does_not_fit", f"A {task} task has nothing for it.", "Leave it out.")
        for pointer, is_unfit in asked.items() if is_unfit
    ]  # fmt: skip
    if unfit:
        raise InvalidSpec(
            f"The target makes this a {task} task, which {unfit[0].pointer.rsplit('/', 1)[1]} is not for.",
            code="finish_does_not_fit", hint=unfit[0].hint, violations=unfit,
        )  # fmt: skip

"""One fit and its score, for the train stage and for every trial; no database."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.errors import DeadlineExceeded, InvalidData, InvalidSpec, MachineError, Violation
from app.spec.job import JobSpec
from workers.context import Context, TrialResult
from workers.matrix import prepared
from workers.matrix.prepared import Prepared
from workers.measures.metrics import fitting, lower_is_better, metric_of, names_for
from workers.measures.scoring import scores
from workers.search.pruning import Pruning
from workers.terms import TaskType
from workers.threads import limited
from workers.trainers import TRAINERS, Fitted, algorithm_of, ensemble
from workers.trainers.contract import Company, Fold, Recipe

CURVE_POINTS = 100
REPORT_EVERY = 10
LEAST_MARGIN_SECONDS = 2.0
MOST_ROW_TREES = 1_200_000_000
LEAST_ROUNDS = 200


class Pruned(Exception):  # a signal from inside a fit, caught here
    """The pruner gave this trial up."""


@dataclass(frozen=True)
class TrialFit:
    """What a trial found.

    Attributes:
        value: The tuning metric on the validation part; for a pruned trial the last one seen.
        metrics: By name, the validation metrics that have a value; empty where pruned.
        iterations: Rounds that the model holds, or that ran until it was pruned.
        curve: (iteration, watched validation value), thinned.
        model_path: The fitted model's file in the workspace's scratch, where it is the best known so far.
        pruned: Whether the trial was given up; then there is no model.
        predictions_path: float32 .npy with the predictions of the rows that the value is of, where they are kept.
        facts: What else the fit says of itself, as JSON.
    """

    value: float
    metrics: Mapping[str, float]
    iterations: int
    curve: tuple[tuple[int, float], ...]
    model_path: Path | None
    pruned: bool = False
    predictions_path: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """A fitted model with its validation metrics; `value` is None where the metric has none on these rows."""

    fitted: Fitted
    metric: str
    value: float | None
    metrics: Mapping[str, Mapping[str, Any]]
    curve: tuple[tuple[int, float], ...]
    rounds: int
    """The most that the fit was given."""
    bounded: bool
    """Whether that was fewer than the spec asks for."""


_LOADED: dict[tuple[Any, ...], Prepared] = {}


def matrix_of(ctx: Context) -> Prepared:
    """The job's matrix; the last one stays in memory for the next trial of this process."""
    path = ctx.workspace.get("matrix")
    stat = path.stat()
    # Not the time of change: the cache touches a file at each use.
    key = (str(path), stat.st_size, stat.st_ino)
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = prepared.load(path)
    return _LOADED[key]


def most_rounds(ctx: Context, data: Prepared) -> int:
    """How many rounds one fit may take: `training.max_iterations`, fewer on very large data unless effort is full.

    A round of boosting fits one tree a class (one in all for two classes, or for numbers) to every training row.
    """
    training = ctx.spec.training
    if training.effort == "full" or algorithm_of(training.algorithm) == "linear":
        return training.max_iterations
    trees = len(data.classes) if data.task == "multiclass" else 1
    bound = MOST_ROW_TREES // max(1, int(data.where("train").sum()) * trees)
    return min(training.max_iterations, max(LEAST_ROUNDS, bound))


class _Recorder:
    """Follows a fit: keeps its curve, shows progress, asks the pruner."""

    def __init__(self, ctx: Context, pruning: Pruning | None) -> None:
        self.ctx = ctx
        self.pruning = pruning
        self.rounds = most_rounds(ctx, matrix_of(ctx))
        self.points: list[tuple[int, float]] = []
        self.last_report = -math.inf

    def __call__(self, iteration: int, value: float) -> None:
        now = time.monotonic()
        if iteration % REPORT_EVERY == 0 or now - self.last_report > 0.5:
            self.last_report = now
            self.ctx.progress(iteration, self.rounds)
        if math.isfinite(value):
            self.points.append((iteration, value))
            if self.pruning is not None and self.pruning.hopeless(iteration, value):
                raise Pruned

    def curve(self) -> tuple[tuple[int, float], ...]:
        """The recorded points: the first, the last, and every n-th of the others."""
        step = max(1, math.ceil(len(self.points) / CURVE_POINTS))
        kept = [point for point in self.points if point[0] % step == 0 or point in (self.points[0], self.points[-1])]
        return tuple((iteration, float(f"{value:.9g}")) for iteration, value in kept)


def fit_and_score(
    ctx: Context, params: Mapping[str, Any], *, deadline: float, recorder: _Recorder | None = None
) -> Fit:  # fmt: skip
    """Fits `params` on the train part and scores the validation part.

    Raises:
        InvalidData: there are no train or validation rows, or only one class to learn.
        InvalidSpec: the parameters do not go together.
        MachineError: the library failed.
        Cancelled, LeaseLost: whatever `ctx.progress` raises.
    """
    data = matrix_of(ctx)
    _check(data)
    check_metrics(ctx.spec, data.task)
    record = recorder or _Recorder(ctx, None)
    training, task = ctx.spec.training, data.task
    metric = metric_of(ctx.spec.tuning.metric, task, training.objective)
    with limited(ctx.threads):
        recipe = Recipe(
            params=params, seed=ctx.seed, max_iterations=record.rounds,
            early_stopping_rounds=training.early_stopping_rounds,
            deterministic=ctx.spec.reproducibility.mode == "deterministic", class_weight=training.class_weight,
            metric=metric,
        )  # fmt: skip
        company = Company(threads=ctx.threads, deadline=deadline, on_iteration=record)
        fitted = TRAINERS[algorithm_of(training.algorithm)].fit(data, Fold.of_parts(data), recipe, company)
        held = data.where("validation")
        asked = [metric, *ctx.spec.evaluation.metrics, *(rule.metric for rule in ctx.spec.gate.rules)]
        found = scores(
            task, data.y[held], fitted.predict(data.x[held]), names=names_for(task, asked), quantile=training.quantile
        )
    bounded = record.rounds < training.max_iterations
    return Fit(fitted, metric, found[metric]["value"], found, record.curve(), record.rounds, bounded)


def _check(data: Prepared) -> None:
    for part in ("train", "validation"):
        if not data.where(part).any():
            raise InvalidData(f"There are no {part} rows.", code=f"no_{part}_rows", hint="Give the split more rows.")
    if data.x.shape[1] == 0:
        raise InvalidData("No feature is left to learn from.", code="no_features")
    if data.classes and len(set(data.y[data.where("train")].tolist())) < 2:
        raise InvalidData("The train part holds one class only.", code="one_class")


def check_metrics(spec: JobSpec, task: TaskType) -> None:
    """Nothing, where every metric that `spec` names is one of the task that the data turned out to be.

    Raises:
        InvalidSpec: `metric_does_not_fit`, with one violation for each that is not.
    """
    named = {"/tuning/metric": metric_of(spec.tuning.metric, task, spec.training.objective)}
    named |= {f"/evaluation/metrics/{place}": name for place, name in enumerate(spec.evaluation.metrics)}
    named |= {f"/gate/rules/{place}/metric": rule.metric for place, rule in enumerate(spec.gate.rules)}
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


def soft_deadline(ctx: Context, *, share: float, seconds: int | None = None) -> float:
    """When a fit must end by itself: after `share` of the time left, at `ctx.fit_ends`, or after `seconds` if sooner.

    Raises:
        DeadlineExceeded: no time is left.
    """
    now = time.monotonic()
    left = ctx.deadline - now
    if left <= 0:
        raise DeadlineExceeded("The job's time was over before the fit began.")
    ends = min(ctx.fit_ends, now + max(left * share, min(left, LEAST_MARGIN_SECONDS) / 2))
    return ends if seconds is None else min(ends, now + seconds)


def run_trial(ctx: Context, *, params: Mapping[str, Any], history: Sequence[TrialResult]) -> TrialFit:
    """Fits one trial and scores it; its model is written when no trial of `history`, nor the train stage, beats it.

    Raises:
        InvalidSpec: the parameters do not go together.
        MachineError: the library failed, or the tuning metric has no value (`no_value`).
        Cancelled, LeaseLost: whatever `ctx.progress` raises.
    """
    data_task = matrix_of(ctx).task
    minimize = lower_is_better(metric_of(ctx.spec.tuning.metric, data_task, ctx.spec.training.objective))
    recorder = _Recorder(ctx, Pruning(ctx.spec, history, minimize=minimize))
    deadline = soft_deadline(ctx, share=0.9, seconds=ctx.spec.tuning.trial_seconds)
    try:
        fit = fit_and_score(ctx, params, deadline=deadline, recorder=recorder)
    except Pruned:
        iteration, value = recorder.points[-1]
        return TrialFit(value, {}, iteration, recorder.curve(), None, pruned=True)
    if fit.value is None:
        raise MachineError(f"The trial has no {fit.metric}: {fit.metrics[fit.metric].get('reason')}.", code="no_value")
    model_path = None
    if _is_best(ctx, fit.value, history, minimize=minimize):
        model_path = ctx.workspace.scratch / "trial_model"
        algorithm = algorithm_of(ctx.spec.training.algorithm)
        ensemble.write([ensemble.packed(algorithm, params, fit.fitted)], model_path)
    metrics = {name: entry["value"] for name, entry in fit.metrics.items() if entry["value"] is not None}
    return TrialFit(fit.value, metrics, fit.fitted.iterations, fit.curve, model_path)


def _is_best(ctx: Context, value: float, history: Sequence[TrialResult], *, minimize: bool) -> bool:
    rivals = [trial.value for trial in history if trial.status == "complete" and trial.value is not None]
    trained = ctx.outputs.get("train", {}).get("value")
    if trained is not None:
        rivals.append(float(trained))
    # Equal counts as best: of equal trials the lowest number wins, and it may well end last.
    return all(value <= rival if minimize else value >= rival for rival in rivals)


__all__ = ["Fit", "TrialFit", "fit_and_score", "matrix_of", "run_trial", "soft_deadline"]

"""What a search ends with: the single best candidate, or several that answer together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import InvalidSpec
from trainhouse_loader.models.finish import Finish
from workers.context import Blob, Context, TrialResult
from workers.fitting import folds as folding
from workers.fitting.candidates import Candidate, candidate_of
from workers.fitting.fits import over, value_on
from workers.fitting.greedy import Judge, selected
from workers.fitting.keeping import load_predictions, loss_of, may_be_chosen, worth_keeping
from workers.fitting.rows import matrix_of, measured, metric_for, scored_rows
from workers.matrix.prepared import Prepared
from workers.measures.samples import Floats
from workers.search.plan import Plan
from workers.trainers.contract import fold_weights
from workers.trainers.finishing import best_threshold, calibration

WORTH = 1e-3
"""Where the caller left it open, several models answer only if they lower the best one's loss by this share."""
TRAINED_MODEL, TRAINED_PREDICTIONS = "model_train", "predictions_train"
"""The artifacts of the train stage's own fit."""


@dataclass(frozen=True)
class Contender:
    """A fit that may be chosen.

    Attributes:
        number: Of its trial; None for the fit of the train stage.
        value: The tuning metric on the scored rows; None where it has none, which only the train stage's fit may lack.
        iterations: See `Scored.iterations`.
        seconds: That all its fits took.
        metrics: By name, `{"value": …}` on the scored rows.
        facts: See `Scored.facts`.
        model: The stored model of a trial; None for the fit of the train stage, whose artifacts have names.
        predictions: Those of a trial, or None likewise.
    """

    number: int | None
    candidate: Candidate
    value: float | None
    iterations: int
    seconds: float
    metrics: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    model: Blob | None = None
    predictions: Blob | None = None

    def model_path(self, ctx: Context) -> Path:
        """The packed model, over folds with a member for each."""
        return ctx.workspace.get(TRAINED_MODEL) if self.model is None else ctx.workspace.fetch(self.model)

    def predicted(self, ctx: Context) -> Floats:
        """(scored rows, …) what it predicts for rows that it did not learn from."""
        own = self.predictions
        return load_predictions(ctx.workspace.get(TRAINED_PREDICTIONS) if own is None else ctx.workspace.fetch(own))


@dataclass(frozen=True)
class Judged:
    """What is chosen is worth, on rows that no member had learned from when it predicted them."""

    value: float | None
    metrics: Mapping[str, Mapping[str, Any]]
    spread: float | None


Weighted = tuple[tuple[Contender, float], ...]
"""Members with their weights, the heaviest first."""


def contenders(ctx: Context, *, plan: Plan) -> list[Contender]:
    """The fits that may be chosen, the best first; of equal ones the lowest number, and the train stage's fit last."""
    found = [
        _of_trial(ctx, trial)
        for trial in ctx.trials
        if may_be_chosen(ctx, trial) and trial.model and trial.predictions and _among_the_best(ctx, trial, plan=plan)
    ]
    trained = ctx.outputs["train"]
    if ctx.spec.tuning.constraints.hold(trained.get("facts", {})):
        found.append(_of_train(ctx, trained))
    last = len(ctx.trials)
    return sorted(found, key=lambda each: (_loss(each, plan), last if each.number is None else each.number))


def _loss(contender: Contender, plan: Plan) -> float:
    return loss_of(contender.value, minimize=plan.minimize)


def _among_the_best(ctx: Context, trial: TrialResult, *, plan: Plan) -> bool:
    algorithm = candidate_of(ctx.spec, trial.params).algorithm
    value = math.nan if trial.value is None else trial.value
    return worth_keeping(ctx, value, algorithm, ctx.trials, most=plan.ensemble, minimize=plan.minimize)


def _of_trial(ctx: Context, trial: TrialResult) -> Contender:
    return Contender(
        trial.number, candidate_of(ctx.spec, trial.params), trial.value, int(trial.iterations or 0),
        _seconds(trial.facts), {name: {"value": value} for name, value in trial.metrics.items()}, trial.facts,
        trial.model, trial.predictions,
    )  # fmt: skip


def _of_train(ctx: Context, trained: Mapping[str, Any]) -> Contender:
    return Contender(
        None, candidate_of(ctx.spec, trained["params"]), trained["value"], int(trained["iterations"]),
        _seconds(trained["facts"]), trained["metrics"], trained["facts"],
    )  # fmt: skip


def only_trained(ctx: Context) -> tuple[Contender, float]:
    """The train stage's fit as the only member."""
    return _of_train(ctx, ctx.outputs["train"]), 1.0


def _seconds(facts: Mapping[str, Any]) -> float:
    return float(facts.get("fit_seconds", 0.0))


def chosen(ctx: Context, *, plan: Plan) -> Weighted:
    """Who is to answer.

    Raises:
        InvalidSpec: `constraints_unmet`, where nothing keeps to `tuning.constraints`.
    """
    found = contenders(ctx, plan=plan)
    if not found:
        raise InvalidSpec(
            "No model of this search keeps to tuning.constraints.", code="constraints_unmet",
            hint="Raise the bounds, or search among smaller models.",
        )  # fmt: skip
    known = [each for each in found if each.value is not None]
    if plan.ensemble == 1 or len(known) < 2:
        return ((found[0], 1.0),)
    return _together(ctx, known, plan=plan)


def _together(ctx: Context, found: Sequence[Contender], *, plan: Plan) -> Weighted:
    data, tuning = matrix_of(ctx), ctx.spec.tuning
    rows = scored_rows(data, _folds(ctx))
    judge = Judge(
        data.task, data.y[rows], metric_for(ctx, data.task), ctx.spec.training.quantile, fold_weights(data, rows)
    )
    predictions = [each.predicted(ctx) for each in found]

    def allowed(members: frozenset[int]) -> bool:
        names = ("model_bytes", "predict_ms")
        sums = {name: sum(found[place].facts.get(name, 0) for place in members) for name in names}
        return tuning.constraints.hold(sums)

    weights = selected(judge, predictions, most=plan.ensemble, allowed=allowed, seed=ctx.seed)
    if len(weights) < 2:
        return ((found[0], 1.0),)
    alone = judge.loss(predictions[0])
    joint = judge.loss(sum((weight * predictions[place] for place, weight in weights.items()), 0.0 * predictions[0]))
    needed = WORTH if tuning.ensemble == "auto" else 0.0
    if not joint < alone - needed * abs(alone):
        return ((found[0], 1.0),)
    return tuple((found[place], weight) for place, weight in weights.items())


def _folds(ctx: Context) -> int:
    return int(ctx.outputs["train"]["folds"])


def judged(ctx: Context, members: Weighted) -> Judged:
    """What `members` are worth together, by what each predicted for rows that it had not learned from."""
    if len(members) == 1:
        only = members[0][0]
        return Judged(only.value, only.metrics, only.facts.get("spread"))
    data, folds = matrix_of(ctx), _folds(ctx)
    rows = scored_rows(data, folds)
    predicted = [(each.predicted(ctx), weight) for each, weight in members]
    mean: Floats = sum((weight * each for each, weight in predicted), 0.0 * predicted[0][0])
    metrics = measured(ctx, data, rows, mean)
    return Judged(
        metrics[metric_for(ctx, data.task)]["value"], metrics, _spread(ctx, data, mean, folds=folds)
    )  # fmt: skip


def finish_for(ctx: Context, members: Weighted) -> Finish:
    """What is done to the answers of `members` together, learned from the rows that none of them had learned from."""
    data, training = matrix_of(ctx), ctx.spec.training
    if not data.classes or not (training.calibrate or training.tune_threshold):
        return Finish()
    rows = scored_rows(data, _folds(ctx))
    predicted = [(each.predicted(ctx), weight) for each, weight in members]
    mean: Floats = sum((weight * each for each, weight in predicted), 0.0 * predicted[0][0]).astype(np.float64)
    y, weights = data.y[rows], fold_weights(data, rows)
    finish = calibration(y, mean, weights) if training.calibrate else Finish()
    if training.tune_threshold is None or data.task != "binary":
        return finish
    return replace(
        finish, threshold=best_threshold(y, finish.calibrated(mean), weights, metric=training.tune_threshold)
    )


def _spread(ctx: Context, data: Prepared, mean: Floats, *, folds: int) -> float | None:
    if not folds:
        return None
    place = {row: index for index, row in enumerate(scored_rows(data, folds).tolist())}
    values = []
    for fold in folding.divided(data, folds, seed=ctx.seed):
        held = folding.held(fold)
        values.append(value_on(ctx, data, held, mean[[place[row] for row in held.tolist()]]))
    spread: float | None = over(values)["spread"]
    return spread

"""One trial: a candidate fitted and scored, and what is kept of it; no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.errors import MachineError
from trainhouse_loader.models import ensemble
from workers.context import Context, TrialResult
from workers.fitting.candidates import Candidate, candidate_of, longest_fit, most_rounds, recipe_of, soft_deadline
from workers.fitting.fits import Scored, fit_and_score, packed_all, size_of
from workers.fitting.following import Pruned, thinned
from workers.fitting.keeping import save_predictions, worth_keeping
from workers.fitting.rows import matrix_of, metric_for
from workers.matrix.prepared import Prepared
from workers.measures.metrics import lower_is_better
from workers.search.facts import facts_of
from workers.search.plan import planned
from workers.search.pruning import Pruning
from workers.trainers import TRAINERS
from workers.trainers.boosting import BOOSTED, is_ordered_by
from workers.trainers.contract import Fold


@dataclass(frozen=True)
class TrialFit:
    """What a trial found.

    Attributes:
        value: The tuning metric on the scored rows; None for a pruned trial, which is watched by the nearest measure
            that its trainer has, not always by the metric.
        metrics: By name, the metrics on those rows that have a value; empty where pruned.
        iterations: Rounds that the model holds, or that ran until it was pruned.
        curve: (iteration, watched validation value), thinned.
        model_path: The packed model, over folds with a member for each, in the workspace's scratch, where it may be chosen.
        pruned: Whether the trial was given up; then there is no model.
        predictions_path: float32 .npy with the predictions of the scored rows, where they may be needed.
        facts: What else the fit says of itself, as JSON; see `workers.fitting.fits.Scored`, and `model_bytes`.
    """

    value: float | None
    metrics: Mapping[str, float]
    iterations: int
    curve: tuple[tuple[int, float], ...]
    model_path: Path | None
    pruned: bool = False
    predictions_path: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def run_trial(ctx: Context, *, params: Mapping[str, Any], history: Sequence[TrialResult]) -> TrialFit:
    """Fits one trial and scores it; what may be chosen at the end, as far as `history` tells, is written.

    Raises:
        InvalidSpec: the parameters do not go together.
        MachineError: the library failed, or the tuning metric has no value (`no_value`).
        Cancelled, LeaseLost: whatever `ctx.progress` raises.
    """
    data, candidate = matrix_of(ctx), candidate_of(ctx.spec, params)
    metric = metric_for(ctx, data.task)
    minimize = lower_is_better(metric)
    most = longest_fit(ctx.spec, ctx.search)
    folds = int(ctx.outputs.get("train", {}).get("folds", 0))
    told = candidate.algorithm not in BOOSTED or is_ordered_by(metric, data.task, ctx.spec.training.objective)
    pruning = _pruning(ctx, data, candidate, params=params, history=history) if told and not folds else None
    try:
        scored = fit_and_score(
            ctx,
            candidate,
            folds=folds,
            pruning=pruning,
            ends=lambda: soft_deadline(ctx, share=0.9, seconds=most),
        )
    except Pruned as ended:
        return TrialFit(None, {}, ended.points[-1][0], thinned(ended.points), None, pruned=True)
    if scored.value is None:
        reason = scored.metrics[scored.metric].get("reason")
        raise MachineError(f"The trial has no {scored.metric}: {reason}.", code="no_value")
    return _written(ctx, scored, history, minimize=minimize)


def _pruning(
    ctx: Context, data: Prepared, candidate: Candidate, *, params: Mapping[str, Any], history: Sequence[TrialResult]
) -> Pruning:
    recipe = recipe_of(ctx, data, candidate, rounds=most_rounds(ctx, data, candidate.algorithm))
    rises = TRAINERS[candidate.algorithm].rises(data, Fold.of_parts(data), recipe)
    return Pruning(ctx.spec, history, params=params, rises=rises)


def _written(ctx: Context, scored: Scored, history: Sequence[TrialResult], *, minimize: bool) -> TrialFit:
    if scored.value is None:
        raise ValueError("the trial has no value")
    metrics = {name: entry["value"] for name, entry in scored.metrics.items() if entry["value"] is not None}
    fit = TrialFit(scored.value, metrics, scored.iterations, scored.curve, None, facts=scored.facts)
    most = planned(ctx.spec, facts_of(ctx.outputs)).ensemble
    algorithm = scored.candidate.algorithm
    if not ctx.spec.tuning.constraints.hold(scored.facts) or not worth_keeping(
        ctx, scored.value, algorithm, history, most=most, minimize=minimize
    ):
        return fit
    predictions = ctx.workspace.scratch / "trial_predictions.npy"
    save_predictions(scored.predictions, predictions)
    members = packed_all(scored.candidate, scored.models)
    model = ctx.workspace.scratch / "trial_model"
    ensemble.write(members, model)
    facts = {**scored.facts, "model_bytes": size_of(members)}
    return replace(fit, model_path=model, predictions_path=predictions, facts=facts)

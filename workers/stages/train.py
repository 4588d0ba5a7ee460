"""Train: one fit of the caller's parameters, the model that the search has to beat."""

from trainhouse_loader.encoding.encoder import load as load_encoder
from trainhouse_loader.models import ensemble
from workers import misfits
from workers.context import Context, Done, Warned
from workers.exporting import unexportable
from workers.fitting import folds as folding
from workers.fitting.candidates import candidate_of, soft_deadline
from workers.fitting.choosing import TRAINED_MODEL, TRAINED_PREDICTIONS
from workers.fitting.fits import Scored, fit_and_score, packed_all, size_of
from workers.fitting.keeping import save_predictions
from workers.fitting.rows import check_columns, matrix_of
from workers.search.facts import facts_of
from workers.search.plan import planned

SHARE_OF_TIME = 0.4
"""Of the job's remaining time; the search, the evaluation and the registration need the rest."""


def run(ctx: Context) -> Done:
    """Fits `training.params` and scores the fit as trials will be; puts `predictions_train` and `model_train`.

    Output: `{algorithm, params, iterations, value, metric, metrics, folds, facts}`; `folds` is how many there are in
    this job, for its trials too.

    Raises:
        InvalidSpec: see `workers.misfits`; `not_exportable`, where an export is asked for that cannot hold what was learned.
        InvalidData, InvalidSpec, MachineError, DeadlineExceeded: see `workers.fitting`.
    """
    check_columns(ctx)
    said = ctx.outputs["validate"]
    misfits.check_task(ctx.spec, said["task_type"])
    misfits.check_monotone(ctx.spec, dict(said["features"]))
    if "onnx" in ctx.spec.registration.exports:
        encoder = load_encoder(ctx.workspace.get("encoder"))
        unexportable.refuse(unexportable.kinds_of(encoder), ctx.spec.fitted_algorithms())
    wanted = planned(ctx.spec, facts_of(ctx.outputs)).folds
    folds = folding.resolved(
        matrix_of(ctx), wanted, split=ctx.outputs.get("split", {}), seed=ctx.seed,
        asked=ctx.spec.tuning.folds != "auto",
    )  # fmt: skip
    candidate = candidate_of(ctx.spec, ctx.spec.training.params)
    scored = fit_and_score(ctx, candidate, folds=folds, ends=lambda: soft_deadline(ctx, share=SHARE_OF_TIME))
    facts = {**scored.facts, **_put(ctx, scored)}
    said = {"algorithm": candidate.algorithm, "iterations": scored.iterations, "metric": scored.metric,
            "value": scored.value, "folds": folds}  # fmt: skip
    return Done(
        summary={**said, "model_bytes": facts.get("model_bytes"), "spread": facts.get("spread")},
        output={
            **said, "params": dict(candidate.params), "facts": facts,
            "metrics": {name: dict(entry) for name, entry in scored.metrics.items()},
        },
        warnings=(*_warnings(ctx, scored), *_fewer(wanted, folds)),
        metrics={"validation": scored.metrics},
    )  # fmt: skip


def _put(ctx: Context, scored: Scored) -> dict[str, int]:
    """Stores what the fit left; gives the size of its model."""
    predictions = ctx.workspace.scratch / "predictions_train.npy"
    save_predictions(scored.predictions, predictions)
    ctx.workspace.put(TRAINED_PREDICTIONS, predictions)
    members = packed_all(scored.candidate, scored.models)
    path = ctx.workspace.scratch / "model_train"
    ensemble.write(members, path)
    ctx.workspace.put(TRAINED_MODEL, path, ensemble.MEDIA_TYPE)
    return {"model_bytes": size_of(members)}


def _fewer(wanted: int, folds: int) -> list[Warned]:
    if folds == wanted:
        return []
    instead = f"into {folds} folds, not {wanted}" if folds else "into no folds; the validation part alone chooses"
    return [Warned("fewer_folds", f"The rows can be divided {instead}.",
                   hint="There are few rows, or few of one class, that may be told apart.")]  # fmt: skip


def _warnings(ctx: Context, scored: Scored) -> list[Warned]:
    found = []
    if scored.value is None:
        reason = scored.metrics[scored.metric].get("reason")
        found.append(Warned("no_value", f"{scored.metric} has no value on the validation part: {reason}."))
    if scored.timed_out:
        found.append(Warned(
            "timed_out", f"The fit was ended by its time limit after {scored.iterations} iterations.",
            hint="Raise resources.max_seconds, or lower training.max_iterations.",
        ))  # fmt: skip
    elif scored.bounded and scored.iterations == scored.rounds:
        found.append(Warned(
            "bounded", f"On this much data one fit was given {scored.rounds} rounds, and was still improving.",
            hint="Set training.effort to full for all of training.max_iterations.",
        ))  # fmt: skip
    elif ctx.spec.training.early_stopping_rounds and scored.iterations == ctx.spec.training.max_iterations:
        found.append(Warned(
            "not_converged", "The fit was still improving at training.max_iterations.",
            hint="Raise training.max_iterations or the learning rate.",
        ))  # fmt: skip
    return found

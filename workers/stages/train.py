"""Train: one fit of the caller's parameters, the model that the search has to beat."""

from workers.context import Context, Done, Warned
from workers.fitting.trials import Fit, fit_and_score, soft_deadline
from workers.trainers import algorithm_of, ensemble

SHARE_OF_TIME = 0.4
"""Of the job's remaining time; the search, the evaluation and the registration need the rest."""


def run(ctx: Context) -> Done:
    """Fits `training.params`; puts `model_train`, outputs `{algorithm, params, iterations, value, metric, metrics}`.

    Raises:
        InvalidData, InvalidSpec, MachineError, DeadlineExceeded: see `workers.fitting.trials`.
    """
    params, algorithm = dict(ctx.spec.training.params), algorithm_of(ctx.spec.training.algorithm)
    fit = fit_and_score(ctx, params, deadline=soft_deadline(ctx, share=SHARE_OF_TIME))
    path = ctx.workspace.scratch / "model_train"
    ensemble.write([ensemble.packed(algorithm, params, fit.fitted)], path)
    blob = ctx.workspace.put("model_train", path, ensemble.MEDIA_TYPE)
    return Done(
        summary={
            "algorithm": algorithm, "iterations": fit.fitted.iterations, "metric": fit.metric, "value": fit.value,
            "model_bytes": blob.size_bytes,
        },
        output={
            "algorithm": algorithm, "params": params, "iterations": fit.fitted.iterations, "value": fit.value,
            "metric": fit.metric, "metrics": {name: dict(entry) for name, entry in fit.metrics.items()},
        },
        warnings=tuple(_warnings(ctx, fit)),
        metrics={"validation": fit.metrics},
    )  # fmt: skip


def _warnings(ctx: Context, fit: Fit) -> list[Warned]:
    found = []
    if fit.value is None:
        reason = fit.metrics[fit.metric].get("reason")
        found.append(Warned("no_value", f"{fit.metric} has no value on the validation part: {reason}."))
    if fit.fitted.timed_out:
        found.append(Warned(
            "timed_out", f"The fit was ended by its time limit after {fit.fitted.iterations} iterations.",
            hint="Raise resources.max_seconds, or lower training.max_iterations.",
        ))  # fmt: skip
    elif fit.bounded and fit.fitted.iterations == fit.rounds:
        found.append(Warned(
            "bounded", f"On this much data one fit was given {fit.rounds} rounds, and was still improving.",
            hint="Set training.effort to full for all of training.max_iterations.",
        ))  # fmt: skip
    elif ctx.spec.training.early_stopping_rounds and fit.fitted.iterations == ctx.spec.training.max_iterations:
        found.append(Warned(
            "not_converged", "The fit was still improving at training.max_iterations.",
            hint="Raise training.max_iterations or the learning rate.",
        ))  # fmt: skip
    return found

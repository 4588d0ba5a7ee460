"""What a spec asks of the training, held against what the data turned out to be: each misfit with its place in the spec."""

from collections.abc import Mapping, Sequence

from app.errors import InvalidSpec, Violation, bounded, step
from app.spec.job import JobSpec
from trainhouse_loader.terms import TaskType
from workers.fitting.candidates import ORDERED
from workers.formats.names import like


def check_task(spec: JobSpec, task: TaskType) -> None:
    """Nothing, where what `spec` says of the training is for a task like the one that the data turned out to be.

    Raises:
        InvalidSpec: `training_does_not_fit`, `not_monotone` or `invalid_params`, with one violation for each part that is not.
    """
    training, numbers = spec.training, task == "regression"
    searched = spec.tuning.space.get("loss")
    fixed, choices = training.params.get("loss", "auto"), set(searched.choices or []) if searched else set()
    asked = [
        ("/training/class_weight", "training_does_not_fit", numbers and training.class_weight is not None),
        ("/training/monotone", "not_monotone", task == "multiclass" and bool(training.monotone)),
        ("/training/params/loss", "invalid_params", not numbers and fixed != "auto"),
        ("/tuning/space/loss", "invalid_params", not numbers and bool(choices - {"auto"})),
    ]  # fmt: skip
    _refuse([
        Violation(pointer, code, f"The target makes this a {task} task, which {pointer[1:].replace('/', '.')} is not for.",
                  "Leave it out, or name task.type.")
        for pointer, code, applies in asked if applies
    ])  # fmt: skip


def check_monotone(spec: JobSpec, types: Mapping[str, str]) -> None:
    """Nothing, where `training.monotone` names features whose numbers keep their order; `types` are those of all features.

    Raises:
        InvalidSpec: `not_monotone`, with one violation for each other name, and names like it.
    """
    encoded = {name for name, own in spec.transform.columns.items() if own.encode}
    fitting = [name for name, kind in types.items() if kind in ORDERED and name not in encoded]
    _refuse([
        Violation(f"/training/monotone{step(name)}", "not_monotone",
                  f"training.monotone names {bounded(name)!r}, which is no feature of numbers.", like(name, fitting))
        for name in spec.training.monotone if name not in fitting
    ])  # fmt: skip


def _refuse(unfit: Sequence[Violation]) -> None:
    if unfit:
        first = unfit[0]
        raise InvalidSpec(first.message, code=first.code, hint=first.hint, violations=list(unfit))

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
        InvalidSpec: `training_does_not_fit`, with one violation for each part that is not.
    """
    training, numbers = spec.training, task == "regression"
    searched = spec.tuning.space.get("loss")
    asked = {
        "/training/class_weight": numbers and training.class_weight is not None,
        "/training/monotone": task == "multiclass" and bool(training.monotone),
        "/training/params/loss": not numbers and training.params.get("loss", "auto") != "auto",
        "/tuning/space/loss": not numbers and searched is not None and set(searched.choices or []) != {"auto"},
    }  # fmt: skip
    unfit = [
        Violation(pointer, "training_does_not_fit", f"A {task} task has nothing for it.", "Leave it out, or name task.type.")
        for pointer, applies in asked.items() if applies
    ]  # fmt: skip
    _refuse(unfit, f"The target makes this a {task} task, which training.{{}} is not for.")


def check_monotone(spec: JobSpec, types: Mapping[str, str]) -> None:
    """Nothing, where `training.monotone` names features whose numbers keep their order; `types` are those of all features.

    Raises:
        InvalidSpec: `not_monotone`, with one violation for each other name, and names like it.
    """
    encoded = {name for name, own in spec.transform.columns.items() if own.encode}
    fitting = [name for name, kind in types.items() if kind in ORDERED and name not in encoded]
    unfit = [
        Violation(f"/training/monotone{step(name)}", "not_monotone",
                  f"{bounded(name)!r} is no feature of numbers, or one that is encoded otherwise.", like(name, fitting))
        for name in spec.training.monotone if name not in fitting
    ]  # fmt: skip
    _refuse(unfit, "training.monotone names what is no feature of numbers.")


def _refuse(unfit: Sequence[Violation], detail: str) -> None:
    if unfit:
        first = unfit[0]
        what = first.pointer.rsplit("/", 1)[1]
        raise InvalidSpec(detail.format(what), code=first.code, hint=first.hint, violations=list(unfit))

"""What an installation may lack: algorithms, samplers and exports whose packages are extras, and who asks for them."""

from collections.abc import Collection
from importlib.util import find_spec

from app.errors import InvalidSpec, Violation
from app.spec.job import JobSpec

EXTRAS = {"xgboost": "xgboost", "catboost": "catboost", "gp": "torch", "onnx": "onnxruntime"}
"""By extra, which has the name of the algorithm, the sampler or the export that it brings, the module to look for."""


def installed() -> frozenset[str]:
    """The extras that this installation has."""
    return frozenset(extra for extra, module in EXTRAS.items() if find_spec(module) is not None)


def declared(extras: str | None) -> frozenset[str]:
    """The extras that the workers have: those that the setting names, separated by commas, or this installation's."""
    return installed() if extras is None else frozenset(name.strip() for name in extras.split(","))


def installs(extra: str) -> str:
    """The line that installs `extra`."""
    return f"pip install 'trainhouse[{extra}]'"


def refuse_missing(spec: JobSpec, extras: Collection[str]) -> None:
    """Nothing, where `extras` hold all that `spec` asks for.

    Raises:
        InvalidSpec: `extra_missing`, with one violation for each that is missing and the line that installs it.
    """
    missing = [
        Violation(pointer, "extra_missing", f"The workers of this installation have no {name}.", installs(name))
        for pointer, name in _asked(spec)
        if name in EXTRAS and name not in extras
    ]
    if missing:
        raise InvalidSpec(
            "The spec asks for what the workers of this installation do not have.", code="extra_missing",
            hint=missing[0].hint, violations=missing,
        )  # fmt: skip


def _asked(spec: JobSpec) -> list[tuple[str, str]]:
    """Each algorithm, sampler and export that the spec names, after its JSON pointer."""
    dimension = spec.tuning.space.get("algorithm")
    choices = [] if dimension is None else dimension.choices or []
    return [
        ("/training/algorithm", spec.training.algorithm),
        *((f"/tuning/space/algorithm/choices/{place}", str(name)) for place, name in enumerate(choices)),
        ("/tuning/sampler", spec.tuning.sampler),
        *((f"/registration/exports/{place}", name) for place, name in enumerate(spec.registration.exports)),
    ]

"""What no ONNX graph can hold, said as soon as it is known: before the fits."""

from collections.abc import Collection, Mapping

from app.errors import InvalidSpec, Violation, bounded
from trainhouse_loader.encoding.encoder import Encoder

POINTER = "/registration/exports/0"
OUTPUTS = (PREDICTION, PROBABILITIES) = ("prediction", "probabilities")
LEAVE = "leave onnx out of registration.exports"


def kinds_of(encoder: Encoder) -> dict[str, str]:
    """By input column, the kind of block that encodes it."""
    return {name: block["kind"] for block in encoder.blocks for name in block["columns"]}


def refuse(kinds: Mapping[str, str], algorithms: Collection[str]) -> None:
    """Nothing, where all of a pipeline has operators.

    Args:
        kinds: By input column, the kind of block that encodes it.
        algorithms: Those that may be trained.

    Raises:
        InvalidSpec: `not_exportable`, with a violation for each column, and for an algorithm, that has none.
    """
    found = [
        _fault(
            f"Column {bounded(name)!r} is read as text, and ONNX has no operators that take text apart.",
            f"Exclude the column, encode it otherwise in transform.columns, or {LEAVE}.", column=name,
        )
        for name, kind in kinds.items()
        if kind == "embedding"
    ]  # fmt: skip
    found += [
        _fault(
            f"Column {bounded(name)!r} has the name of an output, and ONNX has one name for one thing.",
            f"Rename the column, exclude it, or {LEAVE}.", column=name,
        )
        for name in kinds
        if name in OUTPUTS
    ]  # fmt: skip
    if "catboost" in algorithms and "native" in kinds.values():
        found.append(_fault(
            "CatBoost computes statistics of categories while it predicts, for which ONNX has no operators.",
            f"Set transform.categorical.encode to target or one_hot, train another algorithm, or {LEAVE}.",
        ))  # fmt: skip
    if found:
        first = found[0]
        raise InvalidSpec(first.message, code="not_exportable", hint=first.hint, violations=found)


def _fault(message: str, hint: str, **facts: str) -> Violation:
    return Violation(POINTER, "not_exportable", message, hint, facts)

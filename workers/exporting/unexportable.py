"""What no ONNX graph can hold, said as soon as it is known: before the fits."""

from collections.abc import Collection

from app.errors import InvalidSpec, bounded
from trainhouse_loader.encoding.encoder import Encoder

LEAVE = "leave onnx out of registration.exports"


def refuse(encoder: Encoder, algorithms: Collection[str]) -> None:
    """Nothing, where all of a pipeline with `encoder` and any of `algorithms` has operators.

    Raises:
        InvalidSpec: `not_exportable`, with the column or the algorithm that has none.
    """
    for block in encoder.blocks:
        if block["kind"] == "embedding":
            raise InvalidSpec(
                f"Column {bounded(block['columns'][0])!r} is read as text, and ONNX has no operators that take text apart.",
                code="not_exportable",
                hint=f"Exclude the column, encode it otherwise in transform.columns, or {LEAVE}.",
            )  # fmt: skip
    if "catboost" in algorithms and encoder.categorical:
        raise InvalidSpec(
            "CatBoost computes statistics of categories while it predicts, for which ONNX has no operators.",
            code="not_exportable",
            hint=f"Set transform.categorical.encode to target or one_hot, train another algorithm, or {LEAVE}.",
        )  # fmt: skip

"""One fit of very large data is given fewer rounds, unless the spec asks for all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.learning import make_context
from workers.fitting.candidates import LEAST_ROUNDS, MOST_ROW_TREES, candidate_of, most_rounds
from workers.matrix.prepared import Prepared


def of_size(rows: int, *, classes: int) -> Prepared:
    """A matrix of that many training rows; zero classes make a regression."""
    task: Any = "regression" if classes == 0 else "binary" if classes == 2 else "multiclass"
    return Prepared(
        x=np.zeros((rows, 1)), y=np.zeros(rows), weight=None, part=np.zeros(rows, np.int8), row=np.arange(rows),
        feature_names=("f",), categorical=(), task=task, classes=tuple(str(number) for number in range(classes)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "classes", "training", "rounds"),
    [
        (230_000, 2, {}, 2_000),
        (400_000, 7, {}, MOST_ROW_TREES // 2_800_000),
        (2_000_000, 50, {}, LEAST_ROUNDS),
        (400_000, 7, {"effort": "full"}, 2_000),
        (400_000, 7, {"max_iterations": 50}, 50),
        (400_000, 7, {"algorithm": "linear"}, 2_000),
        (400_000, 0, {}, 2_000),
    ],
)
def test_the_rounds_of_one_fit(tmp_path: Path, rows: int, classes: int, training: dict[str, Any], rounds: int) -> None:
    spec = {"model": "m-1", "task": {"target": "y"}, "training": training,
            "data": {"sources": {"t": {"kind": "dataset", "dataset_id": "ds_00000000"}}}}  # fmt: skip
    ctx = make_context(tmp_path, spec)
    algorithm = candidate_of(ctx.spec, {}).algorithm
    assert most_rounds(ctx, of_size(rows, classes=classes), algorithm) == rounds

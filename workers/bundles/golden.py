"""Golden rows: raw inputs that a bundle must answer in a fresh process as training did."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.errors import ParityFailed
from workers.isolation import fresh
from workers.table import snapshot

Floats = npt.NDArray[np.float64]

TEST_ROWS = 200
SECONDS = 120.0
EXACT_WHOLE = 2**53
UNSEEN = "a value that no training row has: \N{SNOWMAN}"


@dataclass(frozen=True)
class Golden:
    """Raw input rows.

    Attributes:
        known: Rows of the test part.
        strange: A row with every value missing, and one whose texts are all unseen.
        trained: (known rows, …) the features of `known` as the snapshot holds them, derived ones too.
        evaluated: (known rows, …) what the evaluation predicted for `known`: columns as in `predictions_test`.
    """

    known: pa.Table
    strange: pa.Table
    trained: pa.Table
    evaluated: pd.DataFrame


def gather(snapshot_path: Path, predictions_path: Path, *, inputs: Sequence[str], features: Sequence[str]) -> Golden:
    """Golden rows of a job, with the columns `inputs` only, and the `features` that training had for them."""
    evaluated = pq.read_table(predictions_path, use_threads=False).slice(0, TEST_ROWS)
    wanted = evaluated.column("row").to_numpy()
    found = snapshot.taken(snapshot_path, list(dict.fromkeys([*inputs, *features])), wanted)
    known = found.select(list(inputs))
    strange = [pa.array([None, _unseen(field.type)], field.type) for field in known.schema]
    return Golden(
        exact(known), pa.table(strange, schema=known.schema), found.select(list(features)), snapshot.frame(evaluated)
    )


def exact(table: pa.Table) -> pa.Table:
    """Whole numbers beyond 2^53 beside nulls as text, because pandas would round them."""
    for place, column in enumerate(table.columns):
        if column.type == pa.int64() and column.null_count:
            ends = pc.min_max(column).as_py()
            if max(abs(ends["min"] or 0), abs(ends["max"] or 0)) > EXACT_WHOLE:
                table = table.set_column(place, table.column_names[place], column.cast(pa.large_string()))
    return table


def _unseen(kind: pa.DataType) -> str | None:
    return UNSEEN if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def ask(
    bundle: Path, golden: Golden, *, scratch: Path, deadline: float, export: bool = False
) -> tuple[Floats, Floats | None]:
    """What a fresh process predicts for the golden rows with `bundle`, known rows first, and what its ONNX form does.

    Raises:
        ParityFailed: it could not open the bundle, or gave no answer.
        DeadlineExceeded: `deadline` came first.
    """
    paths = [scratch / "known.parquet", scratch / "strange.parquet"]
    for table, path in zip((golden.known, golden.strange), paths, strict=True):
        snapshot.write(table, path)
    answers, exported = scratch / "answers.npy", scratch / "exported.npy"
    seconds = min(SECONDS, deadline - time.monotonic())
    fresh.predict(bundle, paths, answers, seconds=seconds, exported=exported if export else None)
    return np.load(answers, allow_pickle=False), np.load(exported, allow_pickle=False) if export else None


def compare(
    expected: Floats, answered: Floats, *, tolerance: float, of: str = "The bundle's predictions", scale: float = 1.0
) -> None:
    """Nothing, where both agree.

    Args:
        scale: Of the predictions: a difference counts as a share of it, or of a prediction that is larger.

    Raises:
        ParityFailed: a value differs by more than `tolerance`, or one is not finite.
    """
    if expected.shape != answered.shape or not np.isfinite(answered).all():
        raise ParityFailed(f"{of} are of another shape or not finite.")
    worst = float((np.abs(expected - answered) / np.maximum(scale, np.abs(expected))).max(initial=0.0))
    if worst > tolerance:
        raise ParityFailed(f"{of} differ by {worst:.3g}; allowed is {tolerance:.3g}.")

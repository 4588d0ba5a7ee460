"""Golden rows: raw inputs that a bundle must answer as training did, and the fresh process that is asked."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import DeadlineExceeded, ParityFailed
from workers import snapshot

Floats = npt.NDArray[np.float64]

TEST_ROWS = 200
SECONDS = 120.0
UNSEEN = "a value that no training row has: \N{SNOWMAN}"
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Golden:
    """Raw input rows.

    Attributes:
        known: Rows of the test part.
        strange: A row with every value missing, and one whose texts are all unseen.
        evaluated: (known rows, …) what the evaluation predicted for `known`: columns as in `predictions_test`.
    """

    known: pa.Table
    strange: pa.Table
    evaluated: pd.DataFrame

    def frames(self) -> list[pd.DataFrame]:
        """Both tables as the encoder takes them."""
        return [snapshot.frame(self.known), snapshot.frame(self.strange)]


def gather(snapshot_path: Path, predictions_path: Path, columns: Sequence[str]) -> Golden:
    """Golden rows of a job, with the input `columns` only."""
    evaluated = pq.read_table(predictions_path, use_threads=False).slice(0, TEST_ROWS)
    inputs = snapshot.read(snapshot_path, columns).take(evaluated.column("row"))
    strange = [pa.array([None, _unseen(field.type)], field.type) for field in inputs.schema]
    return Golden(inputs, pa.table(strange, schema=inputs.schema), snapshot.frame(evaluated))


def _unseen(kind: pa.DataType) -> str | None:
    return UNSEEN if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def ask(bundle: Path, golden: Golden, *, scratch: Path, deadline: float) -> Floats:
    """What a fresh process predicts for the golden rows with `bundle`, known rows first.

    It has one thread and none of this process's environment but the way to its libraries.

    Raises:
        ParityFailed: it could not open the bundle, or gave no answer.
        DeadlineExceeded: `deadline` came first.
    """
    paths = [scratch / "known.parquet", scratch / "strange.parquet"]
    for table, path in zip((golden.known, golden.strange), paths, strict=True):
        snapshot.write(table, path)
    answers = scratch / "answers.npy"
    command = [sys.executable, "-m", "workers.parity", str(bundle), str(answers), *(str(path) for path in paths)]
    patience = min(SECONDS, deadline - time.monotonic())
    try:
        ended = subprocess.run(  # noqa: S603  # our own interpreter and module
            command, cwd=scratch, env=_environment(scratch), capture_output=True, timeout=max(0.1, patience), check=False
        )
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded("The proof of the bundle ran past its time limit.") from None
    if ended.returncode != 0:
        last = ended.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1][:200]
        raise ParityFailed(f"A fresh process could not predict with the bundle: {last}")
    found: Floats = np.load(answers, allow_pickle=False)
    return found


def _environment(scratch: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **threads, "PYTHONPATH": str(ROOT), "HOME": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}


def compare(expected: Floats, answered: Floats, *, tolerance: float) -> None:
    """Nothing, where both agree.

    Raises:
        ParityFailed: a value differs by more than `tolerance`, or one is not finite.
    """
    if expected.shape != answered.shape or not np.isfinite(answered).all():
        raise ParityFailed("The bundle's predictions are of another shape or not finite.")
    # Relative beyond 1, so that a target in millions is held to the same digits.
    worst = float((np.abs(expected - answered) / np.maximum(1.0, np.abs(expected))).max(initial=0.0))
    if worst > tolerance:
        raise ParityFailed(f"The bundle's predictions differ by {worst:.3g}; allowed is {tolerance:.3g}.")

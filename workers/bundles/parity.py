"""The other side of the parity test: predicts with a bundle in a process that has seen nothing else."""

from pathlib import Path

import numpy as np

from trainhouse_loader.bundle import open_bundle
from workers.table import snapshot
from workers.threads import limited


def predict(bundle: str, rows: list[str], answers: str) -> None:
    """Predicts the Parquet files `rows` with `bundle` and writes the predictions to `answers` (.npy)."""
    with limited(1):
        opened = open_bundle(Path(bundle))
        found = [opened.raw(snapshot.frame(snapshot.read(Path(path)))) for path in rows]
    with Path(answers).open("wb") as file:
        np.save(file, np.concatenate(found), allow_pickle=False)

"""The other side of the parity test: predicts with a bundle in a process that has seen nothing else."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainhouse_loader.bundle import open_bundle
from workers.table import snapshot
from workers.threads import limited


def predict(bundle: str, rows: list[str], answers: str, exported: str | None = None) -> None:
    """Predicts the Parquet files `rows` with `bundle` and writes the predictions to `answers` (.npy).

    Args:
        exported: Where what the bundle's ONNX form predicts is written to, if that is asked for.
    """
    with limited(1):
        opened = open_bundle(Path(bundle))
        frames = [snapshot.frame(snapshot.read(Path(path))) for path in rows]
        _write([opened.raw(frame) for frame in frames], answers)
        if exported is not None:
            from workers.exporting import export  # noqa: PLC0415  # an extra

            content = opened.files[export.FILE]
            _write([export.answers(content, opened.features(frame)) for frame in frames], exported)


def _write(found: list[npt.NDArray[np.float64]], path: str) -> None:
    with Path(path).open("wb") as file:
        np.save(file, np.concatenate(found), allow_pickle=False)

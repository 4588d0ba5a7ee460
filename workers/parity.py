"""The other side of the parity test: a fresh process opens a bundle and predicts, knowing nothing else.

    python -m workers.parity BUNDLE ANSWERS ROWS...

Each of ROWS is a Parquet file of raw input rows; ANSWERS becomes a .npy file with the predictions of all of them.
"""

import sys
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from workers import snapshot
from workers.bundle import open_bundle


def main(bundle: str, answers: str, *rows: str) -> None:
    """Predicts the files `rows` with `bundle` and writes `answers`."""
    with threadpool_limits(1):
        opened = open_bundle(Path(bundle))
        found = [opened.raw(snapshot.frame(snapshot.read(Path(path)))) for path in rows]
    with Path(answers).open("wb") as file:
        np.save(file, np.concatenate(found), allow_pickle=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

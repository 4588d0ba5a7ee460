"""What ingest costs: seconds of processor time and peak memory for a large table, from CSV and from Parquet.

Makes a seeded table of `--rows` rows and 20 columns (10 real, 5 whole, 4 of words, 1 of times) in a temporary folder,
lands it as a job would, each road in a process of its own, and prints a Markdown table.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

ROWS = 3_000_000
BLOCK = 250_000
WORDS = (8, 50, 1_000, 20_000)
"""How many levels each column of words has."""


def block(rows: int, seed: int) -> pa.Table:
    """`rows` rows of the table; the first whole number, `target`, is 0 or 1."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"target": rng.integers(0, 2, rows)}
    columns |= {f"real_{index}": rng.normal(size=rows) * 10.0**index for index in range(10)}
    columns |= {f"whole_{index}": rng.integers(-(10 ** (index + 1)), 10 ** (index + 1), rows) for index in range(1, 5)}
    for index, levels in enumerate(WORDS):
        names = np.array([f"level {number:x}" for number in range(levels)])
        columns[f"word_{index}"] = names[rng.integers(0, levels, rows)]
    start = np.datetime64("2015-01-01T00:00:00", "us")
    columns["moment"] = start + rng.integers(0, 10 * 365 * 86_400, rows).astype("timedelta64[s]")
    return pa.table(columns)


def make(folder: Path, rows: int) -> int:
    """Writes `table.csv` and `table.parquet` into `folder`; returns the table's size in memory, in bytes."""
    size = 0
    schema = block(1, 0).schema
    with pa.csv.CSVWriter(folder / "table.csv", schema) as csv, pa.parquet.ParquetWriter(folder / "table.parquet", schema) as parquet:  # fmt: skip
        for seed, done in enumerate(range(0, rows, BLOCK)):
            table = block(min(BLOCK, rows - done), seed)
            size += table.nbytes
            csv.write_table(table)
            parquet.write_table(table)
    return size


def ingest(path: Path, threads: int) -> dict[str, Any]:
    """Runs the stage `ingest` on `path` in this process, and says what it took."""
    from tests.learning import make_context  # noqa: PLC0415  # only the measured process loads the libraries
    from workers.isolation import fresh  # noqa: PLC0415
    from workers.stages import ingest as stage  # noqa: PLC0415

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        ctx = make_context(Path(folder), {"task": {"target": "target"}}, table=path, threads=threads)
        fresh.warm()
        time.sleep(2.0)
        began, used = time.perf_counter(), time.process_time()
        done = stage.run(ctx)
        own = time.process_time() - used
        wall = time.perf_counter() - began
        fresh.end()
    return {
        "digest": done.facts["data_digest"], "wall": wall, "own": own, "peak": peak(resource.RUSAGE_SELF),
        "child_peak": peak(resource.RUSAGE_CHILDREN), "child": os.times().children_user + os.times().children_system,
    }  # fmt: skip


def peak(who: int) -> int:
    """The most resident memory of this process, or of the largest of its children, in bytes."""
    return resource.getrusage(who).ru_maxrss * 1024


def main() -> None:
    """Makes the files, lands each in a process of its own, prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ingest", type=Path, help="measure this file in this process, and print JSON")
    given = parser.parse_args()
    if given.ingest is not None:
        print(json.dumps(ingest(given.ingest, given.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        size = make(Path(folder), given.rows)
        print(f"{given.rows:,} rows x 20 columns, {size / 1e6:,.0f} MB in memory\n")
        print("| from | file MB | wall s | CPU s worker | CPU s parser | peak MB worker | peak MB parser | digest |")
        print("|---|---:|---:|---:|---:|---:|---:|---|")
        for name in ("table.csv", "table.parquet"):
            path = Path(folder, name)
            command = [sys.executable, __file__, "--ingest", str(path), "--threads", str(given.threads)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"| {name} | {path.stat().st_size / 1e6:,.0f} | {found['wall']:.1f} | {found['own']:.1f} | "
                  f"{found['child']:.1f} | {found['peak'] / 1e6:,.0f} | {found['child_peak'] / 1e6:,.0f} | "
                  f"{found['digest'][7:19]} |")  # fmt: skip


if __name__ == "__main__":
    main()

"""Stages 1 to 4 beside a straight script: seconds and peak memory, from CSV and from Parquet.

Makes a table of `--rows` rows and twenty columns (ten floats, five whole numbers, four categories, a time, and a class to
predict in one of the whole numbers). Each side runs in a process of its own, in turn, `--rounds` times, two threads each.

The straight script reads with pyarrow; audits types, nulls, ranges, duplicates and class shares; describes every column
by quantiles or by value counts; splits with scikit-learn, stratified; fits SimpleImputer, StandardScaler and
OrdinalEncoder on the training rows; and writes the table as Parquet and the matrix as .npy. Trainhouse runs its stages
ingest, validate, split and transform as a worker does. Memory is the proportional set size of the process and of its
children, sampled, at its most.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

FLOATS, WHOLES, CATEGORIES = 10, 5, 4
SAMPLE_SECONDS = 0.1
THREADS = 2


def a_table(rows: int) -> pa.Table:
    """The table, seeded; some cells are missing."""
    random = np.random.default_rng(11)
    columns: dict[str, Any] = {}
    for index in range(FLOATS):
        values = np.round(random.normal(size=rows) * 10.0**index, 6)
        columns[f"f{index}"] = pa.array(values, mask=random.random(rows) < 0.01)
    for index in range(WHOLES - 1):
        columns[f"i{index}"] = random.integers(0, 10 ** (index + 2), rows)
    for index in range(CATEGORIES):
        words = pa.array([f"value {number}" for number in range(4 ** (index + 1))])
        columns[f"c{index}"] = words.take(pa.array(random.integers(0, len(words), rows)))
    seconds = random.integers(1_500_000_000, 1_700_000_000, rows) * 1_000_000
    columns["at"] = pa.array(seconds).cast(pa.timestamp("us"))
    columns["y"] = (random.normal(size=rows) + np.asarray(columns["i0"]) / 100 > 0.5).astype(np.int64)
    return pa.table(columns)


def straight(path: Path, folder: Path) -> None:
    """The straight script."""
    import pandas as pd  # noqa: PLC0415  # each side imports in its own process
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415
    from sklearn.impute import SimpleImputer  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler  # noqa: PLC0415

    pa.set_cpu_count(THREADS)
    table = pa_csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    pq.write_table(table, folder / "snapshot.parquet", compression="zstd")
    frame = table.to_pandas()
    del table
    found: dict[str, Any] = {"nulls": frame.isna().sum().to_dict(), "duplicates": int(frame.duplicated().sum())}
    words = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name]) and name != "at"]
    found["numbers"] = frame.drop(columns=words).describe(percentiles=list(np.linspace(0.05, 0.95, 19))).to_dict()
    found["categories"] = {name: frame[name].value_counts().to_dict() for name in words}
    found["classes"] = frame["y"].value_counts(normalize=True).to_dict()
    y = frame.pop("y").to_numpy()
    frame["at"] = frame["at"].astype("int64")
    rows = np.arange(len(frame))
    train, rest = train_test_split(rows, test_size=0.3, stratify=y, random_state=0)
    train_test_split(rest, test_size=0.5, stratify=y[rest], random_state=0)
    numbers = [name for name in frame if name not in words]
    encoder = ColumnTransformer([
        ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        ("words", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), words),
    ])  # fmt: skip
    encoder.fit(frame.iloc[train])
    np.save(folder / "matrix.npy", encoder.transform(frame))


def stages(path: Path, folder: Path) -> None:
    """The four stages of Trainhouse."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.learning import chain, make_context  # noqa: PLC0415
    from workers import memory  # noqa: PLC0415
    from workers.stages import ingest, split, transform, validate  # noqa: PLC0415

    spec = {
        "task": {"target": "y", "type": "binary"}, "resources": {"threads": THREADS},
        "transform": {"numeric": {"impute": "median", "scale": "standard"}, "categorical": {"encode": "ordinal"}},
        "validation": {"drift": {"reference": "none"}},
    }  # fmt: skip
    ctx = make_context(folder, spec, table=path, threads=THREADS)
    chosen = (("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run))
    for name, run in chosen:
        began, spent = time.monotonic(), time.process_time()
        memory.reset_peak()
        ctx, _ = chain(ctx, (name, run))
        memory.give_back()
        sys.stderr.write(f"  {name} {time.monotonic() - began:.2f} s, {time.process_time() - spent:.2f} s of CPU, "
                         f"{(memory.peak_bytes() or 0) / 1e6:,.0f} MB at most\n")  # fmt: skip


SIDES: dict[str, Callable[[Path, Path], None]] = {"straight": straight, "stages": stages}


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def memory_of(pids: list[int]) -> int:
    """Their proportional set size, in bytes."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def measured(side: str, path: Path) -> tuple[float, int]:
    """(seconds, peak bytes) of one side in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        child = subprocess.Popen([sys.executable, __file__, "--side", side, "--file", str(path), "--folder", folder])
        peak, done = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(SAMPLE_SECONDS):
                peak = max(peak, memory_of(tree(child.pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            code = child.wait()
            took = time.monotonic() - began
        finally:
            done.set()
            watcher.join()
        if code != 0:
            raise RuntimeError(f"{side} ended with {code}")
        return took, peak


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--formats", nargs="+", default=["csv", "parquet"])
    parser.add_argument("--side", choices=list(SIDES))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.side:
        SIDES[given.side](given.file, given.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        table = a_table(given.rows)
        arrow = table.nbytes
        paths = {"csv": Path(folder, "t.csv"), "parquet": Path(folder, "t.parquet")}
        pa_csv.write_csv(table, paths["csv"])
        pq.write_table(table, paths["parquet"])
        del table
        print(
            f"{given.rows:,} rows x 20 columns, {arrow / 1e6:,.0f} MB as Arrow; limit {(3 * arrow + 500e6) / 1e6:,.0f} MB"
        )
        print(
            "| | straight s | stages s | ratio | straight MB | stages MB | stages / Arrow |\n|---|---|---|---|---|---|---|"
        )
        found: dict[str, Any] = {}
        for kind in given.formats:
            rounds = [[measured(side, paths[kind]) for side in SIDES] for _round in range(given.rounds)]
            plain, ours = (
                tuple(statistics.median(one[side][part] for one in rounds) for part in (0, 1)) for side in (0, 1)
            )
            ratio = statistics.median(one[1][0] / one[0][0] for one in rounds)
            print(f"| {kind} | {plain[0]:.1f} | {ours[0]:.1f} | {ratio:.2f} | {plain[1] / 1e6:,.0f} | {ours[1] / 1e6:,.0f} "
                  f"| {ours[1] / arrow:.2f} |", flush=True)  # fmt: skip
            found[kind] = {"ratio": ratio, "memory": ours[1], "limit": 3 * arrow + 500e6}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

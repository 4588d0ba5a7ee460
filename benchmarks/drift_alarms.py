"""How often two random halves of one table raise a drift alarm: `python -m benchmarks.drift_alarms [TABLE ...]`.

Each seed cuts a table of 2n rows at random and compares one half with the profile and the rows of the other, at
n = 200, 5,000 and 200,000 where the table has as many rows. TABLE is a file (CSV, Parquet); made tables with heavy
tails, ties, rare categories and missing values are always judged. An alarm is any column, or all columns together.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.spec.data import Drift
from workers.quality import profile
from workers.quality.reference import Reference, some
from workers.quality.stability import Judge
from workers.table.canonical import canonical

SIZES = (200, 5_000, 200_000)
LARGEST = 400_000
TARGET = 0.05


def made(rows: int, seed: int = 0) -> pa.Table:
    """A table of what is hard to compare: heavy tails, ties, rare categories, missing values, copies."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=rows)
    frame = pd.DataFrame({
        "cauchy": rng.standard_cauchy(rows), "lognormal": rng.lognormal(0, 3, rows), "zeros": np.where(rng.random(rows) < 0.9, 0, normal),
        "coin": rng.integers(0, 2, rows), "rare": (rng.random(rows) < 0.004).astype(int), "counts": rng.poisson(1.5, rows),
        "capped": np.minimum(normal, 0.5), "like_normal": normal + rng.normal(size=rows) / 10,
        "gaps": np.where(rng.random(rows) < 0.3, np.nan, normal), "mostly_gone": np.where(rng.random(rows) < 0.98, np.nan, normal),
        "zipf": [f"z{min(value, 10**6)}" for value in rng.zipf(1.6, rows)], "even": [f"e{value}" for value in rng.integers(0, 1_000, rows)],
        "many": [f"m{value}" for value in rng.integers(0, 100_000, rows)],
        "few": rng.choice(["a", "b", "c", "d"], rows, p=[0.96, 0.03, 0.008, 0.002]),
        "half_empty": pd.Series(rng.choice(["x", "y"], rows)).where(rng.random(rows) < 0.5),
        "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, rows), unit="s"),
    })  # fmt: skip
    return canonical(pa.Table.from_pandas(frame, preserve_index=False))


def kinds(table: pa.Table) -> dict[str, str | None]:
    """The kind of each column: text counts as categories where it repeats."""
    return {name: "categorical" if (kind := profile.look(table.column(name)).kind) == "text" else kind
            for name in table.column_names}  # fmt: skip


def halves(table: pa.Table, rows: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """Two random samples of `rows` rows without a common row."""
    chosen: npt.NDArray[np.int64] = np.random.default_rng(seed).permutation(table.num_rows)[: 2 * rows]
    return table.take(pa.array(chosen[:rows])), table.take(pa.array(chosen[rows:]))


def alarms(now: pa.Table, then: pa.Table, types: dict[str, str | None], *, seed: int) -> list[str]:
    """The columns that are said to have drifted from `then` to `now`, and `(joint)`."""
    described = profile.profile(then, {name: kind for name, kind in types.items() if kind})
    past = Reference("the other half", described, lambda names, most, rng: then.select(list(names)).take(
        pa.array(some(then.num_rows, most, rng))))  # fmt: skip
    judge = Judge(past, types, Drift(), seed=seed)
    for name in now.column_names:
        judge.look(name, profile.look(now.column(name), types[name]))
    said, _found = judge.verdict(now, {})
    joint = ["(joint)"] if said["joint"] and said["joint"]["drifted"] else []
    return [one["column"] for one in said["columns"] if one["drifted"]] + joint


def rates(name: str, table: pa.Table, seeds: int) -> Iterator[str]:
    """One line of Markdown for each size."""
    types = kinds(table)
    for rows in SIZES:
        if 2 * rows > table.num_rows:
            continue
        began, raised = (
            time.process_time(),
            [alarms(*halves(table, rows, seed), types, seed=seed) for seed in range(seeds)],
        )
        loud = [found for found in raised if found]
        share = len(loud) / seeds
        blamed = ", ".join(sorted({column for found in loud for column in found}))
        seconds = (time.process_time() - began) / seeds
        yield f"| {name} | {rows:,} | {share:.2f} | {'yes' if share <= TARGET else 'NO'} | {seconds:.2f} | {blamed} |"


def read(path: Path) -> pa.Table:
    """A file as a canonical table of at most 400,000 rows."""
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, low_memory=False)
    frame = frame if len(frame) <= LARGEST else frame.sample(LARGEST, random_state=0)
    return canonical(pa.Table.from_pandas(frame, preserve_index=False))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=100)
    asked = parser.parse_args(arguments)
    pa.set_cpu_count(1)
    print(
        "| table | rows a half | share of false alarms | at most 5 % | CPU s each | named |\n|---|---|---|---|---|---|"
    )
    for name, table in [("made", made(LARGEST)), *((path.name, read(path)) for path in asked.tables)]:
        for line in rates(name, table, asked.seeds):
            print(line, flush=True)


if __name__ == "__main__":
    main()

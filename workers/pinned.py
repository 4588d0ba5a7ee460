"""The rows that a verdict rests on, as a file: whoever has it computes metrics, intervals and verdict again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app import verdicts
from app.errors import InvalidData
from app.spec.decision import Gate, Slice
from trainhouse_loader.answers import columns_of
from trainhouse_loader.terms import TaskType
from workers.evidence import Bench, weighed
from workers.measures.intervals import Confidence
from workers.measures.samples import Floats, Rows

THEIRS, COLUMN = "champion:", "column:"
"""Before the names of the champion's answers, and of the columns that slices and rules look at."""


def write(bench: Bench, classes: Sequence[str], path: Path) -> None:
    """Writes the rows of `bench` as Parquet.

    Columns: `target`, `prediction`, `probability:<class>`, `weight` where rows have one; `champion:` and the same of the
    champion's answers; `column:` and the name of each column that slices and rules look at.
    """
    ours = bench.ours
    columns: dict[str, Any] = {"target": _targets(ours.y, classes)}
    columns |= columns_of(ours.task, classes, ours.p, threshold=ours.threshold)
    if ours.weights is not None:
        columns["weight"] = ours.weights
    if bench.theirs is not None:
        theirs = columns_of(ours.task, classes, bench.theirs.p, threshold=bench.theirs.threshold)
        columns |= {THEIRS + name: values for name, values in theirs.items()}
    made = {name: pa.array(values) for name, values in columns.items()}
    made |= {COLUMN + name: bench.table.column(name) for name in bench.table.column_names}
    pq.write_table(pa.table(made), path, compression="zstd")


def _targets(y: Floats, classes: Sequence[str]) -> Any:
    return np.asarray(classes, dtype=object)[y.astype(np.int64)] if classes else y


def recomputed(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """`metrics` and `gate` (as the gate says them) that the rows at `path` give for the decision that `document` receipts.

    Raises:
        InvalidData: the file holds no such rows.
    """
    try:
        bench = _bench(pq.read_table(path, use_threads=False), document)
    except (KeyError, ValueError, pa.ArrowInvalid) as error:
        raise InvalidData(f"These are not the rows of the receipt: {error}") from None
    champion = document["evidence"]["champion"]
    found = weighed(bench, champion)
    evidence = {**found, "costs": document["evidence"]["costs"] or {}}
    return {
        "metrics": found["metrics"],
        "gate": verdicts.judged(Gate.model_validate(document["gate"]["asked"]), evidence),
    }


def _bench(table: pa.Table, document: Mapping[str, Any]) -> Bench:
    said, sure = document["task"], document["confidence"]
    task: TaskType = said["type"]
    classes = list(said["classes"] or [])
    target = table.column("target").to_numpy()
    y = np.array([classes.index(name) for name in target], dtype=np.float64) if classes else target.astype(np.float64)
    weights = table.column("weight").to_numpy().astype(np.float64) if "weight" in table.column_names else None

    def rows(prefix: str, threshold: float) -> Rows:
        return Rows(task, y, _answers(table, classes, prefix), said["quantile"], weights, threshold)

    gate = Gate.model_validate(document["gate"]["asked"])
    looked_at = [name for name in table.column_names if name.startswith(COLUMN)]
    held = table.select(looked_at).rename_columns([name.removeprefix(COLUMN) for name in looked_at])
    champion = document["evidence"]["champion"] or {}
    met = f"{THEIRS}prediction" in table.column_names
    return Bench(
        rows("", said["threshold"]), rows(THEIRS, champion["threshold"]) if met else None, list(document["metrics"]),
        said["metric"], Confidence(sure["level"], sure["asked"], sure["seed"]),
        [Slice.model_validate(each) for each in document["evidence"]["slices"]], gate.rules, held,
    )  # fmt: skip


def _answers(table: pa.Table, classes: Sequence[str], prefix: str) -> Floats:
    if not classes:
        return np.asarray(table.column(f"{prefix}prediction").to_numpy(), dtype=np.float64)
    parts = [table.column(f"{prefix}probability:{name}").to_numpy() for name in classes]
    return np.column_stack(parts).astype(np.float64)

"""What a job would take: columns of its matrix, memory of one worker process, and seconds; from counts alone.

The constants were fitted to jobs of 500 to 3,000,000 rows on two cores (`benchmarks/estimates.py` shows them against
what jobs take). Memory is meant to be right within a factor of two; seconds are a rough guide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.spec.job import JobSpec
from trainhouse_loader.terms import TaskType
from workers.matrix import encoding

TIME_PARTS = 6
PROCESS_BYTES = 420_000_000
EMBEDDING_BYTES = 300_000_000
"""What it takes to learn the directions of texts and what they say of the target: of a bounded number, 8 MiB at most."""
TABLE_COPIES = 1.6
MATRIX_COPIES = 2.2
CELL_BYTES = 8
CELLS_READ_PER_SECOND = 6e6
CELL_TREES_PER_SECOND = 2.5e8
USUAL_ROUNDS = 150
SECONDS_OF_A_JOB = 1.5


@dataclass(frozen=True)
class Size:
    """What is known of a job before it trains.

    Attributes:
        rows: That are split.
        columns: Of the ingested table.
        table_bytes: Of that table in memory, as Arrow counts them.
        features: Columns of the matrix that a trainer takes.
        train_rows: Rows that train.
        classes: 0 for a number to predict.
        texts: Whether a column of text is embedded.
    """

    rows: int
    columns: int
    table_bytes: int
    features: int
    train_rows: int
    classes: int
    texts: bool = False


def features_of(spec: JobSpec, types: Mapping[str, str], described: Mapping[str, Any], *, task: TaskType) -> int:
    """How many columns the matrix would have; `described` is the profile, which tells how many values there are."""
    columns = described.get("columns", {})
    total = 0
    for step, names in encoding.plan(spec, types):
        options = dict(step.options)
        for name in names:
            distinct = int(columns.get(name, {}).get("distinct") or 1)
            total += _width(step.kind, options, distinct=distinct, task=task)
    return total


def _width(kind: str, options: Mapping[str, Any], *, distinct: int, task: TaskType) -> int:
    match kind:
        case "time":
            return TIME_PARTS
        case "one_hot":
            return min(distinct + 1, int(options["max_categories"]))
        case "embedding":
            scores = 3 if task == "multiclass" else 1
            return min(distinct, int(options["dimensions"])) + (scores if options["scores"] else 0)
        case "target" if task == "multiclass":
            return 3
        case _:
            return 1


def memory_bytes(size: Size) -> int:
    """The most that one worker process would hold at a time."""
    matrix = size.rows * size.features * CELL_BYTES
    embedding = EMBEDDING_BYTES if size.texts else 0
    return int(PROCESS_BYTES + embedding + TABLE_COPIES * size.table_bytes + MATRIX_COPIES * matrix)


def seconds(spec: JobSpec, size: Size, *, trials: int) -> float:
    """All stages of the job on one worker, without waiting for a person."""
    rounds = min(USUAL_ROUNDS, spec.training.max_iterations)
    trees = size.classes if size.classes > 2 else 1
    fit = size.train_rows * size.features * trees * rounds / CELL_TREES_PER_SECOND
    if spec.tuning.trial_seconds is not None:
        fit = min(fit, spec.tuning.trial_seconds)
    search = trials * (0.1 + fit)
    if spec.tuning.max_seconds is not None:
        search = min(search, spec.tuning.max_seconds)
    prepared = (size.rows * (size.columns + size.features)) / CELLS_READ_PER_SECOND
    return round(SECONDS_OF_A_JOB + prepared + fit + search, 1)

"""What a search knows of the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.terms import TaskType


@dataclass(frozen=True)
class Facts:
    """What is known of the data when the search begins.

    Attributes:
        task: The resolved task.
        rows: Rows that train.
        features: Columns of the matrix.
        categorical: How many of them hold codes of categories.
        classes: 0 for a number to predict.
        validation: Rows that a fit is watched on.
        timed: Whether the parts follow one another in time.
    """

    task: TaskType
    rows: int = 0
    features: int = 0
    categorical: int = 0
    classes: int = 0
    validation: int = 0
    timed: bool = False


def facts_of(outputs: Mapping[str, Mapping[str, Any]]) -> Facts:
    """The facts that the outputs of the stages hold; what a stage has not said yet is 0."""
    said, split = outputs["validate"], outputs.get("split", {})
    made, rows = outputs.get("transform", {}), split.get("rows", {})
    return Facts(
        task=said["task_type"], rows=int(rows.get("train", 0)), features=int(made.get("features", 0)),
        categorical=int(made.get("categorical", 0)), classes=len(said.get("classes", ())),
        validation=int(rows.get("validation", 0)), timed=str(split.get("method", "")).startswith("time"),
    )  # fmt: skip

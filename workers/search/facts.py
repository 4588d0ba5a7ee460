"""What a search knows of the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainhouse_loader.terms import TaskType

LEAST_VARIATION = 0.3
"""Standard deviation over mean: numbers that vary less are about as well learned by squares."""


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
        losses: Those of the parameter `loss` that suit the numbers to predict; none where they hardly vary by factors.
    """

    task: TaskType
    rows: int = 0
    features: int = 0
    categorical: int = 0
    classes: int = 0
    validation: int = 0
    timed: bool = False
    losses: tuple[str, ...] = ()


def facts_of(outputs: Mapping[str, Mapping[str, Any]]) -> Facts:
    """The facts that the outputs of the stages hold; what a stage has not said yet is 0."""
    said, split = outputs["validate"], outputs.get("split", {})
    made, rows = outputs.get("transform", {}), split.get("rows", {})
    return Facts(
        task=said["task_type"], rows=int(rows.get("train", 0)), features=int(made.get("features", 0)),
        categorical=int(made.get("categorical", 0)), classes=len(said.get("classes", ())),
        validation=int(rows.get("validation", 0)), timed=str(split.get("method", "")).startswith("time"),
        losses=suitable(made["target"]) if "target" in made else (),
    )  # fmt: skip


def suitable(target: Mapping[str, float]) -> tuple[str, ...]:
    """The losses that suit numbers of such a `least`, `mean` and `deviation`."""
    if target["least"] < 0 or target["deviation"] <= LEAST_VARIATION * target["mean"]:
        return ()
    return ("auto", "poisson", "tweedie", "gamma") if target["least"] > 0 else ("auto", "poisson", "tweedie")

"""What callers see of algorithms and metrics."""

from typing import Any, Literal

from pydantic import BaseModel, Field

Task = Literal["binary", "multiclass", "regression"]


class AlgorithmOut(BaseModel):
    """An algorithm that `training.algorithm` may name."""

    name: str = Field(examples=["lightgbm"])
    tasks: list[Task]
    available: bool = Field(
        description="Whether the workers can train it; a spec that names one they cannot is refused"
    )
    install: str | None = Field(
        default=None,
        description="Where it is an extra, what installs it",
        examples=["pip install 'trainhouse[xgboost]'"],
    )
    parameters: dict[str, Any] = Field(description="JSON Schema of `training.params`; also the names of `tuning.space`")
    spaces: dict[Task, dict[str, dict[str, Any]]] = Field(
        description="By task, the `tuning.space` that a search takes on 10,000 training rows where the spec names none"
    )


class Algorithms(BaseModel):
    """All algorithms by name."""

    items: list[AlgorithmOut]
    next_cursor: None = None


class MetricOut(BaseModel):
    """A metric that `evaluation.metrics`, `tuning.metric` and gate rules may name."""

    name: str = Field(examples=["roc_auc"])
    tasks: list[Task]
    direction: Literal["higher_is_better", "lower_is_better"]


class Metrics(BaseModel):
    """All metrics by name."""

    items: list[MetricOut]
    next_cursor: None = None

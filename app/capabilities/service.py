"""Reads from the spec's own language what a job may name; nothing is listed twice."""

from typing import Any, get_args

from app.capabilities.schemas import AlgorithmOut, MetricOut, Task
from app.spec.algorithms import PARAMS
from app.spec.decision import CLASSIFICATION_METRICS, LOWER_IS_BETTER, METRIC_NAMES

CLASSES: list[Task] = ["binary", "multiclass"]
ALL_TASKS: list[Task] = list(get_args(Task))


def algorithms() -> list[AlgorithmOut]:
    """The algorithms by name, each with the JSON Schema of its parameters."""
    return [AlgorithmOut(name=name, tasks=ALL_TASKS, parameters=_schema(name)) for name in sorted(PARAMS)]


def metrics() -> list[MetricOut]:
    """The metrics by name."""
    return [
        MetricOut(
            name=name, tasks=CLASSES if name in CLASSIFICATION_METRICS else ["regression"],
            direction="lower_is_better" if name in LOWER_IS_BETTER else "higher_is_better",
        )
        for name in sorted(METRIC_NAMES)
    ]  # fmt: skip


def _schema(algorithm: str) -> dict[str, Any]:
    return PARAMS[algorithm].model_json_schema()

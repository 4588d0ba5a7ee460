"""Reads from the spec's own language what a job may name; nothing is listed twice."""

from collections.abc import Collection
from typing import Any, get_args

from app.capabilities.schemas import AlgorithmOut, MetricOut, Task
from app.spec.algorithms import PARAMS
from app.spec.decision import CLASSIFICATION_METRICS, LOWER_IS_BETTER, METRIC_NAMES
from app.spec.extras import EXTRAS, installs
from app.spec.spaces import default_space

CLASSES: list[Task] = ["binary", "multiclass"]
ALL_TASKS: list[Task] = list(get_args(Task))
SHOWN_ROWS = 10_000


def algorithms(extras: Collection[str]) -> list[AlgorithmOut]:
    """The algorithms by name, each with its parameters and its default spaces; `extras` are those that the workers have."""
    return [
        AlgorithmOut(
            name=name, tasks=ALL_TASKS, available=name not in EXTRAS or name in extras,
            install=installs(name) if name in EXTRAS else None, parameters=_schema(name),
            spaces={task: _space(name, task) for task in ALL_TASKS},
        )
        for name in sorted(PARAMS)
    ]  # fmt: skip


def metrics() -> list[MetricOut]:
    """The metrics by name."""
    return [
        MetricOut(
            name=name, tasks=CLASSES if name in CLASSIFICATION_METRICS else ["regression"],
            direction="lower_is_better" if name in LOWER_IS_BETTER else "higher_is_better",
        )
        for name in sorted(METRIC_NAMES)
    ]  # fmt: skip


def _space(algorithm: str, task: Task) -> dict[str, dict[str, Any]]:
    space = default_space(algorithm, task, SHOWN_ROWS)
    return {name: dimension.model_dump(mode="json", exclude_defaults=True) for name, dimension in space.items()}


def _schema(algorithm: str) -> dict[str, Any]:
    return PARAMS[algorithm].model_json_schema()

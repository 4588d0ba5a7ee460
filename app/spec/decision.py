"""The spec's decision half: how the model is judged, let through, registered and handed on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.spec.base import Column, Finite, Label, Part, Scalar, Slug, Text

CLASSIFICATION_METRICS = frozenset({
    "accuracy", "balanced_accuracy", "roc_auc", "average_precision", "f1", "precision", "recall", "log_loss", "brier",
    "mcc",
})  # fmt: skip
REGRESSION_METRICS = frozenset({
    "rmse", "mae", "mape", "r2", "median_absolute_error", "mean_poisson_deviance", "mean_pinball_loss",
})  # fmt: skip
METRIC_NAMES = CLASSIFICATION_METRICS | REGRESSION_METRICS
LOWER_IS_BETTER = frozenset({
    "log_loss", "brier", "rmse", "mae", "mape", "median_absolute_error", "mean_poisson_deviance", "mean_pinball_loss",
})  # fmt: skip

Metric = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


def known_metric(name: str) -> str:
    """`name` itself; raises ValueError where no such metric exists."""
    if name not in METRIC_NAMES:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(sorted(METRIC_NAMES))}")
    return name


class Evaluation(Part):
    """What is measured on the test part; left empty, the usual metrics of the task."""

    metrics: list[Metric] = Field(default=[], max_length=50)

    @model_validator(mode="after")
    def metrics_are_known(self) -> "Evaluation":
        """Each name is a metric."""
        for name in self.metrics:
            known_metric(name)
        return self


class Rule(Part):
    """One condition on a test metric."""

    metric: Metric
    min: Finite | None = None
    max: Finite | None = None

    @model_validator(mode="after")
    def has_a_bound(self) -> "Rule":
        """A rule without a bound judges nothing."""
        known_metric(self.metric)
        if self.min is None and self.max is None:
            raise ValueError("a rule needs min or max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self


class Gate(Part):
    """The rules a candidate must pass before it is registered."""

    rules: list[Rule] = Field(default=[], max_length=100)
    on_fail: Literal["review", "reject"] = "review"


class Registration(Part):
    """How the version is recorded."""

    aliases: list[Slug] = Field(default=["candidate"], max_length=20)
    tags: dict[Label, Label] = Field(default={}, max_length=50)
    description: Text = ""


class Deployment(Part):
    """Whom to tell that a version is ready."""

    target: Literal["none", "staging", "production"] = "none"
    require_ack: bool = False
    ack_seconds: Annotated[int, Field(ge=1, le=604_800)] = 900


class Resources(Part):
    """What the job may take."""

    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    """Of one fit; `auto` goes by the data's size, and is 1 in deterministic mode. Fits never take more than the cores."""
    memory_bytes: Annotated[int, Field(ge=64 * 1024**2)] | None = None
    max_seconds: Annotated[int, Field(ge=1, le=604_800)] = 86_400
    priority: Annotated[int, Field(ge=0, le=9)] = 5


class Reproducibility(Part):
    """`deterministic` gives the same bundle bytes for the same spec and data on like machines."""

    mode: Literal["fast", "deterministic"] = "fast"
    reuse: bool = True
    """Whether a stage may be taken over from an earlier job that did the same with the same data."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42


__all__ = [
    "CLASSIFICATION_METRICS",
    "LOWER_IS_BETTER",
    "METRIC_NAMES",
    "REGRESSION_METRICS",
    "Column",
    "Deployment",
    "Evaluation",
    "Gate",
    "Registration",
    "Reproducibility",
    "Resources",
    "Rule",
    "Scalar",
]  # fmt: skip

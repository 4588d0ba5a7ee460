"""The spec's decision half: how the model is judged, let through, registered and handed on."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from app.spec.base import MAX_INTEGER, Column, Finite, Label, Part, Scalar, Slug, Text

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

COSTS = frozenset({"model_bytes", "predict_ms"})
"""What a rule may bound besides metrics: the size of the model, and the milliseconds to predict one row."""


def known_metric(name: str) -> str:
    """`name` itself; raises ValueError where no such metric exists."""
    if name not in METRIC_NAMES:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(sorted(METRIC_NAMES))}")
    return name


def known_bound(name: str) -> str:
    """`name` itself; raises ValueError where it is neither a metric nor a cost."""
    return name if name in COSTS else known_metric(name)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Slice(Part):
    """Rows that are looked at apart: by the values of a column, or of a few together; numbers by quarters."""

    columns: list[Column] = Field(min_length=1, max_length=3)
    min_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100
    """Smaller groups are counted, but not measured."""


class Confidence(Part):
    """How the intervals of test metrics are made."""

    level: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=10_000)] = 1_000


class Evaluation(Part):
    """What is measured on the test part; left empty, the usual metrics of the task."""

    metrics: list[Annotated[Name, AfterValidator(known_metric)]] = Field(default=[], max_length=50)
    slices: list[Slice] = Field(default=[], max_length=20)
    confidence: Confidence = Confidence()
    explain: bool = True
    """Whether importances and contributions are computed."""


class Rule(Part):
    """One condition on a candidate.

    With `min` or `max` it bounds a metric, of all test rows or of a `slice`; `against` the champion it bounds what is
    gained on the same rows; `across` columns it bounds how far apart the groups that their values make may be.
    """

    metric: Annotated[Name, AfterValidator(known_bound)]
    min: Finite | None = None
    max: Finite | None = None
    slice: dict[Column, Scalar] = Field(default={}, max_length=3)
    """Only the rows that have these values."""
    against: Literal["champion"] | None = None
    min_gain: Finite | None = None
    """At least so much better, in units of the metric; below 0 it allows for some loss."""
    across: list[Column] = Field(default=[], max_length=3)
    max_gap: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """At most so much between the best group and the worst."""
    min_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100
    """`across`: groups with fewer rows do not count."""
    judge_by: Literal["value", "low"] | None = None
    """Left out, as the gate says."""

    @property
    def kind(self) -> Literal["bound", "gain", "gap"]:
        """What the rule bounds."""
        return "gain" if self.against else "gap" if self.across else "bound"

    @model_validator(mode="after")
    def judges_one_thing(self) -> "Rule":
        """A rule has the bound of its kind, and no other."""
        if self.metric in COSTS and (self.kind != "bound" or self.slice or self.min is not None or self.max is None):
            raise ValueError(f"a rule on {self.metric} takes max alone")
        needed = {"gain": "min_gain", "gap": "max_gap"}.get(self.kind)
        for name in ("min_gain", "max_gap"):
            given = getattr(self, name) is not None
            if given != (name == needed):
                partner = {"min_gain": "against", "max_gap": "across"}[name]
                raise ValueError(f"{name} and {partner} go together")
        if self.kind == "bound" and self.min is None and self.max is None:
            raise ValueError("a rule needs min, max, against with min_gain, or across with max_gap")
        if self.kind != "bound" and (self.min is not None or self.max is not None):
            raise ValueError(f"a rule with {needed} takes neither min nor max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        if self.across and self.slice:
            raise ValueError("a rule takes across or slice, not both")
        return self


class ReviewTerms(Part):
    """Who decides on a candidate that the gate refused, and until when."""

    by_another: bool = False
    """Whether it must be decided with another key than the job was submitted with."""
    seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """After so long without a decision the candidate is rejected; left out, it waits."""


class Gate(Part):
    """The rules a candidate must pass before it is registered."""

    policy: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,62}(:[1-9][0-9]{0,8})?$")] | None = None
    """A gate policy by name, or as `name:version`; then everything else here is the policy's, except `review`."""
    rules: list[Rule] = Field(default=[], max_length=100)
    judge_by: Literal["value", "low"] = "value"
    """The value alone, or the pessimistic end of its interval: then what lies between both is `inconclusive`."""
    on_fail: Literal["review", "reject"] = "review"
    on_inconclusive: Literal["review", "pass", "reject"] = "review"
    on_missing_champion: Literal["pass", "review"] = "pass"
    """What a rule against the champion is worth while there is none."""
    on_unfit_champion: Literal["inconclusive", "pass"] = "inconclusive"
    """What it is worth where the champion cannot score today's rows."""
    review: ReviewTerms = ReviewTerms()


class Registration(Part):
    """How the version is recorded."""

    aliases: list[Slug] = Field(default=["candidate"], max_length=20)
    """Names that point at the new version from its registration on, wherever they pointed before."""
    tags: dict[Label, Label] = Field(default={}, max_length=50)
    exports: list[Literal["onnx"]] = Field(default=[], max_length=1)
    """Other forms of the whole pipeline that the bundle holds as well: `onnx`, proven on the same rows."""
    description: Text = ""


class Deployment(Part):
    """Whom to tell that a version is ready."""

    target: Literal["none", "staging", "production"] = "none"
    require_ack: bool = False
    """Whether the target's aliases move only once a deployer reports `accepted` or `serving`; otherwise they move at once."""
    ack_seconds: Annotated[int, Field(ge=1, le=604_800)] = 900
    """With `require_ack`, how long a deployer has to report; then the deployment is `timed_out`, and the aliases stay."""


class Resources(Part):
    """What the job may take."""

    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    """Of one fit; `auto` goes by the data's size, and is 1 in deterministic mode. Fits never take more than the cores."""
    memory_bytes: Annotated[int, Field(ge=64 * 1024**2, le=MAX_INTEGER)] | None = None
    """The most for reading a file, for `features.sql` and for expressions, each by itself; fits are not bounded by it. A
    plan warns where a worker would take more."""
    max_seconds: Annotated[int, Field(ge=1, le=604_800)] = 86_400
    """Of work, from the job's start, or from its last retry or review: a person's time to decide is not the job's."""
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """A free worker takes the job of the highest priority, and of one priority what has been due the longest. What runs
    is not stopped for it."""


class Reproducibility(Part):
    """`deterministic` gives the same bundle bytes for the same spec and data on like machines."""

    mode: Literal["fast", "deterministic"] = "fast"
    reuse: bool = True
    """Whether a stage may be taken over from an earlier job that did the same with the same data."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42


__all__ = [
    "CLASSIFICATION_METRICS",
    "COSTS",
    "LOWER_IS_BETTER",
    "METRIC_NAMES",
    "REGRESSION_METRICS",
    "Column",
    "Confidence",
    "Deployment",
    "Evaluation",
    "Gate",
    "Registration",
    "Reproducibility",
    "Resources",
    "Rule",
    "Scalar",
    "Slice",
]  # fmt: skip

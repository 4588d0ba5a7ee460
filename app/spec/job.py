"""A whole job spec: parse it, resolve its defaults, digest it."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, ValidationInfo, model_validator

from app.errors import InvalidSpec
from app.receipts import digest_of
from app.spec.algorithms import DEFAULT_ALGORITHM, PARAMS
from app.spec.base import ACCEPTED, Label, Part, Slug, misfit, violations_of, was_accepted
from app.spec.data import Data, Split, Task, Transform, Validation
from app.spec.decision import (
    CLASSIFICATION_METRICS,
    COSTS,
    METRIC_NAMES,
    REGRESSION_METRICS,
    Deployment,
    Evaluation,
    Gate,
    Registration,
    Reproducibility,
    Resources,
)
from app.spec.modelling import Training, Tuning, dimensions_of


class JobSpec(Part):
    """Everything a caller says of a job; `resolved` writes all defaults out."""

    model: Slug
    task: Task
    data: Data
    validation: Validation = Validation()
    split: Split = Split()
    transform: Transform = Transform()
    training: Training = Training()
    tuning: Tuning = Tuning()
    evaluation: Evaluation = Evaluation()
    gate: Gate = Gate()
    registration: Registration = Registration()
    deployment: Deployment = Deployment()
    resources: Resources = Resources()
    reproducibility: Reproducibility = Reproducibility()
    labels: dict[Label, Label] = Field(default={}, max_length=50)

    @model_validator(mode="after")
    def columns_play_one_part(self) -> "JobSpec":
        """The target cannot be excluded, nor be the column that divides or identifies rows."""
        target = self.task.target
        excluded, ids = self.data.features.exclude, self.task.id_columns
        if target in excluded:
            raise misfit(
                f"task.target {target!r} stands in data.features.exclude",
                "data", "features", "exclude", excluded.index(target),
            )  # fmt: skip
        if target in ids:
            raise misfit(f"task.target {target!r} stands in task.id_columns", "task", "id_columns", ids.index(target))
        others = [("task", name) for name in ("group_column", "time_column", "weight_column")]
        for part, field in [*others, ("split", "column")]:
            if target == getattr(getattr(self, part), field):
                raise misfit(f"task.target {target!r} also plays another part: {part}.{field}", part, field)
        return self

    @model_validator(mode="after")
    def metrics_fit_the_task(self, info: ValidationInfo) -> "JobSpec":
        """Where the task is known, each metric is one of that task's."""
        kind = self.task.type if was_accepted(info) else known_task(self.task.type, self.training.objective)
        fitting = {"auto": METRIC_NAMES, "regression": REGRESSION_METRICS}.get(kind, CLASSIFICATION_METRICS)
        asked: list[tuple[str, tuple[str | int, ...]]] = [
            *((name, ("evaluation", "metrics", place)) for place, name in enumerate(self.evaluation.metrics)),
            *((rule.metric, ("gate", "rules", place, "metric")) for place, rule in enumerate(self.gate.rules)
              if rule.metric not in COSTS),
        ]  # fmt: skip
        if self.tuning.metric != "auto":
            asked.append((self.tuning.metric, ("tuning", "metric")))
        for name, at in asked:
            if name not in fitting:
                known = ", ".join(sorted(fitting))
                raise misfit(f"metric {name!r} does not fit a {kind} task; fitting: {known}", *at)
        return self

    @model_validator(mode="after")
    def params_belong_to_the_algorithm(self) -> "JobSpec":
        """Parameters are allow-listed, so none of them can reach a file, the network or code."""
        fault = fault_of(self.own_algorithm(), self.training.params)
        if fault is not None:
            parameter, message = fault
            raise misfit(f"training.params.{message}", "training", "params", parameter)
        searched = self.searched_algorithms()
        for name, dimension in self.tuning.space.items():
            if name == "algorithm":
                continue
            owners = [each for each in searched if name in dimensions_of(self.tuning.space, each)]
            if not owners:
                message = f"tuning.space.{name} is no parameter of {' or '.join(searched)}; {known_of(*searched)}"
                raise misfit(message, "tuning", "space", name)
            for end, *at in dimension.ends():
                value = int(end) if dimension.type == "int" and isinstance(end, float) else end
                for fault in (fault_of(each, {name: value}) for each in owners):
                    if fault is not None:
                        raise misfit(f"tuning.space.{fault[1]}", "tuning", "space", name, *at)
        return self

    @model_validator(mode="after")
    def training_fits_the_task(self, info: ValidationInfo) -> "JobSpec":
        """Other objectives are for numbers, what is monotone has an order, and what is tuned or weighted has classes."""
        training, new = self.training, not was_accepted(info)
        kind = known_task(self.task.type, training.objective) if new else self.task.type
        classes, numbers = kind in {"binary", "multiclass"}, kind == "regression"
        if new and numbers and self.task.positive_class is not None:
            raise misfit("task.positive_class is for two classes, not for numbers", "task", "positive_class")
        refused = (
            ("class_weight", new and numbers and training.class_weight is not None, "is for classes, not for numbers"),
            ("objective", training.objective != "auto" and classes, f"is for regression, not for a {kind} task"),
            ("calibrate", training.calibrate and numbers, "is for classes, not for numbers"),
            ("tune_threshold", training.tune_threshold and kind in {"regression", "multiclass"}, "is for two classes"),
            ("monotone", training.monotone and kind == "multiclass",
             "is for binary and regression tasks: several classes have no order"),
        )  # fmt: skip
        for field, applies, message in refused:
            if applies:
                raise misfit(f"training.{field} {message}", "training", field)
        return self

    @model_validator(mode="after")
    def loss_fits_the_task(self) -> "JobSpec":
        """A booster's own loss is for numbers, and in the place of an objective."""
        losses = {("training", "params", "loss"): [self.training.params.get("loss", "auto")]}
        if "loss" in self.tuning.space:
            losses["tuning", "space", "loss"] = self.tuning.space["loss"].choices or []
        if self.task.type in {"binary", "multiclass"} or self.training.objective != "auto":
            for at, values in losses.items():
                if set(values) - {"auto"}:
                    raise misfit("the parameter loss is for regression with training.objective auto", *at)
        return self

    @model_validator(mode="after")
    def monotone_is_held(self) -> "JobSpec":
        """The leaves of two boosters are fitted to a quantile only after the tree, and so may break the order."""
        unheld = [name for name in self.fitted_algorithms() if name in {"lightgbm", "xgboost"}]
        if self.training.monotone and self.training.objective == "quantile" and unheld:
            message = f"training.monotone is nothing that {' or '.join(unheld)} can hold for a quantile"
            if self.own_algorithm() not in self.searched_algorithms():
                message += f"; the first fit is of training.algorithm, {self.own_algorithm()} here"
            raise misfit(message, "training", "monotone")
        return self

    @model_validator(mode="after")
    def a_search_has_a_budget(self, info: ValidationInfo) -> "JobSpec":
        """What says how to search is of no use where strategy auto has no budget, and so searches nothing."""
        tuning = self.tuning
        limited = tuning.max_trials is not None or tuning.max_seconds is not None
        if tuning.strategy != "auto" or limited or was_accepted(info):
            return self
        asked = {
            "space": bool(tuning.space), "patience": tuning.patience is not None,
            "trial_seconds": tuning.trial_seconds is not None, "ensemble": tuning.ensemble not in {"auto", 1},
        }  # fmt: skip
        what_to_do = (
            "give tuning.max_trials or tuning.max_seconds, or set tuning.strategy (to none, to leave it as it is)"
        )
        for field in (name for name, given in asked.items() if given):
            message = f"tuning.{field} is for a search, and without a budget nothing is searched: {what_to_do}"
            raise misfit(message, "tuning", field)
        return self

    def own_algorithm(self) -> str:
        """What the train stage fits."""
        return self.training.algorithm if self.training.algorithm != "auto" else DEFAULT_ALGORITHM

    def fitted_algorithms(self) -> list[str]:
        """The algorithms that the spec names for any fit: those of its trials, and that of the train stage.

        Raises:
            PydanticCustomError: see `searched_algorithms`.
        """
        return list(dict.fromkeys([*self.searched_algorithms(), self.own_algorithm()]))

    def searched_algorithms(self) -> list[str]:
        """The algorithms that the spec names for its trials; `auto` stands as the default one.

        Raises:
            PydanticCustomError: the dimension `algorithm` is no choice among algorithms.
        """
        dimension = self.tuning.space.get("algorithm")
        if dimension is None:
            return [self.own_algorithm()]
        named = dimension.choices or []
        unknown = [name for name in named if name not in PARAMS]
        if dimension.choices is None or dimension.when or unknown:
            message = f"tuning.space.algorithm takes choices of {', '.join(sorted(PARAMS))}, without a condition"
            raise misfit(message, "tuning", "space", "algorithm")
        return [str(name) for name in named]

    def resolved(self) -> dict[str, Any]:
        """The spec as JSON with every default written out."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """`sha256:…` of the canonical JSON (RFC 8785) of the resolved spec."""
        return digest_of(self.resolved())


def known_task(said: str, objective: str) -> str:
    """`said`, a `task.type`; an objective of numbers settles it where it is `auto`, which otherwise is the data's to say."""
    return "regression" if said == "auto" and objective != "auto" else said


def fault_of(algorithm: str, params: Mapping[str, Any]) -> tuple[str, str] | None:
    """(the parameter, "parameter of algorithm: why") of what is wrong with `params`; None where nothing is."""
    try:
        PARAMS[algorithm].model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        parameter = str(first["loc"][0])
        known = parameter in PARAMS[algorithm].model_fields
        why = first["msg"] if known else f"no such parameter; {known_of(algorithm)}"
        return parameter, f"{parameter} of {algorithm}: {why}"
    return None


def known_of(*algorithms: str) -> str:
    """The parameters that any of `algorithms` has, as words."""
    return "known: " + ", ".join(sorted({name for each in algorithms for name in PARAMS[each].model_fields}))


def parse_spec(document: Any, *, accepted: bool = False) -> JobSpec:
    """The spec that `document`, parsed JSON, says.

    Args:
        accepted: Whether it was accepted before, perhaps by an earlier release: see `was_accepted`.

    Raises:
        InvalidSpec: with one violation for each fault, each with its JSON pointer.
    """
    try:
        return JobSpec.model_validate(document, context=ACCEPTED if accepted else None)
    except ValidationError as error:
        found = violations_of(error.errors(include_url=False, include_input=False), document=document)
        raise InvalidSpec(
            f"The job spec has {len(found)} fault{'s' if len(found) != 1 else ''}.",
            violations=found,
        ) from None

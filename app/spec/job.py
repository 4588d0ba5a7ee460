"""A whole job spec: parse it, resolve its defaults, digest it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785
from pydantic import Field, ValidationError, model_validator

from app.errors import InvalidSpec
from app.spec.algorithms import DEFAULT_ALGORITHM, PARAMS
from app.spec.base import Label, Part, Slug, violations_of
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
        if target in self.data.features.exclude:
            raise ValueError(f"task.target {target!r} stands in data.features.exclude")
        if target in self.task.id_columns:
            raise ValueError(f"task.target {target!r} stands in task.id_columns")
        others = {self.task.group_column, self.task.time_column, self.task.weight_column, self.split.column}
        if target in others:
            raise ValueError(f"task.target {target!r} also plays another part")
        return self

    @model_validator(mode="after")
    def metrics_fit_the_task(self) -> "JobSpec":
        """Where the task is named, each metric is one of that task's."""
        kind = self.task.type
        fitting = {"auto": METRIC_NAMES, "regression": REGRESSION_METRICS}.get(kind, CLASSIFICATION_METRICS)
        asked = [*self.evaluation.metrics, *(rule.metric for rule in self.gate.rules if rule.metric not in COSTS)]
        if self.tuning.metric != "auto":
            asked.append(self.tuning.metric)
        for name in asked:
            if name not in fitting:
                raise ValueError(f"metric {name!r} does not fit a {kind} task; fitting: {', '.join(sorted(fitting))}")
        return self

    @model_validator(mode="after")
    def params_belong_to_the_algorithm(self) -> "JobSpec":
        """Parameters are allow-listed, so none of them can reach a file, the network or code."""
        algorithm = self.training.algorithm if self.training.algorithm != "auto" else DEFAULT_ALGORITHM
        fault = fault_of(algorithm, self.training.params)
        if fault is not None:
            raise ValueError(f"training.params.{fault}")
        searched = self.searched_algorithms()
        for name, dimension in self.tuning.space.items():
            if name == "algorithm":
                continue
            owners = [each for each in searched if name in dimensions_of(self.tuning.space, each)]
            if not owners:
                known = sorted({field for each in searched for field in PARAMS[each].model_fields})
                raise ValueError(
                    f"tuning.space.{name} is no parameter of {' or '.join(searched)}; known: {', '.join(known)}"
                )
            ends = dimension.choices if dimension.choices is not None else [dimension.low, dimension.high]
            for end in ends:
                value = int(end) if dimension.type == "int" and isinstance(end, float) else end
                faults = [fault for each in owners if (fault := fault_of(each, {name: value})) is not None]
                if faults:
                    raise ValueError(f"tuning.space.{faults[0]}")
        return self

    @model_validator(mode="after")
    def objective_fits_the_task(self) -> "JobSpec":
        """Other objectives are for numbers, and what is monotone has an order."""
        kind = self.task.type
        if self.training.objective != "auto" and kind in {"binary", "multiclass"}:
            raise ValueError(f"training.objective {self.training.objective} is for regression, not for a {kind} task")
        searched = self.tuning.space["loss"].choices or [] if "loss" in self.tuning.space else []
        losses = {self.training.params.get("loss", "auto"), *searched}
        if losses != {"auto"} and (kind in {"binary", "multiclass"} or self.training.objective != "auto"):
            raise ValueError("the parameter loss is for regression with training.objective auto")
        if self.training.calibrate and kind == "regression":
            raise ValueError("training.calibrate is for classes, not for numbers")
        if self.training.tune_threshold and kind in {"regression", "multiclass"}:
            raise ValueError("training.tune_threshold is for two classes")
        if self.training.monotone and kind == "multiclass":
            raise ValueError("training.monotone is for binary and regression tasks: several classes have no order")
        unheld = [name for name in self.searched_algorithms() if name in {"lightgbm", "xgboost"}]
        if self.training.monotone and self.training.objective == "quantile" and unheld:
            raise ValueError(f"training.monotone is nothing that {' or '.join(unheld)} can hold for a quantile")
        return self

    def searched_algorithms(self) -> list[str]:
        """The algorithms that the spec names for its trials; `auto` stands as the default one.

        Raises:
            ValueError: the dimension `algorithm` is no choice among algorithms.
        """
        dimension = self.tuning.space.get("algorithm")
        if dimension is None:
            return [self.training.algorithm if self.training.algorithm != "auto" else DEFAULT_ALGORITHM]
        named = dimension.choices or []
        unknown = [name for name in named if name not in PARAMS]
        if dimension.choices is None or dimension.when or unknown:
            raise ValueError(
                f"tuning.space.algorithm takes choices of {', '.join(sorted(PARAMS))}, without a condition"
            )
        return [str(name) for name in named]

    def resolved(self) -> dict[str, Any]:
        """The spec as JSON with every default written out."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """`sha256:…` of the canonical JSON (RFC 8785) of the resolved spec."""
        return "sha256:" + hashlib.sha256(rfc8785.dumps(self.resolved())).hexdigest()


def fault_of(algorithm: str, params: Mapping[str, Any]) -> str | None:
    """What is wrong with `params` for `algorithm`, as "name of algorithm: why"; None where nothing is."""
    try:
        PARAMS[algorithm].model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(str(step) for step in first['loc'])} of {algorithm}: {first['msg']}"
    return None


def parse_spec(document: Any) -> JobSpec:
    """The spec that `document`, parsed JSON, says.

    Raises:
        InvalidSpec: with one violation for each fault, each with its JSON pointer.
    """
    try:
        return JobSpec.model_validate(document)
    except ValidationError as error:
        found = violations_of(error.errors(include_url=False, include_input=False), document=document)
        raise InvalidSpec(
            f"The job spec has {len(found)} fault{'s' if len(found) != 1 else ''}.",
            violations=found,
        ) from None

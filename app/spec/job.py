"""A whole job spec: parse it, resolve its defaults, digest it."""

import hashlib
from typing import Any

import rfc8785
from pydantic import Field, ValidationError, model_validator

from app.errors import InvalidSpec
from app.spec.base import Label, Part, Slug, violations_of
from app.spec.data import Data, Split, Task, Transform, Validation
from app.spec.decision import (
    CLASSIFICATION_METRICS,
    METRIC_NAMES,
    REGRESSION_METRICS,
    Deployment,
    Evaluation,
    Gate,
    Registration,
    Reproducibility,
    Resources,
)
from app.spec.modelling import PARAMS, Training, Tuning


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
        asked = [*self.evaluation.metrics, *(rule.metric for rule in self.gate.rules)]
        if self.tuning.metric != "auto":
            asked.append(self.tuning.metric)
        for name in asked:
            if name not in fitting:
                raise ValueError(f"metric {name!r} does not fit a {kind} task; fitting: {', '.join(sorted(fitting))}")
        return self

    @model_validator(mode="after")
    def params_belong_to_the_algorithm(self) -> "JobSpec":
        """Parameters are allow-listed, so none of them can reach a file, the network or code."""
        algorithm = "lightgbm" if self.training.algorithm == "auto" else self.training.algorithm
        known = PARAMS[algorithm]
        try:
            known.model_validate(self.training.params)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            raise ValueError(f"training.params.{where} of {algorithm}: {first['msg']}") from None
        names = set(known.model_fields)
        for name in self.tuning.space:
            if name not in names:
                raise ValueError(
                    f"tuning.space.{name} is no parameter of {algorithm}; known: {', '.join(sorted(names))}"
                )
        return self

    def resolved(self) -> dict[str, Any]:
        """The spec as JSON with every default written out."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """`sha256:…` of the canonical JSON (RFC 8785) of the resolved spec."""
        return "sha256:" + hashlib.sha256(rfc8785.dumps(self.resolved())).hexdigest()


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

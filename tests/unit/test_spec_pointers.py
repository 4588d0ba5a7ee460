"""A fault between several fields points at the one to be changed, in a whole spec as in a part of it."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, model_validator

from app.errors import InvalidSpec
from app.spec.base import misfit, violations_of
from app.spec.job import parse_spec
from tests.learning import parsed

TABLE = {"kind": "dataset", "dataset_id": "ds_00000000"}
STORE = {"kind": "feature_store", "connection": "feast", "features": ["trips:count"], "entities": "t"}
RANGE = {"type": "int", "low": 4, "high": 8}


def spec(**parts: dict[str, Any]) -> dict[str, Any]:
    task = {"target": "y", **parts.pop("task", {})}
    return {"model": "a-model", "task": task, "data": {"sources": {"t": TABLE}}, **parts}


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"task": {"id_columns": ["id", "y"]}}, "/task/id_columns/1"),
        ({"task": {"group_column": "y"}}, "/task/group_column"),
        ({"split": {"method": "group", "column": "y"}}, "/split/column"),
        *(({"split": {"method": method, "column": "a"}}, "/split/column") for method in ("auto", "random", "stratified")),
        ({"split": {"column": "a"}, "task": {"time_column": "t"}}, "/split/column"),
        ({"data": {"sources": {"t": TABLE}, "features": {"exclude": ["a", "b", "y"]}}}, "/data/features/exclude/2"),
        ({"data": {"sources": {"t": TABLE, "u": TABLE}}}, "/data/features/sql"),
        ({"data": {"sources": {"t": TABLE, "s": {**STORE, "entities": "s"}}}}, "/data/sources/s/entities"),
        ({"data": {"sources": {"t": TABLE, "s": {**STORE, "features": ["trips:count", "count"]}}}},
         "/data/sources/s/features/1"),
        ({"data": {"sources": {"t": {"kind": "database", "connection": "db"}}}}, "/data/sources/t"),
        ({"labels": {"a\u200b": "x"}}, "/labels/a\u200b"),
        ({"data": {"sources": {"t": {"kind": "s3", "connection": "lake", "uri": "s3://bucket/../a"}}}},
         "/data/sources/t/uri"),
        ({"split": {"method": "predefined"}}, "/split/column"),
        ({"split": {"method": "random", "gap": "1d"}}, "/split/gap"),
        ({"training": {"params": {"machines": "10.0.0.1"}}}, "/training/params/machines"),
        ({"training": {"params": {"a/b": 1}}}, "/training/params/a~1b"),
        ({"training": {"algorithm": "extra_trees", "params": {"max_features": "all"}}}, "/training/params/max_features"),
        ({"training": {"objective": "huber"}, "task": {"type": "binary"}}, "/training/objective"),
        ({"training": {"class_weight": "balanced"}, "task": {"type": "regression"}}, "/training/class_weight"),
        ({"training": {"class_weight": "balanced", "objective": "huber"}}, "/training/class_weight"),
        ({"training": {"calibrate": True, "objective": "huber"}}, "/training/calibrate"),
        ({"training": {"objective": "poisson"}, "evaluation": {"metrics": ["r2", "f1"]}}, "/evaluation/metrics/1"),
        ({"task": {"positive_class": 1, "type": "regression"}}, "/task/positive_class"),
        ({"training": {"calibrate": True}, "task": {"type": "regression"}}, "/training/calibrate"),
        ({"training": {"tune_threshold": "f1"}, "task": {"type": "multiclass"}}, "/training/tune_threshold"),
        ({"training": {"monotone": {"a": "increasing"}}, "task": {"type": "multiclass"}}, "/training/monotone"),
        ({"training": {"monotone": {"a": "increasing"}, "objective": "quantile"}}, "/training/monotone"),
        ({"training": {"params": {"loss": "gamma"}}, "task": {"type": "binary"}}, "/training/params/loss"),
        ({"tuning": {"space": {"loss": {"type": "categorical", "choices": ["gamma"]}}}, "task": {"type": "binary"}},
         "/tuning/space/loss"),
        ({"tuning": {"space": {"depth": RANGE}}}, "/tuning/space/depth"),
        ({"tuning": {"space": {"num_leaves": {**RANGE, "low": 1}}}}, "/tuning/space/num_leaves/low"),
        ({"tuning": {"space": {"num_leaves": {**RANGE, "high": 10_000}}}}, "/tuning/space/num_leaves/high"),
        ({"tuning": {"space": {"extra_trees": {"type": "categorical", "choices": [True, "maybe"]}}}},
         "/tuning/space/extra_trees/choices/1"),
        ({"tuning": {"space": {"algorithm": {"type": "categorical", "choices": ["svm"]}}}}, "/tuning/space/algorithm"),
        ({"tuning": {"space": {"num_leaves": {**RANGE, "when": {"depth": [1]}}}}}, "/tuning/space/num_leaves/when/depth"),
        ({"tuning": {"strategy": "grid"}}, "/tuning/space"),
        *(
            ({"tuning": {"strategy": "grid", "space": {"num_leaves": {"low": 2, "high": 9} | ends}}}, "/tuning/space")
            for ends in (
                {"type": "int", "high": 1e20}, {"type": "int", "high": 1e308}, {"type": "float", "step": 1e-20},
                {"type": "float", "step": 5e-324},
            )
        ),
        ({"tuning": {"strategy": "grid", "space": {"learning_rate": {"type": "float", "low": 0.1, "high": 0.2}}}},
         "/tuning/space/learning_rate/step"),
        ({"tuning": {"strategy": "random", "sampler": "tpe"}}, "/tuning/sampler"),
        ({"tuning": {"folds": 1}}, "/tuning/folds"),
        ({"tuning": {"space": {"num_leaves": RANGE}}}, "/tuning/space"),
        ({"tuning": {"patience": 5}}, "/tuning/patience"),
        ({"tuning": {"trial_seconds": 5}}, "/tuning/trial_seconds"),
        ({"tuning": {"ensemble": 4}}, "/tuning/ensemble"),
        ({"tuning": {"metric": "rmse"}, "task": {"type": "binary"}}, "/tuning/metric"),
        ({"tuning": {"metric": "model_bytes"}, "task": {"type": "binary"}}, "/tuning/metric"),
        ({"evaluation": {"metrics": ["mae", "f1"]}, "task": {"type": "regression"}}, "/evaluation/metrics/1"),
        ({"evaluation": {"metrics": ["mae", "accurate"]}}, "/evaluation/metrics/1"),
        ({"evaluation": {"metrics": ["predict_ms"]}}, "/evaluation/metrics/0"),
        ({"gate": {"rules": [{"metric": "model_bytes", "max": 1}, {"metric": "rmse", "max": 1}]}, "task": {"type": "binary"}},
         "/gate/rules/1/metric"),
        ({"gate": {"rules": [{"metric": "nothing", "max": 1}]}}, "/gate/rules/0/metric"),
    ],
)  # fmt: skip
def test_the_pointer_leads_to_the_field(parts: dict[str, Any], pointer: str):
    with pytest.raises(InvalidSpec) as refused:
        parsed(spec(**parts))
    assert [violation.pointer for violation in refused.value.violations] == [pointer]
    assert refused.value.violations[0].code == "value_error"


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"validation": {"max_rows": 2**63 - 1}}, "/validation/max_rows"),
        ({"resources": {"memory_bytes": 2**53}}, "/resources/memory_bytes"),
        ({"task": {"positive_class": -(2**53)}}, "/task/positive_class"),
        ({"validation": {"columns": {"a": {"allowed": [1, 2**60]}}}}, "/validation/columns/a/allowed/1"),
        ({"gate": {"rules": [{"metric": "f1", "min": 0.1, "slice": {"id": 2**62}}]}}, "/gate/rules/0/slice/id"),
        ({"gate": {"rules": [{"metric": "f1", "min": 0.1, "slice": {"id": 1e17}}]}}, "/gate/rules/0/slice/id"),
        ({"validation": {"columns": {"a": {"pattern": "a\x00b"}}}}, "/validation/columns/a/pattern"),
    ],
)
def test_what_json_or_the_database_cannot_hold_is_refused(parts: dict[str, Any], pointer: str):
    with pytest.raises(InvalidSpec) as refused:
        parsed(spec(**parts))
    assert [violation.pointer for violation in refused.value.violations] == [pointer]
    assert parsed(spec(validation={"max_rows": 2**53 - 1})).digest()


@pytest.mark.parametrize("parts", [
    {"split": {"column": "a"}}, {"tuning": {"patience": 5}}, {"tuning": {"space": {"num_leaves": RANGE}}},
    {"training": {"class_weight": "balanced"}, "task": {"type": "regression"}},
    {"task": {"positive_class": 1, "type": "regression"}},
])  # fmt: skip
def test_what_was_accepted_once_is_read_again_though_it_says_something_in_vain(parts: dict[str, Any]):
    with pytest.raises(InvalidSpec):
        parse_spec(spec(**parts))
    accepted = parse_spec(spec(**parts), accepted=True)
    assert parse_spec(accepted.resolved(), accepted=True).digest() == accepted.digest()


def test_an_unknown_parameter_is_answered_with_those_that_are_known():
    with pytest.raises(InvalidSpec) as refused:
        parsed(spec(training={"algorithm": "catboost", "params": {"num_leaves": 4}}))
    message = refused.value.violations[0].message
    assert message.startswith("training.params.num_leaves of catboost: no such parameter; known: bagging_temperature, ")
    assert "depth" in message


def test_a_message_is_said_as_it_is():
    class Part(BaseModel):
        @model_validator(mode="after")
        def never(self) -> "Part":
            raise misfit("{at} and {message} are no holes", "a")

    with pytest.raises(ValidationError) as refused:
        Part()
    (found,) = violations_of(list(refused.value.errors()), "/gate")
    assert (found.pointer, found.message) == ("/gate/a", "{at} and {message} are no holes")

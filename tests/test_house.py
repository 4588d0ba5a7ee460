"""Rules of the house that no linter knows, held by reading the code."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest

from app import errors, events, problems
from app.openapi import rendered
from app.spec import algorithms, data, decision
from app.states import (
    DEPLOYMENT_MOVES,
    JOB_MOVES,
    TERMINAL_DEPLOYMENTS,
    TERMINAL_JOBS,
    DeploymentState,
    JobStatus,
)
from app.states import STAGES as STAGE_NAMES
from trainhouse_loader.encoding.blocks import APPLY
from trainhouse_loader.models import MODELS
from workers import pipeline
from workers.exporting import columns as operators
from workers.exporting.members import MEMBERS
from workers.matrix import blocks
from workers.measures.metrics import METRICS
from workers.sources import ENRICHERS, SOURCES
from workers.trainers import TRAINERS

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path for room in ("trainhouse_loader", "app", "workers", "standalone") for path in (ROOT / room).rglob("*.py")
)
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in FILES}


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of one kind, with the file it stands in."""
    return ((name, node) for name, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, kind))


def places(found: Iterator[tuple[str, ast.AST]]) -> list[str]:
    return [f"{name}:{node.lineno}" for name, node in found]


def kinds_of_sources() -> set[str]:
    """The `kind` of every source that a spec may name."""
    parts = [part for _, part in inspect.getmembers(data, inspect.isclass) if part.__module__ == data.__name__]
    return {
        part.model_fields["kind"].annotation.__args__[0]
        for part in parts
        if "kind" in getattr(part, "model_fields", {})
    }


def test_every_algorithm_of_the_spec_has_a_trainer_and_every_trainer_has_parameters_in_the_spec():
    assert set(TRAINERS) == set(algorithms.PARAMS) == set(algorithms.Algorithm.__args__)


def test_what_is_trained_can_be_opened_and_exported():
    assert set(TRAINERS) == set(MODELS), "a trainer needs a line in MODELS of trainhouse_loader, and the other way"
    for name, kind in MODELS.items():
        assert isinstance(TRAINERS[name], type(kind)), f"{name}: the trainer is not of the format that is read again"
        fitted = get_type_hints(type(kind).load)["return"]
        assert fitted in MEMBERS, f"{name}: MEMBERS of workers.exporting has no operators for {fitted.__name__}"


def test_what_is_learned_of_columns_can_be_applied_and_exported_or_is_refused():
    assert set(blocks.BLOCKS) == set(APPLY), "what learns in BLOCKS is applied in APPLY of trainhouse_loader"
    assert set(APPLY) == {*operators.BLOCKS, "embedding"}, "what has no operators is refused by unexportable"


def test_every_source_of_the_spec_has_a_reader_and_every_reader_has_a_source_in_the_spec():
    assert set(SOURCES) | set(ENRICHERS) == kinds_of_sources()
    assert not set(SOURCES) & set(ENRICHERS)


def test_every_metric_of_the_spec_is_computed_and_every_computed_metric_can_be_asked_for():
    assert set(METRICS) == decision.METRIC_NAMES
    assert decision.CLASSIFICATION_METRICS.isdisjoint(decision.REGRESSION_METRICS)
    assert decision.LOWER_IS_BETTER <= decision.METRIC_NAMES


def test_every_stage_has_its_work_in_the_order_of_the_contract():
    assert tuple(pipeline.STAGES) == STAGE_NAMES
    for name, module in pipeline.STAGES.items():
        assert module.__name__ == f"workers.stages.{name}"
        assert list(inspect.signature(module.run).parameters) == ["ctx"]


def test_every_stage_that_a_file_implements_is_in_the_pipeline():
    files = {path.stem for path in (ROOT / "workers/stages").glob("[a-z]*.py")}
    assert files == set(STAGE_NAMES)


@pytest.mark.parametrize(
    ("states", "moves", "terminal"),
    [(JobStatus, JOB_MOVES, TERMINAL_JOBS), (DeploymentState, DEPLOYMENT_MOVES, TERMINAL_DEPLOYMENTS)],
)
def test_the_maps_of_moves_are_closed(states, moves, terminal):
    assert set(moves) == set(states)
    assert {to for targets in moves.values() for to in targets} <= set(states)
    reachable, todo = set(), [next(iter(states))]
    while todo:
        state = todo.pop()
        if state not in reachable:
            reachable.add(state)
            todo.extend(moves[state])
    assert reachable == set(states), "a state that nothing leads to"
    for state in states:
        assert moves[state] or state in terminal, f"{state} is a dead end but not terminal"


def test_what_has_succeeded_was_rejected_or_cancelled_stays_so():
    assert {state for state in TERMINAL_JOBS if JOB_MOVES[state]} == {JobStatus.FAILED}


CLAIMS = {
    ("app/moves.py", "move_job"), ("app/jobs/submission.py", "_accept"), ("workers/clerk.py", "_taken"),
}  # fmt: skip
"""Who writes a job's status: the door, the birth of a job, and the claim that must be one statement."""


def test_a_jobs_status_has_one_writer():
    found = set()
    for name, tree in TREES.items():
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            if any(_writes_job_status(node) for node in ast.walk(function)):
                found.add((name, function.name))
    assert found == CLAIMS


def _writes_job_status(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        flat = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
        return any(
            isinstance(part, ast.Attribute) and part.attr == "status" and getattr(part.value, "id", "") == "job"
            for part in flat
        )
    if isinstance(node, ast.Call):
        of_job = isinstance(node.func, ast.Name) and node.func.id == "Job"
        values = (
            isinstance(node.func, ast.Attribute) and node.func.attr == "values" and "update(Job)" in ast.unparse(node)
        )
        return (of_job or values) and any(keyword.arg == "status" for keyword in node.keywords)
    return False


def test_nothing_commits_or_rolls_back_but_the_transaction():
    called = (
        (name, node)
        for name, node in nodes(ast.Attribute)
        if node.attr in {"commit", "rollback"} and name not in {"app/db.py", "workers/sources/database.py"}
        and getattr(node.value, "id", "") in {"session", "connection", "db", "cursor"}
    )  # fmt: skip
    assert places(called) == []


def test_only_one_place_makes_sessions():
    made = (
        (name, node) for name, node in nodes(ast.Call) if getattr(node.func, "id", "") in {"Session", "sessionmaker"}
    )
    assert {place.split(":")[0] for place in places(made)} == {"app/db.py"}


def test_time_is_utc():
    naive = (
        (name, node)
        for name, node in nodes(ast.Call)
        if isinstance(node.func, ast.Attribute)
        and (
            node.func.attr in {"utcnow", "utcfromtimestamp", "today", "localtime"}
            or (node.func.attr in {"now", "fromtimestamp"} and ast.unparse(node.func.value) == "datetime"
                and "UTC" not in ast.unparse(node))
        )
    )  # fmt: skip
    assert places(naive) == []


def test_no_pickle_and_no_evaluated_text():
    forbidden = {"pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}
    imports = (
        (name, node)
        for name, node in nodes(ast.Import | ast.ImportFrom)
        if {alias.name.split(".")[0] for alias in node.names} & forbidden
        or (getattr(node, "module", None) or "").split(".")[0] in forbidden
    )
    evaluated = ((name, node) for name, node in nodes(ast.Call) if getattr(node.func, "id", "") in {"eval", "exec"})
    assert places(imports) + places(evaluated) == []


def error_classes() -> list[type[errors.TrainhouseError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.TrainhouseError)]


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_has_a_status_a_code_and_a_place_in_the_drawing(kind):
    assert 400 <= problems.status_of(kind()) < 600
    assert kind.__doc__
    assert f" {kind.__name__} " in errors.__doc__ or kind is errors.TrainhouseError
    if issubclass(kind, errors.CallerError):
        assert problems.status_of(kind()) < 500


def test_error_codes_are_different():
    codes = [kind.code for kind in error_classes()]
    assert len(set(codes)) == len(codes)


def test_every_announced_event_is_said_somewhere_or_kept_for_later():
    said = {
        keyword.value.value
        for _, node in nodes(ast.Call)
        for keyword in node.keywords
        if keyword.arg == "type" and isinstance(keyword.value, ast.Constant)
    }
    later = {"drift.detected", "trigger.fired"}
    assert events.ANNOUNCED - said <= later
    assert {"model.version.registered", "job.succeeded", "deployment.requested"} <= said


def test_every_module_says_in_one_sentence_what_it_is_for():
    silent = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    assert silent == []


def test_files_and_functions_stay_readable():
    long_files = [name for name in TREES if len((ROOT / name).read_text().splitlines()) > _most_lines(name)]
    long_functions = places(
        (name, node)
        for name, node in nodes(ast.FunctionDef | ast.AsyncFunctionDef)
        if node.end_lineno - node.lineno + 1 > 60
    )
    assert long_files + long_functions == []


def _most_lines(name: str) -> int:
    return 500 if name == "app/tables.py" or name.startswith("app/spec/") else 300


def test_every_operation_has_a_name_of_its_own():
    paths = json.loads(rendered())["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", name)] == []

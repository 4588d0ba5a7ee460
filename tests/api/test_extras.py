"""What the workers lack is refused at the door, with the line that installs it."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import build
from app.settings import Settings
from app.spec import extras
from app.spec.job import parse_spec
from app.spec.spaces import default_space
from tests.api.rows import Tenant

SPEC = {"model": "a-model", "task": {"target": "y"}}
ASKS = {
    "/training/algorithm": ("xgboost", {"training": {"algorithm": "xgboost"}}),
    "/tuning/space/algorithm/choices/1": (
        "catboost",
        {"tuning": {"max_trials": 5, "space": {"algorithm": {"type": "categorical", "choices": ["lightgbm", "catboost"]}}}},
    ),
    "/tuning/sampler": ("gp", {"tuning": {"strategy": "bayesian", "sampler": "gp"}}),
    "/registration/exports/0": ("onnx", {"registration": {"exports": ["onnx"]}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def bare(settings: Settings) -> Iterator[TestClient]:
    """An API whose workers have no extras."""
    with TestClient(build(settings.model_copy(update={"extras": ""}))) as client:
        yield client


@pytest.fixture
def poor(tenant: Tenant, bare: TestClient) -> Tenant:
    """The tenant, calling that API."""
    tenant._client = bare
    return tenant


@pytest.fixture
def source(tenant: Tenant) -> dict[str, Any]:
    made = tenant.call("POST", "/v1/datasets", files={"file": ("rows.csv", b"a,y\n1,0\n2,1\n")})
    return {"data": {"sources": {"rows": {"kind": "dataset", "dataset_id": made.json()["id"]}}}}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/plan"])
@pytest.mark.parametrize("pointer", ASKS)
def test_a_spec_that_asks_for_a_missing_extra_is_refused(source: dict[str, Any], poor: Tenant, pointer: str, path: str):
    name, asking = ASKS[pointer]
    answer = poor.post(path, SPEC | source | asking)
    assert answer.status_code == 422
    problem = answer.json()
    line = f"pip install 'trainhouse[{name}]'"
    assert (problem["code"], problem["hint"]) == ("extra_missing", line)
    [fault] = problem["errors"]
    assert (fault["pointer"], fault["code"], fault["hint"]) == (pointer, "extra_missing", line)
    assert name in fault["message"]
    assert poor.get("/v1/jobs").json()["items"] == []


def test_what_the_workers_have_is_accepted(source: dict[str, Any], tenant: Tenant):
    assert tenant.post("/v1/jobs", SPEC | source | ASKS["/training/algorithm"][1]).status_code == 202


def test_a_spec_without_extras_needs_none(source: dict[str, Any], poor: Tenant):
    assert poor.post("/v1/jobs", SPEC | source).status_code == 202


def test_the_list_of_algorithms_says_which_are_there_and_how_they_come(tenant: Tenant, bare: TestClient):
    def shown() -> dict[str, tuple[bool, str | None]]:
        return {
            item["name"]: (item["available"], item["install"]) for item in tenant.get("/v1/algorithms").json()["items"]
        }

    whole = shown()
    assert whole["xgboost"] == (True, "pip install 'trainhouse[xgboost]'")
    tenant._client = bare
    without = shown()
    assert without["catboost"] == (False, "pip install 'trainhouse[catboost]'")
    assert {name for name, (there, _) in without.items() if there} == set(whole) - {"xgboost", "catboost"}
    assert without["lightgbm"] == (True, None)


def test_the_spaces_that_are_shown_are_those_that_are_searched_and_a_spec_may_say_them(tenant: Tenant):
    for item in tenant.get("/v1/algorithms").json()["items"]:
        for task, space in item["spaces"].items():
            tuning = {"strategy": "bayesian", "max_trials": 3, "space": space}
            sources = {"t": {"kind": "dataset", "dataset_id": "ds_00000000"}}
            spec = parse_spec(
                SPEC | {"data": {"sources": sources}, "training": {"algorithm": item["name"]}, "tuning": tuning}
            )
            assert spec.tuning.space == default_space(item["name"], task, 10_000)


def test_unset_the_extras_are_those_of_this_installation(monkeypatch: pytest.MonkeyPatch):
    assert {"xgboost", "catboost"} <= extras.declared(None)
    monkeypatch.setattr(extras, "find_spec", lambda module: module if module == "torch" else None)
    assert extras.declared(None) == {"gp"}
    assert extras.declared("xgboost, gp") == {"xgboost", "gp"}
    assert not extras.declared("") & set(extras.EXTRAS)

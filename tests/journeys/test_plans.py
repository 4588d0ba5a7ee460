"""A plan reads the data, trains nothing, and names everything that a job of the same spec would meet."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import RunningStack, agreed
from tests.journeys.soundness import a_spec, a_table


def planned(stack: RunningStack, spec: dict[str, Any]) -> dict[str, Any]:
    made = agreed(stack.client.post("/v1/jobs/plan", json=spec))
    assert made["kind"] == "plan"
    job = stack.client.wait(made["id"])
    assert job["status"] == "succeeded", job["error"]
    return job


@pytest.fixture
def dataset(stack: RunningStack, tmp_path: Path) -> str:
    stack.heal()
    return stack.client.upload(a_table(tmp_path / "t.csv", rows=300, seed=11))


def test_a_plan_of_a_good_spec_says_what_the_job_takes_and_trains_nothing(stack: RunningStack, dataset: str) -> None:
    spec = a_spec(dataset, "planned", tuning={"strategy": "random", "max_trials": 7}, reproducibility={})
    job = planned(stack, spec)
    plan = job["plan"]
    assert plan["blocked"] is False
    assert (plan["rows"], plan["columns"], plan["features"], plan["task_type"]) == (300, 4, 3, "binary")
    assert plan["parts"] == {"train": 210, "validation": 45, "test": 45}
    assert plan["trials"] == 7
    assert plan["memory_bytes"] > 0
    assert plan["seconds"] > 0
    assert [stage["name"] for stage in job["stages"]] == ["plan"]
    assert job["model_version"] is None
    assert agreed(stack.client.get(f"/v1/datasets/{dataset}/profile"))["columns"]["a"]["type"] == "numeric"
    assert agreed(stack.client.get(f"/v1/jobs/{job['id']}/trials"))["items"] == []
    assert {stage["would"] for stage in plan["stages"]} == {"run"}
    assert stack.client.get("/v1/models/planned").status_code == 404


def test_after_a_job_its_plan_says_which_stages_would_be_taken_over_and_they_are(
    stack: RunningStack, dataset: str
) -> None:
    spec = a_spec(dataset, "planned-again", reproducibility={})
    first = stack.client.wait(stack.client.submit(spec))
    assert first["status"] == "succeeded", first["error"]
    other = {**spec, "split": {"seed": 3}}
    would = {stage["name"]: stage for stage in planned(stack, other)["plan"]["stages"]}
    assert [name for name, stage in would.items() if stage["would"] == "reuse"] == ["ingest", "validate"]
    assert first["id"] in would["ingest"]["reason"]
    assert "split" in would["split"]["reason"]
    second = stack.client.wait(stack.client.submit(other))
    assert [stage["name"] for stage in second["stages"] if stage["cached"]] == ["ingest", "validate"]


def test_five_faults_are_named_at_once(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    random = np.random.default_rng(0)
    lines = ["a,b,copy,empty,y"]
    for row in range(400):
        y = int(random.random() < 0.5)
        lines.append(f"{random.normal():.4f},{-row},{y},{'' if row else 1},{y}")
    path = tmp_path / "faulty.csv"
    path.write_text("\n".join(lines) + "\n")
    spec = a_spec(
        stack.client.upload(path), "faulty",
        task={"target": "y", "type": "binary", "id_columns": ["no_such_id"]},
        validation={
            "columns": {"b": {"min": 0}}, "max_null_fraction": 0.5, "min_rows": 1_000, "leakage": {"action": "fail"},
        },
        gate={"rules": [{"metric": "roc_auc", "min": 0.5}]},
        tuning={"strategy": "random", "max_trials": 12},
    )  # fmt: skip
    plan = planned(stack, spec)["plan"]
    failing = {one["code"] for one in plan["findings"] if one["severity"] == "fail"}
    assert plan["blocked"] is True
    assert {"unknown_column", "too_many_nulls", "too_few_rows", "leakage"} <= failing
    assert any(one["column"] == "b" and one["check"] == "min" for one in plan["findings"] if "column" in one)
    assert (plan["rows"], plan["trials"]) == (400, 12)
    assert plan["memory_bytes"] > 0
    assert plan["stages"][0]["would"] == "fail"
    assert {stage["would"] for stage in plan["stages"][1:]} == {"not_reached"}
    job = stack.client.wait(stack.client.submit(spec))
    assert job["status"] == "failed"
    assert job["error"]["code"] == "unknown_column"


def test_a_target_that_is_not_there_hides_no_other_fault(stack: RunningStack, dataset: str) -> None:
    spec = a_spec(dataset, "no-target", task={"target": "why"}, validation={"columns": {"a": {"min": 100}}})
    plan = planned(stack, spec)["plan"]
    pointers = {one["pointer"] for one in plan["findings"] if one["severity"] == "fail"}
    assert {"/task/target", "/validation/columns/a"} <= pointers
    assert plan["parts"] is None


def test_a_file_that_is_no_table_is_a_finding_and_not_a_failed_plan(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3\n")
    plan = planned(stack, a_spec(stack.client.upload(path), "ragged"))["plan"]
    assert plan["blocked"] is True
    assert {one["code"] for one in plan["findings"]} == {"ragged_csv"}
    assert plan["rows"] is None


def test_an_export_that_cannot_be_is_named_before_a_job_meets_it_and_one_that_can_is_in_the_bundle(
    stack: RunningStack, tmp_path: Path
) -> None:
    stack.heal()
    path = a_table(tmp_path / "t.csv", rows=300, seed=11)
    lines = path.read_text().splitlines()
    notes = [f"what row {place} has to say of itself is {place * 7919 % 1000} words" for place in range(300)]
    path.write_text(
        "\n".join([f"{lines[0]},note", *(f"{a},{b}" for a, b in zip(lines[1:], notes, strict=True))]) + "\n"
    )
    given = stack.client.upload(path)
    spec = a_spec(given, "exported", registration={"exports": ["onnx"]})
    (found,) = [one for one in planned(stack, spec)["plan"]["findings"] if one["severity"] == "fail"]
    assert (found["stage"], found["code"], found["facts"]) == ("train", "not_exportable", {"column": "note"})
    job = stack.client.wait(stack.client.submit(spec))
    assert (job["status"], job["stage"], job["error"]["code"]) == ("failed", "train", "not_exportable")
    spec["data"]["features"] = {"exclude": ["note"]}
    job = stack.client.wait(stack.client.submit(spec))
    assert job["status"] == "succeeded", job["error"]
    answer = stack.client.get("/v1/models/exported/versions/1/bundle", follow_redirects=True)
    with zipfile.ZipFile(BytesIO(answer.content)) as bundle:
        assert {"model.onnx", "MLmodel"} <= set(bundle.namelist())

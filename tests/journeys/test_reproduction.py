"""A version is trained again from its pinned rows: the same bytes, or the first stage that differs and in what."""

from pathlib import Path
from typing import Any

import pytest

from tests.driver import RunningStack, agreed, eventually
from tests.journeys.soundness import a_spec, a_table, assert_sound, database, event_ids

SEARCHED = {
    "reproducibility": {"mode": "deterministic", "seed": 7, "reuse": False}, "training": {"max_iterations": 40},
    "tuning": {"strategy": "bayesian", "max_trials": 4, "max_parallel": 2, "ensemble": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset_id(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small data set with a learnable target."""
    stack.heal()
    return stack.client.upload(a_table(tmp_path_factory.mktemp("data") / "t.csv"))


def reproduced(stack: RunningStack, model: str, version: int = 1, **changes: Any) -> dict[str, Any]:
    """What the reproduction says."""
    answer = stack.client.post(f"/v1/models/{model}/versions/{version}/reproduce", json={"changes": changes})
    made = agreed(answer)
    assert (answer.status_code, made["kind"]) == (202, "reproduce")
    job = stack.client.wait(made["id"])
    assert job["status"] == "succeeded", job["error"]
    assert job["model_version"] is None
    assert [stage["name"] for stage in job["stages"]][-2:] == ["evaluate", "compare"]
    assert event_ids(stack, job["id"], "model.version.registered") == []
    found: dict[str, Any] = job["reproduction"]
    return found


def test_a_deterministic_version_is_reproduced_by_workers_started_afresh(stack: RunningStack, dataset_id: str) -> None:
    assert_sound(stack, stack.client.submit(a_spec(dataset_id, "again", **SEARCHED)))
    for worker in stack.workers:
        worker.kill()
        worker.start()
    eventually(lambda: all(worker.alive for worker in stack.workers), what="the workers")
    found = reproduced(stack, "again")
    assert found["verdict"] == "identical", found["first_difference"]
    assert found["first_difference"] is None
    assert all(stage["same"] for stage in found["stages"])
    assert found["predictions"]["largest_difference"] == 0.0
    assert (found["libraries_changed"], found["code_changed"]) == ({}, False)
    assert len(agreed(stack.client.get("/v1/models/again/versions"))["items"]) == 1


def test_a_changed_seed_a_changed_parameter_and_a_changed_split_are_found_where_they_show(
    stack: RunningStack, dataset_id: str
) -> None:
    assert_sound(stack, stack.client.submit(a_spec(dataset_id, "changed", **SEARCHED)))
    for changes, stage in (
        ({"split": {"seed": 43}}, "split"),
        ({"training": {"params": {"num_leaves": 5}}}, "train"),
        ({"transform": {"numeric": {"scale": "robust"}}}, "transform"),
    ):
        found = reproduced(stack, "changed", **changes)
        assert found["verdict"] == "diverged"
        assert found["first_difference"]["stage"] == stage, found["first_difference"]
        assert found["first_difference"]["original"] != found["first_difference"]["found"]
    seeded = reproduced(stack, "changed", reproducibility={"seed": 8})
    assert seeded["first_difference"]["stage"] in {"split", "transform", "train", "tune"}


def test_a_changed_row_of_the_snapshot_is_found_in_ingest(stack: RunningStack, dataset_id: str, tmp_path: Path) -> None:
    original = assert_sound(stack, stack.client.submit(a_spec(dataset_id, "tampered", **SEARCHED)))
    path = a_table(tmp_path / "other.csv")
    lines = path.read_text().splitlines()
    lines[5] = "9.0," + lines[5].split(",", 1)[1]
    path.write_text("\n".join(lines) + "\n")
    other = assert_sound(stack, stack.client.submit(a_spec(stack.client.upload(path), "tampered", **SEARCHED)))
    with database(stack) as connection:
        connection.execute(
            "update artifacts set (digest, size_bytes) = (select digest, size_bytes from artifacts where job_id = %s"
            " and name = 'snapshot') where job_id = %s and name = 'snapshot'", (other["id"], original["id"]),
        )  # fmt: skip
    found = reproduced(stack, "tampered")
    assert found["verdict"] == "diverged"
    first = found["first_difference"]
    assert (first["stage"], first["what"]) == ("ingest", "data_digest")
    assert (first["original"], first["found"]) == (original["data_digest"], other["data_digest"])

"""A stage that an earlier job has done is taken over: only where it did the same, and only what is still there."""

import io
from contextlib import closing
from typing import Any

import pytest
from minio import Minio

from app.storage import blob_key
from tests.driver import Client, RunningStack, agreed
from tests.journeys.soundness import a_spec as a_fresh_spec
from tests.journeys.soundness import a_table

PREPARED = ["ingest", "validate", "split", "transform"]


def a_spec(dataset_id: str, model: str) -> dict[str, Any]:
    """A quick job that takes over what was done before."""
    return a_fresh_spec(dataset_id, model, reproducibility={})


@pytest.fixture
def dataset(stack: RunningStack, tmp_path: Any, request: pytest.FixtureRequest) -> str:
    """A table of this test alone, so that no other test has prepared it."""
    stack.heal()
    seed = abs(hash(request.node.name)) % 1_000_000
    path = a_table(tmp_path / "t.csv", rows=300)
    path.write_text(path.read_text() + f"0.5,{seed},a,1\n")
    return stack.client.upload(path)


def done(stack: RunningStack, spec: dict[str, Any]) -> dict[str, Any]:
    job = stack.client.wait(stack.client.submit(spec))
    assert job["status"] == "succeeded", job["error"]
    return job


def cached(job: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in job["stages"] if stage["cached"]]


def reasons(job: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["reuse"]["reason"] for stage in job["stages"] if stage["reuse"]}


def a_store(stack: RunningStack) -> Minio:
    s3 = stack.engines.s3
    return Minio(s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key, secure=False, region="us-east-1")


def key_of(stack: RunningStack, job: dict[str, Any], name: str) -> tuple[str, str]:
    """(bucket, key) of an artifact's blob."""
    found = agreed(stack.client.get(f"/v1/jobs/{job['id']}/artifacts"))["items"]
    digest = next(item["digest"] for item in found if item["name"] == name)
    client = a_store(stack)
    for bucket in client.list_buckets():
        for item in client.list_objects(bucket.name, recursive=True):
            if item.object_name == blob_key(item.object_name.split("/")[0], digest):
                return bucket.name, item.object_name
    raise AssertionError(name)


def another_project(stack: RunningStack) -> Client:
    """An admin of a project that shares nothing with the first."""
    project = stack.client.make("/v1/projects", {"name": "strangers"})
    key = stack.client.make("/v1/keys", {"name": "stranger", "scopes": ["admin"], "project_id": project["id"]})
    return Client(stack.url, key["key"])


def test_a_job_that_differs_in_the_search_only_takes_over_all_that_was_prepared(
    stack: RunningStack, dataset: str
) -> None:
    spec = a_spec(dataset, "reuse-all")
    first = done(stack, spec)
    assert cached(first) == []
    assert first["stages"][0]["reuse"]["reason"] == "No earlier job did the same with the same data."
    second = done(stack, {**spec, "tuning": {"strategy": "random", "max_trials": 2}})
    assert cached(second) == PREPARED
    assert second["data_digest"] == first["data_digest"]
    for ours, theirs in zip(second["stages"][:4], first["stages"][:4], strict=True):
        assert ours["summary"] == theirs["summary"]
        assert ours["warnings"] == theirs["warnings"]
        assert ours["reuse"] == {
            "reused": True, "from_job": first["id"], "reason": f"Job {first['id']} did the same with the same data.",
        }  # fmt: skip
    assert {item["name"] for item in agreed(stack.client.get(f"/v1/jobs/{second['id']}/artifacts"))["items"]} >= {
        "snapshot", "profile", "split", "encoder", "matrix", "bundle",
    }  # fmt: skip


def test_another_split_keeps_what_was_read_and_validated(stack: RunningStack, dataset: str) -> None:
    spec = a_spec(dataset, "reuse-some")
    first = done(stack, spec)
    second = done(stack, {**spec, "split": {"seed": 5}})
    assert cached(second) == ["ingest", "validate"]
    assert reasons(second)["split"] == f"Since job {first['id']}, this has changed: split."
    assert "the artifact split" in reasons(second)["transform"]


def test_the_same_bytes_under_another_name_are_the_same_data(stack: RunningStack, dataset: str, tmp_path: Any) -> None:
    spec = a_spec(dataset, "reuse-bytes")
    done(stack, spec)
    bytes_ = next(tmp_path.glob("t.csv")).read_bytes()
    again = tmp_path / "again.csv"
    again.write_bytes(bytes_)
    assert cached(done(stack, a_spec(stack.client.upload(again), "reuse-bytes"))) == PREPARED
    again.write_bytes(bytes_ + b"0.25,0.25,b,0\n")
    assert cached(done(stack, a_spec(stack.client.upload(again), "reuse-bytes"))) == []


def test_a_job_may_ask_to_do_everything_itself(stack: RunningStack, dataset: str) -> None:
    spec = a_spec(dataset, "reuse-none")
    done(stack, spec)
    again = done(stack, {**spec, "reproducibility": {"reuse": False}})
    assert cached(again) == []
    assert set(reasons(again).values()) == {"reproducibility.reuse is false."}


@pytest.mark.parametrize("harm", ["removed", "altered"])
def test_an_artifact_that_is_gone_or_altered_is_made_again(stack: RunningStack, dataset: str, harm: str) -> None:
    spec = a_spec(dataset, f"reuse-{harm}")
    first = done(stack, spec)
    client, (bucket, key) = a_store(stack), key_of(stack, first, "split")
    whole = client.get_object(bucket, key).read()
    client.remove_object(bucket, key)
    if harm == "altered":
        other = whole[:-1] + bytes([whole[-1] ^ 1])
        client.put_object(bucket, key, io.BytesIO(other), len(other))
    second = done(stack, {**spec, "tuning": {"strategy": "random", "max_trials": 1}})
    assert cached(second) == ["ingest", "validate", "transform"]
    assert "gone or no longer what it was" in reasons(second)["split"]
    assert client.get_object(bucket, key).read() == whole


def test_what_was_deleted_with_its_version_is_made_again(stack: RunningStack, dataset: str) -> None:
    spec = {**a_spec(dataset, "reuse-deleted"), "registration": {"aliases": []}}
    done(stack, spec)
    assert stack.client.delete("/v1/models/reuse-deleted/versions/1").status_code in {200, 204}
    second = done(stack, spec)
    assert cached(second) == []
    assert cached(done(stack, spec)) == PREPARED


def test_nobody_takes_over_what_another_project_did(stack: RunningStack, dataset: str, tmp_path: Any) -> None:
    done(stack, a_spec(dataset, "reuse-mine"))
    with closing(another_project(stack)) as stranger:
        path = next(tmp_path.glob("t.csv"))
        job = stranger.wait(stranger.submit(a_spec(stranger.upload(path), "reuse-mine")))
    assert cached(job) == []

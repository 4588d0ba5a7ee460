"""A version is asked to be trained again, as it was or changed; what cannot be is refused."""

from typing import Any

import pytest

from app.jobs.submission import merged
from tests.api.rows import Tenant


def test_a_reproduction_is_a_job_of_its_own_over_the_same_spec(tenant: Tenant):
    tenant.registered()
    version = tenant.get("/v1/models/late-flights/versions/1").json()
    answer = tenant.post("/v1/models/late-flights/versions/1/reproduce", {})
    job = answer.json()
    assert (answer.status_code, job["kind"], job["status"]) == (202, "reproduce", "queued")
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["spec_digest"] == version["spec_digest"]
    assert [stage["name"] for stage in job["stages"]][::7] == ["ingest", "compare"]
    assert tenant.row(job["id"]).facts == {"reproduces": 1}


def test_changes_are_merged_into_the_spec(tenant: Tenant):
    tenant.registered()
    changes = {"split": {"seed": 7}, "registration": None}
    job = tenant.post("/v1/models/late-flights/versions/1/reproduce", {"changes": changes}).json()
    assert tenant.get(f"/v1/jobs/{job['id']}/spec").json()["spec"]["split"]["seed"] == 7


@pytest.mark.parametrize("changes", [
    {"split": {"seed": -1}}, {"surprise": 1}, {"model": "another-one"}, {"task": None}, {"training": {"algorithm": "magic"}},
    {"training": "none"},
])  # fmt: skip
def test_changes_that_make_no_spec_are_refused(tenant: Tenant, changes: Any):
    tenant.registered()
    answer = tenant.post("/v1/models/late-flights/versions/1/reproduce", {"changes": changes})
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_a_fault_in_a_choice_is_where_the_choice_stands(tenant: Tenant):
    tenant.registered()
    changes = {"changes": {"training": {"algorithm": "magic"}}}
    answer = tenant.post("/v1/models/late-flights/versions/1/reproduce", changes)
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {"/training/algorithm"}


def test_what_is_not_there_cannot_be_reproduced(tenant: Tenant, stranger: Tenant):
    tenant.registered()
    assert tenant.post("/v1/models/late-flights/versions/2/reproduce", {}).status_code == 404
    assert stranger.post("/v1/models/late-flights/versions/1/reproduce", {}).status_code == 404
    reader = {"Authorization": f"Bearer {tenant.key('read')}"}
    assert tenant.post("/v1/models/late-flights/versions/1/reproduce", {}, headers=reader).status_code == 403


@pytest.mark.parametrize(("document", "patch", "expected"), [
    ({"a": 1, "b": {"c": 2}}, {"b": {"c": 3}}, {"a": 1, "b": {"c": 3}}), ({"a": 1}, {"a": None}, {}),
    ({"a": [1]}, {"a": [2, 3]}, {"a": [2, 3]}), ({"a": 1}, {"a": {"b": 1, "c": None}}, {"a": {"b": 1}}), ({"a": 1}, {}, {"a": 1}),
])  # fmt: skip
def test_a_merge_patch_is_that_of_its_rfc(document: Any, patch: Any, expected: Any):
    assert merged(document, patch) == expected


def test_the_reference_for_drift_must_be_of_this_project(tenant: Tenant, stranger: Tenant):
    tenant.registered()
    foreign = stranger.row(stranger.job()).spec["data"]["sources"]["rows"]["dataset_id"]
    for dataset_id in (foreign, "ds_00000000"):
        changes = {"validation": {"drift": {"reference": f"dataset:{dataset_id}"}}}
        answer = tenant.post("/v1/models/late-flights/versions/1/reproduce", {"changes": changes})
        assert answer.status_code == 422
        assert [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]] == [
            ("/changes/validation/drift/reference", "unknown_dataset")
        ]

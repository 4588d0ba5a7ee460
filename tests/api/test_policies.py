"""Gate policies are kept by name and version, stand in specs, and judge past candidates from what was measured."""

import time
from typing import Any

import pytest

from tests.api.rows import Tenant

STRICT = {"judge_by": "low", "rules": [{"metric": "roc_auc", "min": 0.75}]}


def evidence(value: float, *, spread: float = 0.01, **more: Any) -> dict[str, Any]:
    entry = {"value": value, "low": value - spread, "high": value + spread}
    return {
        "test_rows": 1_000, "metrics": {"roc_auc": entry}, "champion": None, "slices": [], "gaps": [],
        "costs": {"model_bytes": 1_000.0, "predict_ms": 0.5}, "confidence": {"level": 0.95}, **more,
    }  # fmt: skip


def made(tenant: Tenant, gate: Any = STRICT, name: str = "strict") -> Any:
    answer = tenant.post("/v1/gate-policies", {"name": name, "gate": gate})
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


def test_another_gate_is_the_next_version_and_the_same_one_is_there_already(tenant: Tenant):
    first = tenant.post("/v1/gate-policies", {"name": "strict", "gate": STRICT})
    assert (first.status_code, first.headers["location"]) == (201, "/v1/gate-policies/strict/versions/1")
    again = tenant.post("/v1/gate-policies", {"name": "strict", "gate": STRICT})
    assert (again.status_code, again.json()) == (200, first.json())
    second = made(tenant, {**STRICT, "on_fail": "reject"})
    assert second["version"] == 2
    assert second["gate"]["rules"][0]["min"] == 0.75, "defaults are written out"
    assert tenant.get("/v1/gate-policies/strict").json() == second
    assert tenant.get("/v1/gate-policies/strict/versions/1").json() == first.json()
    listed = tenant.get("/v1/gate-policies/strict/versions?limit=1").json()
    assert (listed["items"], listed["next_cursor"] is not None) == ([second], True)
    made(tenant, name="mild")
    assert [(row["name"], row["version"]) for row in tenant.get("/v1/gate-policies").json()["items"]] == [
        ("mild", 1), ("strict", 2),
    ]  # fmt: skip


def test_a_spec_that_names_a_policy_gets_its_gate_and_keeps_its_version(tenant: Tenant, spec: dict[str, Any]):
    made(tenant)
    answer = tenant.post("/v1/jobs", {**spec, "gate": {"policy": "strict", "review": {"seconds": 60}}})
    assert answer.status_code == 202, answer.text
    written = tenant.get(f"/v1/jobs/{answer.json()['id']}/spec").json()["spec"]
    assert (written["gate"]["policy"], written["gate"]["judge_by"]) == ("strict:1", "low")
    assert (written["gate"]["rules"][0]["min"], written["gate"]["review"]["seconds"]) == (0.75, 60)
    made(tenant, {"rules": []})
    again = tenant.post("/v1/jobs", written)
    assert again.status_code == 202, "a resolved spec says the same again, whatever the policy says since"
    assert again.json()["spec_digest"] == answer.json()["spec_digest"]


def test_a_policy_that_names_another_one_is_refused(tenant: Tenant):
    made(tenant)
    answer = tenant.post("/v1/gate-policies", {"name": "mine", "gate": {"policy": "strict"}})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/gate/policy"]


@pytest.mark.parametrize(("gate", "code"), [
    ({"policy": "nowhere"}, "unknown_policy"), ({"policy": "strict:9"}, "unknown_policy"),
    ({"policy": "strict", "rules": [{"metric": "f1", "min": 0.1}]}, "policy_and_rules"),
    ({"policy": "strict", "on_fail": "reject"}, "policy_and_rules"),
    ({"policy": "numbers"}, "value_error"), ({"policy": "Strict!"}, "string_pattern_mismatch"),
])  # fmt: skip
def test_a_spec_that_cannot_have_the_policy_is_told_why(tenant: Tenant, spec: dict[str, Any], gate: Any, code: str):
    made(tenant)
    made(tenant, {"rules": [{"metric": "rmse", "max": 1.0}]}, name="numbers")
    binary = {**spec, "task": {"target": "y", "type": "binary"}}
    answer = tenant.post("/v1/jobs", {**binary, "gate": gate})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == code
    if code == "value_error":
        assert answer.json()["errors"][0]["pointer"] == "/gate/policy", "the caller wrote no rules"


def test_a_replay_says_who_would_have_passed(tenant: Tenant):
    good = tenant.measured(evidence(0.9), version=1)
    bad = tenant.measured(evidence(0.6), version=2)
    near = tenant.measured(evidence(0.755), model="another-model")
    tenant.job()  # never measured
    made(tenant)
    found = tenant.post("/v1/gate-policies/strict/versions/1/replay", {}).json()
    assert [(item["job_id"], item["verdict"], item["goes"]) for item in found["items"]] == [
        (near, "inconclusive", "review"), (bad, "fail", "review"), (good, "pass", "pass"),
    ]  # fmt: skip
    assert (found["candidates"], found["verdicts"]) == (3, {"inconclusive": 1, "fail": 1, "pass": 1})
    assert [item["was"] for item in found["items"]] == ["fail"] * 3
    assert found["changed"] == 2
    assert found["items"][0]["rules"][0]["rows_needed"] > 1_000
    only = tenant.post("/v1/gate-policies/strict/versions/1/replay", {"model": "late-flights", "limit": 1}).json()
    assert [item["job_id"] for item in only["items"]] == [bad]


def test_a_rule_on_what_was_not_measured_is_inconclusive(tenant: Tenant):
    tenant.measured(evidence(0.9))
    made(tenant, {"rules": [{"metric": "f1", "slice": {"origin": "JFK"}, "min": 0.1}]})
    (item,) = tenant.post("/v1/gate-policies/strict/versions/1/replay", {}).json()["items"]
    assert (item["verdict"], item["rules"][0]["reason"]) == ("inconclusive", "it was not measured")


def test_two_hundred_candidates_are_judged_within_seconds(tenant: Tenant):
    slices = [
        {"where": {"origin": str(place)}, "rows": 200, "metrics": evidence(0.8)["metrics"]} for place in range(50)
    ]
    for place in range(200):
        tenant.measured(evidence(0.7001 + place / 2_000, slices=slices))
    made(
        tenant,
        {"rules": [{"metric": "roc_auc", "min": 0.75}, {"metric": "roc_auc", "slice": {"origin": "7"}, "min": 0.7}]},
    )
    began = time.monotonic()
    found = tenant.post("/v1/gate-policies/strict/versions/1/replay", {"limit": 1_000}).json()
    assert found["candidates"] == 200
    assert found["verdicts"] == {"pass": 100, "fail": 100}
    assert time.monotonic() - began < 20, "nothing is trained again"


def test_another_projects_policy_is_not_there(tenant: Tenant, stranger: Tenant):
    made(tenant)
    for path in ("", "/versions", "/versions/1"):
        assert stranger.get(f"/v1/gate-policies/strict{path}").status_code == 404
    assert stranger.post("/v1/gate-policies/strict/versions/1/replay", {}).status_code == 404
    assert stranger.get("/v1/gate-policies").json()["items"] == []


@pytest.mark.parametrize("body", [
    {}, {"name": "strict"}, {"name": "Strict", "gate": {}}, {"name": "strict", "gate": {"rules": [{"metric": "roc_auc"}]}},
    {"name": "strict", "gate": {"on_fail": "pass"}}, {"name": "strict", "gate": STRICT, "project_id": "prj_x"}, [], None,
])  # fmt: skip
def test_a_policy_that_says_too_little_or_too_much_is_refused(tenant: Tenant, body: Any):
    assert tenant.post("/v1/gate-policies", body).status_code == 422


@pytest.mark.parametrize("body", [
    {"created_after": "9999-12-31T23:59:59-12:00"}, {"created_after": "yesterday"}, {"created_after": "2026-01-01"},
    {"limit": 0}, {"limit": 1_001}, {"model": "UPPER"}, {"surprise": 1},
])  # fmt: skip
def test_a_malformed_replay_is_refused(tenant: Tenant, body: Any):
    made(tenant)
    assert tenant.post("/v1/gate-policies/strict/versions/1/replay", body).status_code == 422


def test_making_a_policy_needs_the_scope_train(tenant: Tenant):
    reader = {"Authorization": f"Bearer {tenant.key('read')}"}
    assert tenant.post("/v1/gate-policies", {"name": "strict", "gate": STRICT}, headers=reader).status_code == 403
    made(tenant)
    assert tenant.post("/v1/gate-policies/strict/versions/1/replay", {}, headers=reader).status_code == 200

"""Promotion asks deployers; aliases move at once or when one acknowledges; rollback goes back along the road."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from app.db import transaction
from app.deployments.service import request, timeout_due, version_before
from app.tables import Deployment, ModelVersion
from tests.api.rows import BUNDLE, PUBLIC_URL, Tenant

PRODUCTION = {"target": "production", "reason": "better"}


def promote(tenant: Tenant, version: int, **wish: object) -> dict:
    answer = tenant.post(f"/v1/models/late-flights/versions/{version}/promote", {**PRODUCTION, **wish})
    assert answer.status_code == 201, answer.text
    return answer.json()


def report(tenant: Tenant, deployment_id: str, state: str, detail: str = "") -> tuple[int, dict]:
    answer = tenant.post(f"/v1/deployments/{deployment_id}/report", {"state": state, "detail": detail})
    return answer.status_code, answer.json()


def aliases(tenant: Tenant) -> dict[str, int]:
    found = tenant.get("/v1/models/late-flights").json()["aliases"]
    found.pop("candidate", None)
    return found


def state_of(tenant: Tenant, made: dict) -> str:
    return tenant.get(f"/v1/deployments/{made['id']}").json()["state"]


def overdue(tenant: Tenant, made: dict) -> None:
    """Lets the time to acknowledge be over, and lets the dispatcher see it."""
    with transaction(tenant.engine) as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(Deployment).where(Deployment.id == made["id"]).values(ack_until=past))
    with transaction(tenant.engine) as session:
        assert timeout_due(session) >= 1


def test_a_promotion_is_a_deployment_that_deployers_hear_of(tenant: Tenant):
    tenant.registered()
    answer = tenant.post("/v1/models/late-flights/versions/1/promote", PRODUCTION)
    made = answer.json()
    assert answer.headers["location"] == f"/v1/deployments/{made['id']}"
    assert (made["state"], made["target"], made["version"], made["reason"]) == ("requested", "production", 1, "better")
    assert tenant.get(answer.headers["location"]).json() == made
    (said,) = tenant.events("deployment.requested")
    assert said == {
        "deployment_id": made["id"], "model": "late-flights", "version": 1, "target": "production",
        "url": f"{PUBLIC_URL}/v1/models/late-flights/versions/1", "bundle_digest": BUNDLE, "require_ack": False,
        "report_url": f"{PUBLIC_URL}/v1/deployments/{made['id']}/report",
    }  # fmt: skip


def test_production_moves_champion_and_staging_moves_staging(tenant: Tenant):
    tenant.registered()
    tenant.registered()
    promote(tenant, 2, target="staging")
    assert aliases(tenant) == {"staging": 2}
    promote(tenant, 1)
    assert aliases(tenant) == {"staging": 2, "champion": 1, "production": 1}


def test_with_require_ack_the_alias_waits_for_the_deployer(tenant: Tenant):
    tenant.registered()
    made = promote(tenant, 1, require_ack=True)
    assert aliases(tenant) == {}
    status, shown = report(tenant, made["id"], "accepted", "on its way")
    assert (status, shown["state"], shown["detail"]) == (200, "accepted", "on its way")
    assert aliases(tenant) == {"champion": 1, "production": 1}
    assert report(tenant, made["id"], "serving")[0] == 200
    assert [said["state"] for said in tenant.events("deployment.reported")] == ["accepted", "serving"]
    moved = [said for said in tenant.events("model.alias.moved") if said["alias"] == "champion"]
    assert len(moved) == 1


def test_a_deployer_that_fails_moves_nothing(tenant: Tenant):
    tenant.registered()
    made = promote(tenant, 1, require_ack=True)
    assert report(tenant, made["id"], "failed", "no room")[1]["state"] == "failed"
    assert aliases(tenant) == {}
    status, problem = report(tenant, made["id"], "serving")
    assert (status, problem["code"]) == (409, "deployment_closed")


def test_an_acknowledgement_that_comes_too_late_moves_nothing(tenant: Tenant):
    tenant.registered()
    made = promote(tenant, 1, require_ack=True, ack_seconds=1)
    overdue(tenant, made)
    assert state_of(tenant, made) == "timed_out"
    assert report(tenant, made["id"], "accepted")[0] == 409
    assert aliases(tenant) == {}


def test_a_request_without_ack_never_times_out(tenant: Tenant):
    tenant.registered()
    made = promote(tenant, 1)
    with transaction(tenant.engine) as session:
        timeout_due(session)
    assert (made["ack_until"], state_of(tenant, made)) == (None, "requested")


def test_the_same_report_again_changes_nothing(tenant: Tenant):
    tenant.registered()
    made = promote(tenant, 1)
    assert [report(tenant, made["id"], "serving")[0] for _ in range(3)] == [200, 200, 200]
    assert len(tenant.events("deployment.reported")) == 1
    assert report(tenant, made["id"], "accepted")[0] == 409


def test_a_newer_request_supersedes_the_one_under_way(tenant: Tenant):
    tenant.registered()
    tenant.registered()
    first, staging = promote(tenant, 1, require_ack=True), promote(tenant, 1, target="staging")
    second = promote(tenant, 2, require_ack=True)
    assert [state_of(tenant, made) for made in (first, staging, second)] == ["superseded", "requested", "requested"]
    assert report(tenant, first["id"], "accepted")[0] == 409
    assert report(tenant, second["id"], "accepted")[0] == 200
    assert aliases(tenant)["champion"] == 2


def test_what_served_is_superseded_once_the_next_one_serves(tenant: Tenant):
    tenant.registered()
    tenant.registered()
    first = promote(tenant, 1)
    report(tenant, first["id"], "serving")
    second = promote(tenant, 2)
    assert state_of(tenant, first) == "serving"
    report(tenant, second["id"], "serving")
    assert state_of(tenant, first) == "superseded"


def test_rollback_goes_back_along_the_road_and_ends_at_its_start(tenant: Tenant):
    for version in (1, 2, 3):
        tenant.registered()
        promote(tenant, version)
    body = {"target": "production", "reason": "complaints"}
    for expected in (2, 1):
        answer = tenant.post("/v1/models/late-flights/rollback", body)
        assert (answer.status_code, answer.json()["version"]) == (201, expected)
        assert aliases(tenant) == {"champion": expected, "production": expected}
    answer = tenant.post("/v1/models/late-flights/rollback", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_roll_back_to")
    assert tenant.get("/v1/models/late-flights/history").json()["items"][0]["reason"] == "complaints"


@pytest.mark.parametrize(("served", "before"), [
    ([], None), ([1], None), ([1, 2], 1), ([1, 2, 3], 2), ([1, 2, 1], None), ([1, 2, 3, 2], 1), ([2, 1], 2),
    ([1, 2, 3, 2, 4], 2), ([1, None, 2], 1), ([1, 2, None], 1),
])  # fmt: skip
def test_the_version_before_is_the_one_that_served_before_going_forth(served: list[int | None], before: int | None):
    assert version_before(served, usable={1, 2, 3, 4}) == before


@pytest.mark.parametrize(("served", "usable", "before"), [
    ([1, 2, 3], {1, 3}, 1), ([1, 2, 3], {3}, None), ([1, 2, None], {1}, 1), ([1, 2, 3, 1], {1, 3}, None), ([2, 1, 3, 4], {2, 4}, 2),
])  # fmt: skip
def test_a_version_that_may_not_serve_any_more_is_passed_over(
    served: list[int | None], usable: set[int], before: int | None
):
    assert version_before(served, usable=usable) == before


@pytest.mark.parametrize("ending", ["archived", "deleted"])
def test_a_rollback_passes_over_a_version_that_is_gone(tenant: Tenant, ending: str):
    where = "/v1/models/late-flights/versions"
    for version in (1, 2, 3):
        tenant.registered(aliases=[])
        promote(tenant, version)
    if ending == "archived":
        assert tenant.post(f"{where}/2/archive", {"reason": "wrong"}).status_code == 200
    else:
        admin = {"Authorization": f"Bearer {tenant.key('admin')}"}
        assert tenant.call("DELETE", f"{where}/2", headers=admin).status_code == 204
    answer = tenant.post("/v1/models/late-flights/rollback", PRODUCTION)
    assert (answer.status_code, answer.json().get("version")) == (201, 1), answer.text


def test_a_jobs_deployment_is_one_and_its_own(tenant: Tenant):
    tenant.registered()
    job_id = tenant.get("/v1/models/late-flights/versions/1").json()["job_id"]
    with transaction(tenant.engine) as session:
        made = request(
            session, project_id=tenant.id, model="late-flights", version=1, target="staging", requested_by="key_test",
            public_url=PUBLIC_URL, job_id=job_id,
        )  # fmt: skip
    assert tenant.get(f"/v1/deployments/{made.id}").json()["job_id"] == job_id
    assert aliases(tenant) == {"staging": 1}


def test_a_repeated_promotion_with_its_idempotency_key_is_one_deployment(tenant: Tenant):
    tenant.registered()
    path = "/v1/models/late-flights/versions/1/promote"
    answers = [tenant.post(path, PRODUCTION, headers={"Idempotency-Key": f"p-{tenant.id}"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["location"] == answers[0].headers["location"]
    assert len(tenant.get("/v1/deployments").json()["items"]) == 1


def test_deployments_are_listed_by_model_and_state(tenant: Tenant):
    tenant.registered()
    tenant.registered("other")
    promote(tenant, 1)
    tenant.post("/v1/models/other/versions/1/promote", PRODUCTION)
    assert len(tenant.get("/v1/deployments").json()["items"]) == 2
    (only,) = tenant.get("/v1/deployments?model=other&state=requested").json()["items"]
    assert only["model"] == "other"
    assert tenant.get("/v1/deployments?state=serving").json()["items"] == []
    assert tenant.get("/v1/deployments?state=lost").status_code == 422


def test_deployments_of_jobs_and_of_people_are_listed_together_the_newest_first(tenant: Tenant):
    made = []
    for number in range(8):
        version = tenant.registered()
        if number % 2:
            made.append(promote(tenant, version)["id"])
            continue
        with transaction(tenant.engine) as session:
            job_id = session.scalars(select(ModelVersion.job_id).where(
                ModelVersion.project_id == tenant.id, ModelVersion.version == version
            )).one()  # fmt: skip
            made.append(request(
                session, project_id=tenant.id, model="late-flights", version=version, target="production",
                requested_by="key", public_url=PUBLIC_URL, job_id=job_id,
            ).id)  # fmt: skip
    listed = [row["id"] for row in tenant.get("/v1/deployments").json()["items"]]
    assert listed == made[::-1]


def test_what_is_not_there_cannot_be_promoted_or_rolled_back(tenant: Tenant, stranger: Tenant):
    tenant.registered()
    assert tenant.post("/v1/models/late-flights/versions/9/promote", PRODUCTION).status_code == 404
    assert tenant.post("/v1/models/none/rollback", PRODUCTION).status_code == 404
    made = promote(tenant, 1)
    assert stranger.post("/v1/models/late-flights/versions/1/promote", PRODUCTION).status_code == 404
    assert stranger.post("/v1/models/late-flights/rollback", PRODUCTION).status_code == 404
    assert stranger.get(f"/v1/deployments/{made['id']}").status_code == 404
    assert report(stranger, made["id"], "serving")[0] == 404
    assert stranger.get("/v1/deployments").json()["items"] == []


@pytest.mark.parametrize("body", [
    {}, {"target": "none"}, {"target": "moon"}, {"target": "production", "reason": "\x00"}, None, [],
    {"target": "production", "require_ack": "yes"}, {"target": "production", "ack_seconds": 0},
    {"target": "production", "ack_seconds": 10**9}, {"target": "production", "version": 1},
])  # fmt: skip
def test_a_malformed_promotion_is_refused(tenant: Tenant, body: object):
    tenant.registered()
    assert tenant.post("/v1/models/late-flights/versions/1/promote", body).status_code == 422


@pytest.mark.parametrize("state", ["requested", "superseded", "timed_out", "", "SERVING", None, 1])
def test_a_deployer_reports_what_deployers_can_know(tenant: Tenant, state: object):
    tenant.registered()
    made = promote(tenant, 1)
    assert report(tenant, made["id"], state)[0] == 422


def test_promoting_and_reporting_need_the_scope_train(tenant: Tenant):
    tenant.registered()
    made = promote(tenant, 1)
    reader = {"Authorization": f"Bearer {tenant.key('read', 'review')}"}
    for path, body in [
        ("/v1/models/late-flights/versions/1/promote", PRODUCTION), ("/v1/models/late-flights/rollback", PRODUCTION),
        (f"/v1/deployments/{made['id']}/report", {"state": "serving"}),
    ]:  # fmt: skip
        assert tenant.post(path, body, headers=reader).status_code == 403

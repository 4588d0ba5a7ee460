"""A review is decided once, by a person with a reason, and sets its job on its way or ends it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app.db import transaction
from app.jobs.service import cancel
from app.reviews.service import expire_due
from app.tables import Job, Review
from tests.api.rows import GATE, Tenant

APPROVE = {"decision": "approve", "reason": "The threshold was set for the old data."}
REJECT = {"decision": "reject", "reason": "Too weak."}


def test_an_open_review_shows_the_gates_evidence(tenant: Tenant):
    job_id, review_id = tenant.reviewed()
    (listed,) = tenant.get("/v1/reviews?status=open").json()["items"]
    shown = tenant.get(f"/v1/reviews/{review_id}").json()
    assert listed == shown
    assert (shown["job_id"], shown["status"], shown["evidence"], shown["decision"]) == (job_id, "open", GATE, None)
    assert tenant.row(job_id).review_id == review_id


def test_approval_sets_the_job_going_again_behind_the_gate(tenant: Tenant):
    job_id, review_id = tenant.reviewed()
    answer = tenant.post(f"/v1/reviews/{review_id}/decide", APPROVE)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["status"], shown["decision"], shown["reason"]) == ("approved", "approve", APPROVE["reason"])
    assert shown["decided_by"].startswith("key_")
    assert shown["decided_at"] is not None
    job = tenant.row(job_id)
    assert (job.status, job.waits_on, job.facts["approved_review"]) == ("queued", None, review_id)
    stages = tenant.stages(job_id)
    assert (stages["gate"], stages["register"]) == ("succeeded", "pending")
    (said,) = tenant.events("review.decided")
    assert (said["job_id"], said["decision"], said["reason"]) == (job_id, "approve", APPROVE["reason"])
    assert tenant.get("/v1/reviews?status=open").json()["items"] == []
    assert [row["id"] for row in tenant.get("/v1/reviews?status=approved").json()["items"]] == [review_id]


def test_rejection_ends_the_job_without_a_version(tenant: Tenant):
    job_id, review_id = tenant.reviewed()
    assert tenant.post(f"/v1/reviews/{review_id}/decide", REJECT).json()["status"] == "rejected"
    job = tenant.row(job_id)
    assert (job.status, job.version) == ("rejected", None)
    assert job.finished_at is not None
    stages = tenant.stages(job_id)
    assert (stages["gate"], stages["register"], stages["deploy"]) == ("failed", "skipped", "skipped")
    (said,) = tenant.events("job.rejected")
    assert (said["job_id"], said["reason"]) == (job_id, "Too weak.")
    assert tenant.get("/v1/models").json()["items"] == []


def test_a_review_is_decided_once(tenant: Tenant):
    job_id, review_id = tenant.reviewed()
    tenant.post(f"/v1/reviews/{review_id}/decide", REJECT)
    again = tenant.post(f"/v1/reviews/{review_id}/decide", APPROVE)
    assert (again.status_code, again.json()["code"]) == (409, "review_not_open")
    assert tenant.row(job_id).status == "rejected"
    assert len(tenant.events("review.decided")) == 1


def test_of_several_who_decide_at_once_one_is_heard(tenant: Tenant):
    for _ in range(5):
        job_id, review_id = tenant.reviewed()
        barrier = threading.Barrier(4)

        def decide(said: dict[str, str], barrier: threading.Barrier = barrier, review_id: str = review_id) -> int:
            barrier.wait()
            return tenant.post(f"/v1/reviews/{review_id}/decide", said).status_code

        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(decide, [APPROVE, REJECT, APPROVE, REJECT]))
        assert sorted(statuses) == [200, 409, 409, 409]
        heard = (APPROVE, REJECT)[statuses.index(200) % 2]
        assert tenant.row(job_id).status == {"approve": "queued", "reject": "rejected"}[heard["decision"]]


def test_a_repeated_decision_with_its_idempotency_key_gets_the_first_answer(tenant: Tenant):
    _, review_id = tenant.reviewed()
    first, second = (
        tenant.post(f"/v1/reviews/{review_id}/decide", APPROVE, headers={"Idempotency-Key": f"decide-{review_id}"})
        for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json() == second.json()


def test_a_review_of_a_cancelled_job_cannot_be_decided(tenant: Tenant):
    job_id, review_id = tenant.reviewed()
    with transaction(tenant.engine) as session:
        cancel(session, session.get_one(Job, job_id, with_for_update=True), by="key_test")
    answer = tenant.post(f"/v1/reviews/{review_id}/decide", APPROVE)
    assert answer.status_code == 409
    assert tenant.row(job_id).status == "cancelled"
    assert tenant.get(f"/v1/reviews/{review_id}").json()["status"] == "cancelled"
    assert tenant.events("review.decided") == []


@pytest.mark.parametrize("body", [
    {"decision": "approve"}, {"decision": "approve", "reason": ""}, {"decision": "approve", "reason": "  \n"},
    {"decision": "maybe", "reason": "x"}, {"reason": "x"}, {"decision": "approve", "reason": "x" * 2_001},
    {"decision": "approve", "reason": "a\x00b"}, {"decision": "approve", "reason": "x", "by": "me"}, [], None, "approve",
    {"decision": True, "reason": "x"}, {"decision": "approve", "reason": 1},
])  # fmt: skip
def test_a_decision_needs_a_reason_and_nothing_else(tenant: Tenant, body: object):
    job_id, review_id = tenant.reviewed()
    answer = tenant.post(f"/v1/reviews/{review_id}/decide", body)
    assert answer.status_code == 422
    assert tenant.row(job_id).status == "awaiting_review"


def test_deciding_needs_the_scope_review(tenant: Tenant):
    _, review_id = tenant.reviewed()
    trainer = {"Authorization": f"Bearer {tenant.key('read', 'train')}"}
    assert tenant.post(f"/v1/reviews/{review_id}/decide", APPROVE, headers=trainer).status_code == 403
    assert tenant.get(f"/v1/reviews/{review_id}", headers=trainer).status_code == 200


def test_a_review_that_asks_for_another_is_not_decided_by_the_submitter(tenant: Tenant):
    job_id, review_id = tenant.reviewed(gate={"review": {"by_another": True}}, created_by=tenant.key_id())
    assert tenant.get(f"/v1/reviews/{review_id}").json()["by_another"] is True
    own = tenant.post(f"/v1/reviews/{review_id}/decide", APPROVE)
    assert (own.status_code, own.json()["code"]) == (403, "another_must_decide")
    assert tenant.row(job_id).status == "awaiting_review"
    other = {"Authorization": f"Bearer {tenant.key('review')}"}
    assert tenant.post(f"/v1/reviews/{review_id}/decide", APPROVE, headers=other).json()["status"] == "approved"


def test_a_review_that_nobody_decides_in_time_ends_its_job(tenant: Tenant):
    waits, _ = tenant.reviewed()
    due, review_id = tenant.reviewed(gate={"review": {"seconds": 60}})
    with transaction(tenant.engine) as session:
        assert expire_due(session) == 0, "nothing is due yet"
        session.get_one(Review, review_id).expires_at = datetime.now(UTC) - timedelta(seconds=1)
    with transaction(tenant.engine) as session:
        assert expire_due(session) == 1
        assert expire_due(session) == 0
    shown = tenant.get(f"/v1/reviews/{review_id}").json()
    assert (shown["status"], shown["decision"], shown["reason"]) == ("expired", "reject", "nobody decided in time")
    assert (tenant.row(due).status, tenant.row(waits).status) == ("rejected", "awaiting_review")
    assert [said["decision"] for said in tenant.events("review.decided")] == ["reject"]
    assert tenant.post(f"/v1/reviews/{review_id}/decide", APPROVE).json()["code"] == "review_not_open"


def test_another_projects_review_is_not_there(tenant: Tenant, stranger: Tenant):
    _, review_id = tenant.reviewed()
    assert stranger.get(f"/v1/reviews/{review_id}").status_code == 404
    assert stranger.post(f"/v1/reviews/{review_id}/decide", APPROVE).status_code == 404
    assert stranger.get("/v1/reviews").json()["items"] == []


def test_reviews_are_paged_newest_first(tenant: Tenant):
    made = [tenant.reviewed()[1] for _ in range(3)]
    first = tenant.get("/v1/reviews?limit=2").json()
    rest = tenant.get("/v1/reviews", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [row["id"] for row in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("query", ["status=closed", "status=", "state=open", "limit=0", "limit=201", "cursor=%00"])
def test_a_malformed_filter_is_refused(tenant: Tenant, query: str):
    assert tenant.get(f"/v1/reviews?{query}").status_code in {400, 422}

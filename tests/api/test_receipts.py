"""Every version has a signed receipt that follows the one before; the webhook carries its digest."""

import pytest
from sqlalchemy import select

from app.db import transaction
from app.receipts import Broken, verify_chain
from app.tables import Job, Review, SigningKey
from tests.api.rows import BUNDLE, Tenant, register_job


def test_ten_versions_have_a_chain_of_receipts_that_verifies(tenant: Tenant):
    for _ in range(10):
        tenant.registered()
    first = tenant.get("/v1/models/late-flights/receipts?limit=7").json()
    rest = tenant.get("/v1/models/late-flights/receipts", params={"cursor": first["next_cursor"]}).json()
    made = first["items"] + rest["items"]
    assert [each["document"]["version"] for each in made] == list(range(1, 11))
    (key,) = tenant.get("/v1/signing-keys").json()["items"]
    verify_chain(made, public_key=key["public_key"])
    assert made[0]["document"]["previous"] is None
    made[4]["document"]["metrics"]["roc_auc"]["value"] = 0.99
    with pytest.raises(Broken, match=r"^version 5: "):
        verify_chain(made, public_key=key["public_key"])


def test_a_receipt_holds_what_the_decision_rests_on_and_the_event_its_digest(tenant: Tenant):
    number = tenant.registered()
    receipt = tenant.get(f"/v1/models/late-flights/versions/{number}/receipt").json()
    version = tenant.get(f"/v1/models/late-flights/versions/{number}").json()
    document = receipt["document"]
    assert document["metrics"]["roc_auc"] == {"value": 0.8, "low": 0.78, "high": 0.82}
    assert (document["bundle"]["digest"], document["spec"]["digest"]) == (BUNDLE, version["spec_digest"])
    assert document["gate"]["found"] == version["gate"]
    assert document["approval"] is None
    (said,) = tenant.events("model.version.registered")
    assert said["receipt_digest"] == receipt["digest"] == version["receipt_digest"]
    listed = tenant.get("/v1/models/late-flights/versions").json()["items"]
    assert [row["receipt_digest"] for row in listed] == [receipt["digest"]]


def test_who_approved_a_refused_model_stands_in_its_receipt(tenant: Tenant):
    job_id, review_id = tenant.reviewed()
    tenant.post(f"/v1/reviews/{review_id}/decide", {"decision": "approve", "reason": "Good enough for June."})
    with transaction(tenant.engine) as session:
        number = register_job(session, job_id, tenant.vault)
        decided_by = session.get_one(Review, review_id).decided_by
        assert session.get_one(Job, job_id).version == number
    approval = tenant.get(f"/v1/models/late-flights/versions/{number}/receipt").json()["document"]["approval"]
    assert (approval["review_id"], approval["reason"]) == (review_id, "Good enough for June.")
    assert approval["decided_by"] == decided_by


def test_a_project_signs_with_one_key_of_its_own_that_is_sealed(tenant: Tenant, stranger: Tenant):
    tenant.registered()
    tenant.registered("other-model")
    stranger.registered()
    (own,), (other,) = (each.get("/v1/signing-keys").json()["items"] for each in (tenant, stranger))
    assert own["public_key"] != other["public_key"]
    assert set(own) == {"id", "public_key", "fingerprint", "created_at"}
    with transaction(tenant.engine) as session:
        row = session.scalars(select(SigningKey).where(SigningKey.project_id == tenant.id)).one()
        assert len(bytes.fromhex(tenant.vault.unseal(row.sealed_private))) == 32


def test_another_projects_receipts_are_not_there(tenant: Tenant, stranger: Tenant):
    tenant.registered()
    assert stranger.get("/v1/models/late-flights/versions/1/receipt").status_code == 404
    assert stranger.get("/v1/models/late-flights/receipts").status_code == 404

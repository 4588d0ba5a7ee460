"""A version is set aside, brought back or deleted for good; what nothing refers to any more leaves the store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import transaction
from app.errors import StoreUnavailable
from app.receipts import verify_chain
from app.registry.garbage import collect, due
from app.tables import Artifact, Garbage, Job
from tests.api.rows import Tenant, register_job
from workers.clearing import clear_in

WHERE = "/v1/models/late-flights/versions"


@pytest.fixture
def admin(tenant: Tenant) -> dict[str, str]:
    """The header of a key that may delete."""
    return {"Authorization": f"Bearer {tenant.key('admin')}"}


def end(tenant: Tenant, number: int, word: str, reason: str = "No longer needed.") -> Any:
    return tenant.post(f"{WHERE}/{number}/{word}", {"reason": reason})


def test_an_archived_version_is_shown_but_not_used_until_it_is_brought_back(tenant: Tenant):
    tenant.registered(aliases=[])
    shown = end(tenant, 1, "archive").json()
    assert shown["archived_at"] is not None
    assert end(tenant, 1, "archive").json()["archived_at"] == shown["archived_at"], "once is enough"
    tag = {"If-Match": tenant.get("/v1/models/late-flights").headers["etag"]}
    moved = tenant.call("PUT", "/v1/models/late-flights/aliases/champion", json={"version": 1}, headers=tag)
    assert (moved.status_code, moved.json()["code"]) == (409, "version_archived")
    promoted = tenant.post(f"{WHERE}/1/promote", {"target": "staging", "reason": "x"})
    assert (promoted.status_code, promoted.json()["code"]) == (409, "version_archived")
    assert tenant.get(f"{WHERE}/1").json()["archived_at"] is not None
    assert end(tenant, 1, "restore").json()["archived_at"] is None
    assert (
        tenant.call("PUT", "/v1/models/late-flights/aliases/champion", json={"version": 1}, headers=tag).status_code
        == 200
    )
    assert [said["reason"] for said in tenant.events("model.version.archived")] == ["No longer needed."]


def test_a_version_in_use_is_neither_archived_nor_deleted(tenant: Tenant, admin: dict[str, str]):
    tenant.registered()  # the alias candidate points at it
    for answer in (end(tenant, 1, "archive"), tenant.call("DELETE", f"{WHERE}/1", headers=admin)):
        assert (answer.status_code, answer.json()["code"]) == (409, "version_in_use")
        assert "candidate" in answer.json()["detail"]
    tenant.registered(aliases=[])
    tenant.post(f"{WHERE}/2/promote", {"target": "staging", "reason": "x", "require_ack": True})
    assert end(tenant, 2, "archive").json()["code"] == "version_in_use"


def test_a_deleted_version_is_gone_its_number_is_not_used_again_and_its_receipt_stays(
    tenant: Tenant, admin: dict[str, str]
):
    for _ in range(3):
        tenant.registered(aliases=[])
    assert tenant.call("DELETE", f"{WHERE}/2", headers=admin).status_code == 204
    assert tenant.call("DELETE", f"{WHERE}/2", headers=admin).status_code == 404
    for path in ("", "/card", "/lineage", "/bundle", "/receipt"):
        assert tenant.get(f"{WHERE}/2{path}").status_code == 404, path
    assert [row["version"] for row in tenant.get(WHERE).json()["items"]] == [3, 1]
    assert [row["version"] for row in tenant.get("/v1/versions").json()["items"]] == [3, 1]
    assert tenant.registered(aliases=[]) == 4
    receipts = tenant.get("/v1/models/late-flights/receipts").json()["items"]
    assert [each["document"]["version"] for each in receipts] == [1, 2, 3, 4]
    verify_chain(receipts)
    assert tenant.post(f"{WHERE}/2/reproduce", {}).status_code == 404


@pytest.fixture
def stored(api: TestClient, tenant: Tenant, tmp_path: Path) -> Any:
    """Registers a version whose job stored these texts as artifacts; gives the number and the digests."""

    def make(*texts: str) -> tuple[int, list[str]]:
        job_id, digests = tenant.job(registration={"aliases": []}), []
        with transaction(tenant.engine) as session:
            for place, text in enumerate(texts):
                path = tmp_path / "blob"
                path.write_text(text)
                digest, size = api.app.state.store.put(tenant.id, path)
                digests.append(digest)
                session.add(Artifact(
                    job_id=job_id, name=f"a{place}", stage="train", digest=digest, size_bytes=size, media_type="x/y"
                ))  # fmt: skip
            session.flush()
            number = register_job(session, job_id, tenant.vault)
            session.get_one(Job, job_id).status = "succeeded"
            return number, digests

    return make


def test_garbage_is_what_no_row_names_and_leaves_the_store(
    api: TestClient, tenant: Tenant, admin: dict[str, str], stored: Any
):
    store = api.app.state.store
    one, (own, shared) = stored("only mine", "ours")
    stored("ours")
    assert tenant.call("DELETE", f"{WHERE}/{one}", headers=admin).status_code == 204
    collect(tenant.engine, store)
    assert store.size(tenant.id, own) is not None, "it lies for an hour"
    collect(tenant.engine, store, grace_seconds=0)
    assert store.size(tenant.id, own) is None
    assert store.size(tenant.id, shared) is not None, "another version's job names it"
    with transaction(tenant.engine) as session:
        assert session.get(Garbage, (tenant.id, own)) is None
        assert session.get(Garbage, (tenant.id, shared)) is None


def test_garbage_waits_while_a_job_of_the_project_runs(
    api: TestClient, tenant: Tenant, admin: dict[str, str], stored: Any
):
    number, (own,) = stored("only mine")
    running = tenant.job()
    tenant.call("DELETE", f"{WHERE}/{number}", headers=admin)
    collect(tenant.engine, api.app.state.store, grace_seconds=0)
    assert api.app.state.store.size(tenant.id, own) is not None
    with transaction(tenant.engine) as session:
        session.get_one(Job, running).status = "failed"
    collect(tenant.engine, api.app.state.store, grace_seconds=0)
    assert api.app.state.store.size(tenant.id, own) is None


def test_an_outage_of_the_store_leaves_garbage_for_the_next_bell(tenant: Tenant, admin: dict[str, str], stored: Any):
    class Away:
        def remove(self, _project_id: str, _digest: str) -> None:
            raise StoreUnavailable("The store does not answer.")

    number, (own,) = stored("only mine")
    tenant.call("DELETE", f"{WHERE}/{number}", headers=admin)
    with transaction(tenant.engine) as session:
        session.get_one(Garbage, (tenant.id, own)).since = datetime.now(UTC) - timedelta(days=1)
        assert session.execute(due()).first() is not None, "the dispatcher rings for it"
    clear_in(SimpleNamespace(engine=tenant.engine, store=Away()), "garbage")
    with transaction(tenant.engine) as session:
        assert session.get(Garbage, (tenant.id, own)) is not None


def test_deleting_needs_the_scope_admin_and_another_projects_versions_are_not_there(tenant: Tenant, stranger: Tenant):
    tenant.registered(aliases=[])
    assert tenant.call("DELETE", f"{WHERE}/1").status_code == 403
    other = {"Authorization": f"Bearer {stranger.key('admin')}"}
    assert stranger.call("DELETE", f"{WHERE}/1", headers=other).status_code == 404
    assert end(stranger, 1, "archive").status_code == 404
    assert end(tenant, 1, "archive", reason="\x00").status_code == 422

"""Keys are shown once, end at once and speak for one project; projects are made by the installation's first one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts.bootstrap import bootstrap
from app.accounts.service import operates
from app.db import transaction
from app.ids import new_id
from app.settings import Settings
from app.tables import ApiKey, IdempotencyKey, Project
from tests.api.rows import Tenant


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def admin(tenant: Tenant) -> dict[str, str]:
    """The headers of an admin of the tenant's project."""
    return bearer(tenant.key("admin"))


@pytest.fixture
def operator(tenant: Tenant) -> dict[str, str]:
    """The headers of an admin of the installation's first project."""
    with transaction(tenant.engine) as session:
        first = Tenant.__new__(Tenant)
        first.engine, first.vault = tenant.engine, tenant.vault
        first.id = session.scalars(select(Project.id).order_by(Project.created_at, Project.id).limit(1)).one()
    return bearer(first.key("admin"))


def test_a_project_of_a_clock_that_went_back_does_not_become_the_first(tenant: Tenant, operator: dict[str, str]):
    del operator
    with transaction(tenant.engine) as session:
        early = Project(id="prj_" + "0" * 25, name=new_id("name"))
        session.add(early)
        session.flush()
        assert not operates(session, early.id)
        session.delete(early)


def made(api: TestClient, admin: dict[str, str], **wish: Any) -> dict[str, Any]:
    answer = api.post("/v1/keys", headers=admin, json={"name": "k", "scopes": ["read"]} | wish)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_key_is_shown_once_and_then_only_its_prefix(api: TestClient, admin: dict[str, str]):
    key = made(api, admin, scopes=["train", "read"])
    assert key["key"].startswith(key["prefix"] + "_")
    assert key["scopes"] == ["read", "train"]
    listed = api.get("/v1/keys", headers=admin).json()["items"]
    assert key["key"] not in str(listed)
    assert key["id"] in [row["id"] for row in listed]


def test_neither_the_key_nor_its_first_answer_lies_readable_in_the_database(
    tenant: Tenant, admin: dict[str, str], api: TestClient
):
    said = api.post(
        "/v1/keys", headers=admin | {"Idempotency-Key": "k1"}, json={"name": "k", "scopes": ["read"]}
    ).json()
    with transaction(tenant.engine) as session:
        row = session.get_one(ApiKey, said["id"])
        kept = session.get_one(IdempotencyKey, (tenant.id, "k1"))
    secret = said["key"].rpartition("_")[2].encode()
    assert secret not in row.digest
    assert secret not in (kept.body or b"")


def test_a_repeated_request_gives_the_same_key_again(api: TestClient, admin: dict[str, str]):
    answers = [
        api.post("/v1/keys", headers=admin | {"Idempotency-Key": "again"}, json={"name": "k", "scopes": ["read"]})
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert answers[1].headers["location"] == f"/v1/keys/{answers[0].json()['id']}"


def test_a_revoked_key_is_refused_at_once(api: TestClient, admin: dict[str, str]):
    key = made(api, admin)
    assert api.get("/v1/datasets", headers=bearer(key["key"])).status_code == 200
    assert api.delete(f"/v1/keys/{key['id']}", headers=admin).status_code == 204
    assert api.get("/v1/datasets", headers=bearer(key["key"])).status_code == 401
    assert api.delete(f"/v1/keys/{key['id']}", headers=admin).status_code == 204


def test_the_last_admin_key_cannot_lock_everybody_out(api: TestClient, admin: dict[str, str]):
    (mine,) = [row for row in api.get("/v1/keys", headers=admin).json()["items"] if row["scopes"] == ["admin"]]
    refused = api.delete(f"/v1/keys/{mine['id']}", headers=admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")
    made(api, admin, scopes=["admin"])
    assert api.delete(f"/v1/keys/{mine['id']}", headers=admin).status_code == 204


def test_a_key_ends_when_it_expires(api: TestClient, admin: dict[str, str], tenant: Tenant):
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    key = made(api, admin, expires_at=soon)
    assert api.get("/v1/datasets", headers=bearer(key["key"])).status_code == 200
    with transaction(tenant.engine) as session:
        session.get_one(ApiKey, key["id"]).expires_at = datetime.now(UTC) - timedelta(seconds=1)
    assert api.get("/v1/datasets", headers=bearer(key["key"])).status_code == 401


@pytest.mark.parametrize("body", [
    {}, {"name": "k"}, {"name": "", "scopes": ["read"]}, {"name": "k", "scopes": []}, {"name": "k", "scopes": ["root"]},
    {"name": "k", "scopes": ["read", "read"]}, {"name": "k", "scopes": "read"}, {"name": 5, "scopes": ["read"]},
    {"name": "k", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, {"name": "k", "scopes": ["read"], "expires_at": 5},
    {"name": "k", "scopes": ["read"], "expires_at": "2030-01-01T00:00:00"}, {"name": "k", "scopes": ["read"], "expires_at": "9999"},
    {"name": "k", "scopes": ["read"], "expires_at": "9999-12-31T23:59:59-12:00"},
    {"name": "a\u0000b", "scopes": ["read"]}, {"name": "a\u202eb", "scopes": ["read"]}, {"name": "x" * 1_000, "scopes": ["read"]},
    {"name": "k", "scopes": ["read"], "digest": "x"}, {"name": "k", "scopes": ["read"], "project_id": "prj_x"},
])  # fmt: skip
def test_a_key_that_makes_no_sense_is_refused(api: TestClient, admin: dict[str, str], body: dict[str, Any]):
    assert api.post("/v1/keys", headers=admin, json=body).status_code == 422


@pytest.mark.parametrize("scopes", [("read",), ("read", "train", "review")])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", "/v1/keys/x"), ("GET", "/v1/projects")]
)
def test_only_an_admin_sees_keys(tenant: Tenant, api: TestClient, method: str, path: str, scopes: tuple[str, ...]):
    body = {"name": "k", "scopes": ["admin"]} if method == "POST" else None
    assert api.request(method, path, headers=bearer(tenant.key(*scopes)), json=body).status_code == 403


def test_an_admin_of_one_project_has_no_power_over_another(
    api: TestClient, admin: dict[str, str], operator: dict[str, str], stranger: Tenant
):
    wish = {"name": "k", "scopes": ["admin"], "project_id": stranger.id}
    assert api.post("/v1/keys", headers=admin, json=wish).status_code == 404
    foreign = stranger.key("read")
    (theirs,) = [
        row for row in api.get("/v1/keys", headers=bearer(stranger.key("admin"))).json()["items"]
        if foreign.startswith(row["prefix"])
    ]  # fmt: skip
    assert api.delete(f"/v1/keys/{theirs['id']}", headers=admin).status_code == 404
    assert api.post("/v1/projects", headers=admin, json={"name": new_id("name")}).status_code == 403
    assert [row["id"] for row in api.get("/v1/projects", headers=admin).json()["items"]] != [stranger.id]
    assert api.post("/v1/keys", headers=operator, json=wish).status_code == 201


def test_the_operator_makes_projects_with_keys_of_their_own(api: TestClient, operator: dict[str, str]):
    name = new_id("name")
    project = api.post("/v1/projects", headers=operator, json={"name": name})
    assert project.status_code == 201
    again = api.post("/v1/projects", headers=operator, json={"name": name})
    assert (again.status_code, again.json()["code"]) == (409, "project_exists")
    key = made(api, operator, scopes=["admin"], project_id=project.json()["id"])
    assert key["project_id"] == project.json()["id"]
    assert api.get("/v1/projects", headers=bearer(key["key"])).json()["items"] == [project.json()]


def test_keys_are_paged_without_gap_or_repeat(api: TestClient, admin: dict[str, str]):
    ids = {made(api, admin)["id"] for _ in range(5)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"/v1/keys?limit=2{cursor}", headers=admin).json()
        seen += [row["id"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen))
    assert ids <= set(seen)
    assert seen == sorted(seen, reverse=True)


def test_bootstrap_gives_one_key_and_no_second(settings: Settings, tenant: Tenant):
    assert tenant.key("read")
    assert bootstrap(settings) is None

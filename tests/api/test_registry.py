"""Versions are numbered without gaps, aliases move by compare-and-set, and every move is remembered."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from app.db import transaction
from app.tables import Artifact, Event
from tests.api.rows import BUNDLE, PUBLIC_URL, Tenant, register_job

ALIAS = "/v1/models/late-flights/aliases/champion"


def test_registration_makes_a_numbered_version_with_what_the_job_knew(tenant: Tenant):
    number = tenant.registered(tags={"team": "ops"}, description="first try")
    shown = tenant.get(f"/v1/models/late-flights/versions/{number}").json()
    assert shown["version"] == 1
    assert shown["bundle_digest"] == BUNDLE
    assert shown["metrics"]["test"]["roc_auc"]["value"] == 0.8
    assert (shown["tags"], shown["description"]) == ({"team": "ops"}, "first try")
    assert shown["aliases"] == ["candidate"]
    assert shown["url"] == f"{PUBLIC_URL}/v1/models/late-flights/versions/1"


def test_registration_announces_the_version_once(tenant: Tenant):
    job_id = tenant.job()
    for _ in range(2):
        with transaction(tenant.engine) as session:
            assert register_job(session, job_id, tenant.vault) == 1
    (said,) = tenant.events("model.version.registered")
    assert said == {
        "model": "late-flights", "version": 1, "job_id": job_id, "bundle_digest": BUNDLE,
            "receipt_digest": tenant.get("/v1/models/late-flights/versions/1/receipt").json()["digest"],
        "url": f"{PUBLIC_URL}/v1/models/late-flights/versions/1",
        "metrics": {"test": {"roc_auc": {"value": 0.8, "low": 0.78, "high": 0.82}}},
    }  # fmt: skip
    assert len(tenant.events("model.alias.moved")) == 1


def test_a_registration_that_is_rolled_back_leaves_nothing_and_frees_its_number(tenant: Tenant):
    job_id = tenant.job()
    with pytest.raises(ZeroDivisionError):
        _register_and_break(tenant, job_id)
    assert tenant.get("/v1/models").json()["items"] == []
    assert tenant.events("model.version.registered") == []
    assert tenant.registered() == 1


def _register_and_break(tenant: Tenant, job_id: str) -> None:
    with transaction(tenant.engine) as session:
        register_job(session, job_id, tenant.vault)
        raise ZeroDivisionError


def test_a_first_version_does_not_become_champion_by_being_first(tenant: Tenant):
    tenant.registered(aliases=[])
    assert tenant.get("/v1/models/late-flights").json()["aliases"] == {}


def test_registrations_at_once_get_numbers_without_gaps(tenant: Tenant):
    jobs = [tenant.job() for _ in range(40)]
    barrier = threading.Barrier(8)

    def worker(mine: list[str]) -> list[int]:
        barrier.wait()
        found = []
        for job_id in mine:
            with transaction(tenant.engine) as session:
                found.append(register_job(session, job_id, tenant.vault))
        return found

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for part in pool.map(worker, [jobs[start::8] for start in range(8)]) for number in part]
    assert sorted(numbers) == list(range(1, 41))
    assert len({said["job_id"] for said in tenant.events("model.version.registered")}) == 40
    assert tenant.get("/v1/models/late-flights").json()["latest_version"] == 40


def test_two_workers_that_register_the_same_job_make_one_version(tenant: Tenant):
    jobs = [tenant.job() for _ in range(500)]
    barrier = threading.Barrier(2)

    def enter_all() -> list[int]:
        return [_register(tenant, job_id, barrier) for job_id in jobs]

    with ThreadPoolExecutor(2) as pool:
        one, two = (future.result() for future in [pool.submit(enter_all) for _ in range(2)])
    assert one == two == list(range(1, 501)), "gap-free, whoever was first"
    with transaction(tenant.engine) as session:
        events = session.execute(
            select(Event.id, Event.job_id).where(
                Event.project_id == tenant.id, Event.type == "model.version.registered"
            )
        ).all()
    assert len({row.id for row in events}) == len({row.job_id for row in events}) == len(events) == 500


def _register(tenant: Tenant, job_id: str, barrier: threading.Barrier) -> int:
    barrier.wait(60)
    with transaction(tenant.engine) as session:
        return register_job(session, job_id, tenant.vault)


def test_an_alias_needs_a_precondition_to_move(tenant: Tenant):
    tenant.registered()
    answer = tenant.call("PUT", ALIAS, json={"version": 1, "reason": "first"})
    assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")
    answer = tenant.call("PUT", ALIAS, json={"version": 1}, headers={"If-Match": '"m0-0"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
    assert tenant.call("DELETE", ALIAS).status_code == 428


def test_an_alias_moves_by_its_own_tag_or_by_its_models(tenant: Tenant):
    for _ in range(3):
        tenant.registered()
    tag = tenant.get("/v1/models/late-flights").headers["etag"]
    made = tenant.call("PUT", ALIAS, json={"version": 1, "reason": "first"}, headers={"If-Match": tag})
    assert (made.status_code, made.json()["version"]) == (200, 1)
    moved = tenant.call("PUT", ALIAS, json={"version": 2}, headers={"If-Match": made.headers["etag"]})
    assert moved.json()["version"] == 2
    assert tenant.get(ALIAS).headers["etag"] == moved.headers["etag"] != made.headers["etag"]
    for stale in (tag, made.headers["etag"], f"W/{moved.headers['etag']}"):
        assert tenant.call("PUT", ALIAS, json={"version": 3}, headers={"If-Match": stale}).status_code == 412


def test_a_tag_is_never_valid_again_not_even_for_an_alias_made_anew(tenant: Tenant):
    tenant.registered()
    made = tenant.call("PUT", ALIAS, json={"version": 1}, headers={"If-Match": "*"})
    gone = tenant.call("DELETE", ALIAS, headers={"If-Match": made.headers["etag"]})
    assert (gone.status_code, gone.content) == (204, b"")
    assert tenant.get(ALIAS).status_code == 404
    again = tenant.call("PUT", ALIAS, json={"version": 1}, headers={"If-Match": "*"})
    assert again.headers["etag"] != made.headers["etag"]


def test_of_many_who_move_an_alias_from_the_same_tag_one_wins(tenant: Tenant):
    for _ in range(8):
        tenant.registered()
    tag = tenant.call("PUT", ALIAS, json={"version": 1}, headers={"If-Match": "*"}).headers["etag"]
    barrier = threading.Barrier(7)

    def move(version: int) -> int:
        barrier.wait()
        return tenant.call("PUT", ALIAS, json={"version": version}, headers={"If-Match": tag}).status_code

    with ThreadPoolExecutor(7) as pool:
        statuses = list(pool.map(move, range(2, 9)))
    assert sorted(statuses) == [200] + [412] * 6
    assert tenant.get(ALIAS).json()["version"] == statuses.index(200) + 2


def test_every_move_is_remembered_with_who_and_why(tenant: Tenant):
    tenant.registered(aliases=["candidate"])
    tenant.registered(aliases=["candidate"])
    tenant.call("PUT", ALIAS, json={"version": 1, "reason": "steady"}, headers={"If-Match": "*"})
    tenant.call("DELETE", ALIAS, headers={"If-Match": "*"})
    moves = tenant.get("/v1/models/late-flights/history").json()["items"]
    assert [(move["alias"], move["from_version"], move["to_version"]) for move in moves] == [
        ("champion", 1, None), ("champion", None, 1), ("candidate", 1, 2), ("candidate", None, 1),
    ]  # fmt: skip
    assert moves[1]["reason"] == "steady"
    assert moves[1]["moved_by"].startswith("key_")
    assert moves[2]["moved_by"].startswith("job_")
    assert len(tenant.events("model.alias.moved")) == 4


def test_moving_an_alias_to_where_it_is_leaves_no_trace(tenant: Tenant):
    tenant.registered()
    first = tenant.call("PUT", ALIAS, json={"version": 1}, headers={"If-Match": "*"})
    second = tenant.call("PUT", ALIAS, json={"version": 1}, headers={"If-Match": "*"})
    assert first.headers["etag"] == second.headers["etag"]
    assert len(tenant.events("model.alias.moved")) == 2


def test_an_alias_cannot_point_at_a_version_that_is_not_there(tenant: Tenant):
    tenant.registered()
    assert tenant.call("PUT", ALIAS, json={"version": 7}, headers={"If-Match": "*"}).status_code == 404
    assert tenant.call("DELETE", ALIAS, headers={"If-Match": "*"}).status_code == 404


@pytest.mark.parametrize("body", [{"version": 0}, {"version": "1"}, {"version": True}, {"version": 1.5}, {}, [], None,
                                  {"version": 2**31}, {"version": 1, "alias": "x"}, {"version": 1, "reason": "\x00"}])  # fmt: skip
def test_a_malformed_move_is_refused(tenant: Tenant, body: object):
    tenant.registered()
    answer = tenant.call("PUT", ALIAS, json=body, headers={"If-Match": "*"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_lists_are_paged_without_loss_or_repeat(tenant: Tenant):
    for index in range(5):
        tenant.registered(f"model-{index}")
        tenant.registered("many")
    for path, key, expected in [
        ("/v1/models", "name", ["many", *(f"model-{index}" for index in range(5))]),
        ("/v1/models/many/versions", "version", [5, 4, 3, 2, 1]),
        ("/v1/models/many/history", "to_version", [5, 4, 3, 2, 1]),
    ]:
        seen, cursor = [], None
        while True:
            page = tenant.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            seen += [item[key] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            assert len(page["items"]) == 2
        assert seen == expected


def test_a_cursor_of_another_list_is_refused(tenant: Tenant):
    for index in range(2):
        tenant.registered(f"model-{index}")
    cursor = tenant.get("/v1/models?limit=1").json()["next_cursor"]
    assert tenant.get("/v1/models/model-0/versions", params={"cursor": cursor}).status_code == 422


def test_the_card_says_what_a_person_asks_and_renders_no_foreign_markup(tenant: Tenant):
    number = tenant.registered(description="<script>alert(1)</script> [x](javascript:1)")
    answer = tenant.get(f"/v1/models/late-flights/versions/{number}/card")
    assert answer.headers["content-type"].startswith("text/markdown")
    assert "| roc\\_auc | 0.8 | 0.78 | 0.82 |" in answer.text
    assert "<script>" not in answer.text
    assert "](javascript" not in answer.text
    assert BUNDLE in answer.text


def test_lineage_names_the_job_the_sources_and_the_digests(tenant: Tenant):
    number = tenant.registered()
    shown = tenant.get(f"/v1/models/late-flights/versions/{number}/lineage").json()
    assert shown["sources"][0]["kind"] == "dataset"
    assert shown["sources"][0]["names"]["dataset_id"].startswith("ds_")
    assert shown["data_digest"] == "sha256:" + "a" * 64
    assert shown["review_id"] is None


def test_lineage_counts_how_often_the_same_test_rows_have_judged(tenant: Tenant):
    def judged(split: str, **given: Any) -> int:
        job_id = tenant.measured({"test_rows": 10}, **given)
        with transaction(tenant.engine) as session:
            for name, digest in (("snapshot", "sha256:s"), ("split", split)):
                session.add(Artifact(
                    job_id=job_id, name=name, stage="split", digest=digest, size_bytes=1, media_type="x/y"
                ))  # fmt: skip
            session.flush()
            return register_job(session, job_id, tenant.vault)

    one, two, other = judged("sha256:a"), judged("sha256:a"), judged("sha256:b")
    uses = [
        tenant.get(f"/v1/models/late-flights/versions/{number}/lineage").json()["test_set_uses"]
        for number in (one, two, other)
    ]
    assert uses == [2, 2, 1]


def test_the_bundle_is_a_redirect_to_the_stored_bytes(tenant: Tenant):
    number = tenant.registered()
    answer = tenant.get(f"/v1/models/late-flights/versions/{number}/bundle")
    assert answer.status_code == 302
    assert f"{tenant.id}/sha256/{'b' * 64}" in answer.headers["location"]


PATHS = [
    "/v1/models/{}", "/v1/models/{}/versions", "/v1/models/{}/versions/1", "/v1/models/{}/versions/1/card",
    "/v1/models/{}/versions/1/lineage", "/v1/models/{}/versions/1/bundle", "/v1/models/{}/history",
    "/v1/models/{}/aliases/candidate",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_another_projects_model_is_not_there(tenant: Tenant, stranger: Tenant, path: str):
    tenant.registered()
    assert tenant.get(path.format("late-flights")).status_code in {200, 302}
    assert stranger.get(path.format("late-flights")).status_code == 404
    assert stranger.get("/v1/models").json()["items"] == []


def test_another_projects_alias_cannot_be_moved(tenant: Tenant, stranger: Tenant):
    tenant.registered()
    assert stranger.call("PUT", ALIAS, json={"version": 1}, headers={"If-Match": "*"}).status_code == 404


@pytest.mark.parametrize(
    "name", ["%00", "a" * 5000, "..%2f..%2fetc", "%252e", "💥", "'; drop table models;--", "UPPER", "-"]
)
def test_a_strange_name_is_no_server_error(tenant: Tenant, name: str):
    for path in PATHS:
        assert tenant.get(path.format(name)).status_code in {404, 422}


@pytest.mark.parametrize("number", ["0", "-1", "1.0", "9" * 30, "latest", "１", "2147483648"])
def test_a_strange_version_is_no_server_error(tenant: Tenant, number: str):
    tenant.registered()
    assert tenant.get(f"/v1/models/late-flights/versions/{number}").status_code in {404, 422}


def test_reading_needs_read_and_moving_needs_train(tenant: Tenant):
    tenant.registered()
    reader = {"Authorization": f"Bearer {tenant.key('read')}"}
    trainer = {"Authorization": f"Bearer {tenant.key('train')}"}
    assert tenant.get("/v1/models", headers=trainer).status_code == 403
    assert tenant.call("PUT", ALIAS, json={"version": 1}, headers={**reader, "If-Match": "*"}).status_code == 403
    assert tenant.call("PUT", ALIAS, json={"version": 1}, headers={**trainer, "If-Match": "*"}).status_code == 200

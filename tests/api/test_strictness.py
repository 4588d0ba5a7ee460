"""What every answer carries, what is counted and logged, and that an answer never runs ahead of its commit."""

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import get_type_hints

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.orm import Session
from starlette.testclient import TestClient as PlainClient

from app import telemetry
from app.idempotency import Once
from app.main import ROUTERS, build
from app.openapi import rendered
from app.settings import Settings
from tests.api.rows import Tenant

PUBLISHED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_published_contract_is_the_one_that_is_served(api: TestClient):
    assert PUBLISHED.read_text(encoding="utf-8") == rendered(), "run: python -m app.openapi"
    assert api.get("/openapi.json").json() == json.loads(rendered())


def test_every_operation_has_an_id_a_tag_and_declared_refusals():
    document = json.loads(rendered())
    assert document["openapi"].startswith("3.1")
    operations = [(path, operation) for path, found in document["paths"].items() for operation in found.values()]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids)
    for path, operation in operations:
        assert operation["tags"], path
        assert operation.get("description"), path
        refused = {status for status in operation["responses"] if status >= "4"}
        assert refused, path
        assert ("401" in refused) == path.startswith("/v1"), path
    assert "job.succeeded" in document["webhooks"]


def test_the_contract_names_an_idempotency_key_where_one_is_taken():
    takes = {"upload_dataset"} | {  # keeps its answer itself: its body is too large to be a parameter
        route.operation_id for router in ROUTERS for route in router.routes
        if "POST" in route.methods and Once in get_type_hints(route.endpoint).values()
    }  # fmt: skip
    said = {
        operation["operationId"] for path in json.loads(rendered())["paths"].values() for operation in path.values()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
    }  # fmt: skip
    assert said == takes


@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/models", "/v1/keys", "/v1/jobs/job_x", "/livez"])
def test_a_label_is_a_parameter_only_where_it_filters(tenant: Tenant, path: str):
    answer = tenant.get(f"{path}?label.team=ops")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")
    hint = tenant.get("/v1/jobs?labels=x").json()["hint"]
    assert "label.KEY" in hint


@pytest.mark.parametrize("media", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_that_does_not_say_it_is_json_is_told_to(tenant: Tenant, media: str | None):
    headers = {} if media is None else {"Content-Type": media}
    answer = tenant.call("POST", "/v1/jobs", content=b'{"model": "m"}', headers=headers)
    said = answer.json()
    assert (answer.status_code, said["code"], said["errors"][0]["pointer"]) == (422, "not_json", "/header/content-type")
    assert "application/json" in said["hint"]
    assert (media or "without") in said["detail"]


def test_the_page_needs_no_other_host(api: TestClient):
    page = api.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f"/docs/{asset}" in page.text
        assert len(api.get(f"/docs/{asset}").content) > 500
    assert api.get("/docs/other.js").status_code == 404


@pytest.mark.parametrize("path", ["/livez", "/v1/datasets", "/nowhere", "/docs"])
def test_every_answer_has_an_id_and_is_not_to_be_guessed_at(api: TestClient, path: str):
    headers = api.get(path).headers
    assert headers["x-request-id"].startswith("req_")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("given", "kept"), [
    ("abc-123", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("<script>", False), ("a\u00e9", False), ("", False),
])  # fmt: skip
def test_a_callers_request_id_is_kept_where_it_is_harmless(api: TestClient, given: str, kept):
    answer = api.get("/v1/datasets", headers={"X-Request-Id": given.encode()})  # type: ignore[dict-item]
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(("host", "status"), [
    ("api.example.com", 200), ("API.example.com:8000", 200), ("a.b.example.org", 200), ("evil.com", 400), ("example.org.evil.com", 400),
    ("example.org", 400), ("", 400),
])  # fmt: skip
def test_a_foreign_host_is_refused(settings: Settings, host: str, status: int):
    strict = settings.model_copy(update={"allowed_hosts": "api.example.com, *.example.org"})
    with PlainClient(build(strict)) as client:
        assert client.get("/livez", headers={"Host": host}).status_code == status


def test_forwarded_headers_change_nothing(tenant: Tenant):
    headers = {"X-Forwarded-Host": "evil.com", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"}
    answer = tenant.post("/v1/datasets/presign", {"filename": "a.csv"}, headers=headers)
    assert "evil.com" not in answer.text + str(answer.headers)


def test_ready_means_database_and_store(api: TestClient, settings: Settings):
    assert api.get("/readyz").json() == {"status": "ok", "parts": {"database": "ok", "store": "ok"}}
    without = settings.model_copy(update={"s3_bucket": "no-such-bucket"})
    with PlainClient(build(without)) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["parts"]) == (503, {"database": "ok", "store": "unavailable"})
        assert client.get("/livez").status_code == 200


def test_a_database_that_is_away_is_503_and_says_when_to_come_back(settings: Settings, tenant: Tenant):
    away = settings.model_copy(update={"database_url": type(settings.database_url)("postgresql://x@127.0.0.1:1/x")})
    with PlainClient(build(away), raise_server_exceptions=False) as client:
        answer = client.get("/v1/datasets", headers=tenant.headers)
        assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (
            503,
            "database_unavailable",
            True,
        )
        assert int(answer.headers["retry-after"]) >= 1


def test_metrics_name_routes_and_no_tenant(tenant: Tenant, api: TestClient):
    dataset_id = tenant.call("POST", "/v1/datasets", files={"file": ("a.csv", b"a\n1\n")}).json()["id"]
    tenant.get(f"/v1/datasets/{dataset_id}")
    text = api.get("/metrics").text
    assert 'route="/v1/datasets/{dataset_id}",status="200"' in text
    assert "trainhouse_http_request_duration_seconds_bucket" in text
    assert dataset_id not in text
    assert tenant.id not in text


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("authorization", "Bearer x", "[secret]"), ("password", "x", "[secret]"), ("s3_secret_key", "x", "[secret]"),
    ("path", "/v1/jobs", "/v1/jobs"), ("error", "key th_live_abc_def is bad", "key [secret] is bad"),
    ("error", "whsec_AbC+/= leaked", "[secret] leaked"), ("error", "postgresql://u:p@h/d", "postgresql[secret]h/d"),
    ("attempts", 3, 3),
])  # fmt: skip
def test_a_secret_does_not_reach_the_log(name: str, value: object, shown: object):
    assert telemetry.without_secrets(logging.getLogger(), "info", {name: value}) == {name: shown}


def test_the_log_has_one_line_a_request_without_the_query(tenant: Tenant, capsys: pytest.CaptureFixture[str]):
    tenant.get("/v1/datasets?limit=3")
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"request"' in line]
    assert (line["route"], line["status"], line["method"]) == ("/v1/datasets", 200, "GET")
    assert "limit" not in json.dumps(line)
    assert "th_live" not in json.dumps(line)


@contextmanager
def failing_commits() -> Iterator[None]:
    """Every commit fails at its last moment."""

    def fail(_session: Session) -> None:
        raise ConnectionResetError

    event.listen(Session, "before_commit", fail)
    try:
        yield
    finally:
        event.remove(Session, "before_commit", fail)


def test_an_answer_never_runs_ahead_of_its_commit(tenant: Tenant):
    with failing_commits():
        assert tenant.post("/v1/datasets/presign", {"filename": "a.csv"}).status_code == 500
    assert tenant.get("/v1/datasets").json()["items"] == []


def test_fifty_requests_at_once_with_one_key_do_one_thing(tenant: Tenant):
    barrier = threading.Barrier(10)

    def ask(_: int) -> tuple[int, str]:
        barrier.wait()
        answer = tenant.post("/v1/datasets/presign", {"filename": "a.csv"}, headers={"Idempotency-Key": "fifty"})
        return answer.status_code, answer.json().get("dataset_id", "")

    with ThreadPoolExecutor(10) as pool:
        answers = [answer for _ in range(5) for answer in pool.map(ask, range(10))]
    assert {status for status, _ in answers} <= {201, 409}
    assert len({made for status, made in answers if status == 201}) == 1
    assert len(tenant.get("/v1/datasets").json()["items"]) == 1


def test_the_same_key_of_another_project_is_another_key(tenant: Tenant, stranger: Tenant):
    headers = {"Idempotency-Key": "shared"}
    first, second = (
        one.post("/v1/datasets/presign", {"filename": "a.csv"}, headers=headers) for one in (tenant, stranger)
    )
    assert first.json()["dataset_id"] != second.json()["dataset_id"]


def test_a_refused_request_leaves_its_key_free(tenant: Tenant):
    headers = {"Idempotency-Key": "second-try"}
    assert tenant.post("/v1/datasets/presign", {"filename": "a.xls"}, headers=headers).status_code == 422
    assert tenant.post("/v1/datasets/presign", {"filename": "a.csv"}, headers=headers).status_code == 201


def test_many_more_callers_than_connections_are_all_served(tenant: Tenant):
    with ThreadPoolExecutor(80) as pool:
        answers = list(pool.map(lambda _: tenant.get("/v1/datasets").status_code, range(240)))
    assert set(answers) == {200}

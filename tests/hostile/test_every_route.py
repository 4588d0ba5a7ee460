"""Whatever is sent to whichever route: a problem document says what is wrong, and it is never the service's fault."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import build
from app.openapi import NOWHERE
from app.secrets import new_api_key
from app.settings import Settings
from tests.api.rows import Tenant

CONTRACT = build(Settings.model_validate(NOWHERE)).openapi()
OPEN = {"/livez", "/readyz", "/metrics"}
OPERATIONS = [
    (method.upper(), path)
    for path, operations in CONTRACT["paths"].items() if path not in OPEN
    for method in operations
]  # fmt: skip
WITH_ID = [(method, path) for method, path in OPERATIONS if "{" in path]
WITH_BODY = [
    (method.upper(), path)
    for path, operations in CONTRACT["paths"].items()
    for method, operation in operations.items()
    if "application/json" in operation.get("requestBody", {}).get("content", {})
]  # fmt: skip
LISTS = [(method, path) for method, path in OPERATIONS if method == "GET" and not path.endswith("}")]

IDS = [
    "x", "0", "-1", "00000000-0000-0000-0000-000000000000", "%00", "a%00b", "'%20or%201=1--", "%27;drop%20table%20jobs;--",
    "..%2f..%2fetc%2fpasswd", "%252e%252e%252f", "%2e%2e", "JOB_" + "0" * 26, "{0.__class__}", "${jndi:ldap://x}", "%F0%9F%92%A9",
    "%E2%80%AEx", "%ff", "a" * 5_000, "9" * 30, "1e5", "%0d%0aX:y", "~", "*",
]  # fmt: skip
BODIES: list[tuple[str, bytes, set[int]]] = [
    ("nothing", b"", {422}), ("null", b"null", {422}), ("a list", b"[]", {422}), ("a text", b'"x"', {422}), ("a number", b"5", {422}),
    ("an open brace", b"{", {400}), ("trailing garbage", b"{} x", {400}), ("NaN", b'{"a":NaN}', {400}), ("1e400", b'{"a":1e400}', {400}),
    ("2^63", b'{"a":9223372036854775808}', {400}), ("a duplicate key", b'{"a":1,"a":2}', {400}), ("depth", b"[" * 100_000, {413}),
    ("UTF-16", '{"a":1}'.encode("utf-16"), {400}), ("a byte order mark", b"\xef\xbb\xbf{}", {400}), ("10 MB", b" " * 10_000_000, {413}),
    ("a lone surrogate", b'{"name":"\\ud800","reason":"\\ud800","model":"\\ud800"}', {400, 422}),
    ("a lone surrogate for a key", rb'{"\ud800":1}', {400, 422}), ("two of them", rb'{"\ud800":1,"\ud800":2}', {400}),
    ("a NUL", b'{"name":"a\\u0000b","reason":"a\\u0000b","model":"a\\u0000b"}', {422}),
    ("a million characters", b'{"name":"' + b"x" * 1_000_000 + b'"}', {413}), ("an unknown field", b'{"tenant_id":"x"}', {422}),
    ("a field of another", b'{"status":"succeeded","attempt":0}', {422}), ("a long unknown field", b'{"' + b"k" * 100_000 + b'":1}', {422}),
]  # fmt: skip
CREDENTIALS: list[list[tuple[str, str]]] = [
    [], [("Authorization", "")], [("Authorization", "Bearer")], [("Authorization", "Bearer ")], [("Authorization", "Basic eDp5")],
    [("Authorization", "Bearer nonsense")], [("Authorization", "Bearer " + "a" * 100_000)],
    [("Authorization", "Bearer " + new_api_key().text)], [("X-Api-Key", new_api_key().text)], [("Authorization", new_api_key().text)],
]  # fmt: skip


@pytest.fixture
def admin(tenant: Tenant) -> dict[str, str]:
    return {"Authorization": f"Bearer {tenant.key('admin')}"}


def filled(path: str, value: str) -> str:
    """The path with each of its parameters replaced by `value`."""
    steps = [value if step.startswith("{") else step for step in path.split("/")]
    return "/".join(steps)


def check(answer: Any, expected: set[int]) -> None:
    assert answer.status_code in expected, (
        answer.request.method,
        str(answer.request.url)[:100],
        answer.status_code,
        answer.text[:300],
    )
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["code"]
    assert "Traceback" not in answer.text
    assert "select " not in answer.text.lower()
    assert len(answer.content) < 64_000


@pytest.mark.parametrize("value", IDS, ids=range(len(IDS)))
def test_an_id_that_nobody_was_given_is_not_found(api: TestClient, admin: dict[str, str], value: str):
    for method, path in WITH_ID:
        headers = admin | {"If-Match": '"1"'}
        answer = api.request(
            method, filled(path, value), headers=headers, json={} if (method, path) in WITH_BODY else None
        )
        check(answer, {404, 405, 422})


@pytest.mark.parametrize(("body", "expected"), [body[1:] for body in BODIES], ids=[body[0] for body in BODIES])
def test_a_body_that_is_none_is_refused(api: TestClient, admin: dict[str, str], body: bytes, expected: set[int]):
    for method, path in WITH_BODY:
        headers = admin | {"Content-Type": "application/json", "If-Match": '"1"'}
        check(api.request(method, filled(path, "x"), headers=headers, content=body), expected | {404})


@pytest.mark.parametrize(
    "media", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/json; charset=x", ""]
)
def test_a_body_of_another_type_is_refused(api: TestClient, admin: dict[str, str], media: str):
    for method, path in WITH_BODY:
        answer = api.request(method, filled(path, "x"), headers=admin | {"Content-Type": media}, content=b"\x00<x/>")
        check(answer, {400, 404, 415, 422})


@pytest.mark.parametrize("headers", CREDENTIALS, ids=range(len(CREDENTIALS)))
def test_nobody_gets_in_without_a_key(api: TestClient, headers: list[tuple[str, str]]):
    seen = set()
    for method, path in OPERATIONS:
        answer = api.request(
            method, filled(path, "x"), headers=headers, json={} if (method, path) in WITH_BODY else None
        )
        check(answer, {401})
        seen.add((answer.json()["detail"], answer.headers["www-authenticate"]))
    assert len(seen) == 1


def test_two_keys_are_no_key(api: TestClient, admin: dict[str, str]):
    twice = [("Authorization", admin["Authorization"])] * 2
    for method, path in OPERATIONS:
        check(
            api.request(method, filled(path, "x"), headers=twice, json={} if (method, path) in WITH_BODY else None),
            {401},
        )


@pytest.mark.parametrize("change", [
    lambda key: key[:-1], lambda key: key + "x", lambda key: key.lower(), lambda key: key[:20] + "0" * 43 + key[-6:], lambda key: key + "\t",
    lambda key: key.replace("live", "test"), lambda key: f'"{key}"',
])  # fmt: skip
def test_a_key_that_is_nearly_right_is_wrong(api: TestClient, tenant: Tenant, change: Any):
    key = tenant.key("admin")
    assert api.get("/v1/datasets", headers={"Authorization": f"bearer {key}"}).status_code == 200
    check(api.get("/v1/datasets", headers={"Authorization": f"Bearer  {change(key)}"}), {401})
    wrong = change(key)
    if wrong.strip() != key:
        check(api.get("/v1/datasets", headers={"Authorization": f"Bearer {wrong}"}), {401})


def test_a_key_in_the_query_is_an_unknown_parameter_and_no_key(api: TestClient, tenant: Tenant):
    check(api.get(f"/v1/datasets?api_key={tenant.key('admin')}"), {400, 401})


READING = ("/test", "/replay", "/erasure-impact")
"""Operations that are asked by POST and change nothing."""


def test_who_may_only_read_changes_nothing(api: TestClient, tenant: Tenant):
    reader = {"Authorization": f"Bearer {tenant.key('read')}"}
    for method, path in OPERATIONS:
        if method == "GET" or path.endswith(READING):
            continue
        answer = api.request(
            method, filled(path, "x"), headers=reader, json={} if (method, path) in WITH_BODY else None
        )
        check(answer, {403})


@pytest.mark.parametrize("query", [
    "limit=-1", "limit=0", "limit=1000000000", "limit=x", "limit=1.5", "limit=", "cursor=x", "cursor=%22", "cursor=" + "A" * 600,
    "cursor=WyJhIl0", "cursor=e30=", "cursor=W10=", "cursor=WzFd", "cursor=WyJcdTAwMDAiXQ==", "cursor=W251bGxd", "cursor=WyJcdWQ4MDAiXQ==", "cursor=WzQ2MTE2ODYwMTg0MjczODc5MDNd", "cursor=W1tbW11dXV0=",
    "unknown=1", "sort=;--", "limit=5&x[]=1", "%00=1", "limit=%00", "created_after=9999-99-99", "=", "&&x=%ff",
])  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(api: TestClient, admin: dict[str, str], query: str):
    for method, path in LISTS:
        answer = api.request(method, f"{filled(path, 'x')}?{query}", headers=admin)
        check(answer, {400, 404, 422} if (method, path) in WITH_ID else {400, 422})


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "X" * 1_000, "PATCH", "PUT"])
def test_a_method_that_no_route_has_is_refused(api: TestClient, admin: dict[str, str], method: str):
    check(api.request(method, "/v1/datasets", headers=admin | {"X-HTTP-Method-Override": "GET"}), {405})


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "x" * 10_240, "a\tb", "\u00e9", '""'])
def test_an_idempotency_key_that_is_none_is_refused(api: TestClient, tenant: Tenant, key: str):
    headers = tenant.headers | {"Idempotency-Key": key.encode()}  # type: ignore[dict-item]
    check(api.post("/v1/datasets/presign", headers=headers, json={"filename": "a.csv"}), {422})


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v1/datasets/", "/v2/datasets", "/V1/datasets", "//v1/datasets", "/.env", "/v1/%2e%2e/livez"],
)
def test_a_path_that_is_none_is_not_found(api: TestClient, admin: dict[str, str], path: str):
    check(api.get(path, headers=admin), {404})


@pytest.mark.parametrize("name", [
    "../../etc/passwd", "..\\..\\", "%252e%252e%252f", "a/../b", "/abs", "C:\\", "${jndi:x}", "{{7*7}}", "{0.__class__}", "CON\u0000",
    "a\u202eb", "a\u200bb", "x" * 1_000_000,
])  # fmt: skip
def test_a_name_is_a_name_and_nothing_more(api: TestClient, admin: dict[str, str], name: str):
    wish = {"name": name, "kind": "s3", "config": {"endpoint": "s3.example.com"}}
    answer = api.post("/v1/connections", headers=admin, json=wish)
    check(answer, {413, 422})
    assert len(answer.content) < 10_000

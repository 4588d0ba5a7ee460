"""A connection keeps its secret to itself, leads nowhere inside, and says what came of trying it."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import make_url, select
from starlette.testclient import TestClient as PlainClient

from app.db import transaction
from app.main import build
from app.settings import Settings
from app.tables import Connection
from standalone.engines import Engines
from tests.api.rows import Tenant
from tests.mariadb import MariaDB
from tests.wire import Answer, listening, offering, saying

LAKE = {
    "name": "lake", "kind": "s3", "config": {"endpoint": "minio.example.com:9000"},
    "secret": {"access_key": "AKEXAMPLE1", "secret_key": "very-secret-key"},
}  # fmt: skip
WAREHOUSE = {
    "name": "warehouse", "kind": "postgres", "config": {"host": "db.example.com", "database": "sales", "user": "reader"},
    "secret": {"password": "very-secret-password"},
}  # fmt: skip


SHOP = {
    "name": "shop", "kind": "mysql", "config": {"host": "db.example.com", "database": "orders", "user": "reader"},
    "secret": {"password": "very-secret-password"},
}  # fmt: skip
EXPORTS = {
    "name": "exports", "kind": "http", "config": {"host": "exports.example.com:8443"}, "secret": {"token": "very-secret-token"},
}  # fmt: skip
SENSORS = {"name": "sensors", "kind": "sqlite", "config": {"file": "sensors.db"}}


@pytest.fixture(scope="module")
def inside(settings: Settings) -> Iterator[PlainClient]:
    """An API whose operator allows loopback."""
    with PlainClient(build(settings.model_copy(update={"egress_allow": "127.0.0.0/8"}))) as made:
        yield made


@pytest.fixture(scope="module")
def closed(settings: Settings) -> Iterator[PlainClient]:
    """An API whose operator allows no range."""
    with PlainClient(build(settings.model_copy(update={"egress_allow": ""}))) as made:
        yield made


@pytest.fixture
def admin(tenant: Tenant) -> dict[str, str]:
    return {"Authorization": f"Bearer {tenant.key('admin')}"}


def tried(client: PlainClient, admin: dict[str, str], wish: dict[str, Any]) -> dict[str, Any]:
    """What came of making the connection and testing it."""
    made = client.post("/v1/connections", headers=admin, json=wish)
    assert made.status_code == 201, made.text
    answer = client.post(f"/v1/connections/{wish['name']}/test", headers=admin)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("wish", [LAKE, WAREHOUSE, SHOP, EXPORTS])
def test_a_secret_is_sealed_and_never_shown(
    api: TestClient, tenant: Tenant, admin: dict[str, str], wish: dict[str, Any]
):
    made = api.post("/v1/connections", headers=admin, json=wish)
    assert made.status_code == 201
    assert made.json()["has_secret"] is True
    shown = (
        made.text
        + api.get("/v1/connections", headers=admin).text
        + api.get(made.headers["location"], headers=admin).text
    )
    with transaction(tenant.engine) as session:
        row = session.scalars(select(Connection).where(Connection.project_id == tenant.id)).one()
    for secret in wish["secret"].values():
        assert secret not in shown
        assert secret not in str(row.config)
        assert secret.encode() not in (row.sealed_secret or b"")
    assert tenant.vault.unseal_mapping(row.sealed_secret) == wish["secret"]


def test_a_refused_secret_is_not_echoed(api: TestClient, admin: dict[str, str]):
    wish = {**WAREHOUSE, "secret": {"password": "very-secret-password", "other": "another-secret"}}
    refused = api.post("/v1/connections", headers=admin, json=wish)
    assert refused.status_code == 422
    assert "very-secret" not in refused.text
    assert "another-secret" not in refused.text
    assert refused.json()["errors"][0]["pointer"] == "/secret/other"


def test_a_name_is_taken_until_it_is_removed(api: TestClient, admin: dict[str, str]):
    assert api.post("/v1/connections", headers=admin, json=LAKE).status_code == 201
    again = api.post("/v1/connections", headers=admin, json=LAKE)
    assert (again.status_code, again.json()["code"]) == (409, "connection_exists")
    assert api.delete("/v1/connections/lake", headers=admin).status_code == 204
    assert api.delete("/v1/connections/lake", headers=admin).status_code == 404
    assert api.post("/v1/connections", headers=admin, json=LAKE).status_code == 201


@pytest.mark.parametrize("host", [
    "127.0.0.1", "localhost", "0", "0x7f000001", "127.1", "::1", "[::1]", "169.254.169.254", "10.0.0.1", "/var/run/postgresql",
    "a,b", "host=evil", "db.example.com/x", "http://db.example.com", "user@db.example.com", "db.example.com:5432", "", "@abstract",
    "db\u0000x", "x" * 300,
])  # fmt: skip
def test_a_database_that_is_inside_or_no_host_is_refused(closed: PlainClient, admin: dict[str, str], host: str):
    config = WAREHOUSE["config"] | {"host": host}
    refused = closed.post("/v1/connections", headers=admin, json=WAREHOUSE | {"config": config})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/config/host"


@pytest.mark.parametrize("endpoint", [
    "127.0.0.1:9000", "localhost:9000", "[::1]:9000", "169.254.169.254", "http://minio.example.com", "minio.example.com/x",
    "minio.example.com:0", "minio.example.com:99999", "a@minio.example.com", "minio example", "", "2130706433:80",
])  # fmt: skip
def test_a_store_that_is_inside_or_no_host_is_refused(closed: PlainClient, admin: dict[str, str], endpoint: str):
    refused = closed.post("/v1/connections", headers=admin, json=LAKE | {"config": {"endpoint": endpoint}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/config/endpoint"


@pytest.mark.parametrize(("change", "pointer"), [
    ({"kind": "mssql"}, "/kind"), ({"kind": "file"}, "/kind"), ({"kind": None}, "/kind"), ({"name": "../x"}, "/name"),
    ({"name": ""}, "/name"), ({"url": "postgresql://x"}, "/url"), ({"config": {}}, "/config/host"),
    ({"config": WAREHOUSE["config"] | {"options": "-c x"}}, "/config/options"),
    ({"config": WAREHOUSE["config"] | {"sslkey": "~/.ssh/id"}}, "/config/sslkey"),
    ({"config": WAREHOUSE["config"] | {"port": "5432"}}, "/config/port"), ({"config": WAREHOUSE["config"] | {"port": 0}}, "/config/port"),
    ({"config": WAREHOUSE["config"] | {"sslmode": "verify"}}, "/config/sslmode"), ({"secret": "a string"}, "/secret"),
    ({"secret": {"password": ""}}, "/secret/password"), ({"secret": {"password": "a\u0000b"}}, "/secret/password"),
])  # fmt: skip
def test_a_fault_is_pointed_at_where_it_is(
    api: TestClient, admin: dict[str, str], change: dict[str, Any], pointer: str
):
    refused = api.post("/v1/connections", headers=admin, json=WAREHOUSE | change)
    assert refused.status_code == 422
    assert pointer in [fault["pointer"] for fault in refused.json()["errors"]]


def test_a_store_that_lets_us_in_says_so(inside: PlainClient, admin: dict[str, str], settings: Settings):
    config = {"endpoint": settings.s3_endpoint, "secure": False}
    secret = {
        "access_key": settings.s3_access_key.get_secret_value(),
        "secret_key": settings.s3_secret_key.get_secret_value(),
    }
    assert tried(inside, admin, LAKE | {"config": config, "secret": secret})["ok"]
    named = tried(
        inside, admin, LAKE | {"name": "b", "config": config | {"bucket": settings.s3_bucket}, "secret": secret}
    )
    assert named["ok"]
    missing = tried(
        inside, admin, LAKE | {"name": "c", "config": config | {"bucket": "no-such-bucket"}, "secret": secret}
    )
    assert (missing["ok"], missing["code"]) == (False, "source_refused")


def test_a_store_that_refuses_the_key_says_so_without_it(
    inside: PlainClient, admin: dict[str, str], settings: Settings
):
    found = tried(inside, admin, LAKE | {"config": {"endpoint": settings.s3_endpoint, "secure": False}})
    assert (found["ok"], found["code"]) == (False, "source_refused")
    assert "very-secret" not in str(found)


def test_a_database_that_lets_us_in_says_so(
    inside: PlainClient, admin: dict[str, str], settings: Settings, engines: Engines
):  # fmt: skip
    with psycopg.connect(engines.postgres.admin_url, autocommit=True) as owner:
        owner.execute("create role let_in login password 'reads'")
    url = make_url(settings.database_url.get_secret_value())
    config = {"host": "127.0.0.1", "port": url.port, "database": "postgres", "user": "let_in", "sslmode": "disable"}
    wish = {"name": "other", "kind": "postgres", "config": config, "secret": {"password": "reads"}}
    assert tried(inside, admin, wish)["detail"].startswith("Postgres ")
    nowhere = tried(inside, admin, wish | {"name": "nowhere", "config": config | {"database": "no_such_database"}})
    assert (nowhere["ok"], nowhere["code"]) == (False, "source_refused")
    power = {
        "config": config | {"user": "postgres"},
        "secret": {"password": engines.postgres.secrets["postgres_admin"]},
    }
    assert tried(inside, admin, wish | power | {"name": "power"})["code"] == "too_powerful"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_services_own_database_is_refused(
    inside: PlainClient, admin: dict[str, str], settings: Settings, host: str
):  # fmt: skip
    url = make_url(settings.database_url.get_secret_value())
    config = {"host": host, "port": url.port, "database": url.database, "user": "nobody"}
    refused = inside.post("/v1/connections", headers=admin, json=WAREHOUSE | {"config": config})
    assert (refused.status_code, refused.json()["code"]) == (422, "own_database")
    assert refused.json()["errors"][0]["pointer"] == "/config/database"


def test_an_engine_that_does_not_answer_is_unavailable(inside: PlainClient, admin: dict[str, str]):
    database = WAREHOUSE["config"] | {"host": "127.0.0.1", "port": 1}
    assert tried(inside, admin, WAREHOUSE | {"config": database})["code"] == "source_unavailable"
    assert (
        tried(inside, admin, LAKE | {"config": {"endpoint": "127.0.0.1:1", "secure": False}})["code"]
        == "source_unavailable"
    )


def test_another_project_sees_none_of_it(api: TestClient, admin: dict[str, str], stranger: Tenant):
    assert api.post("/v1/connections", headers=admin, json=LAKE).status_code == 201
    foreign = {"Authorization": f"Bearer {stranger.key('admin')}"}
    assert api.get("/v1/connections", headers=foreign).json()["items"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test")):
        assert api.request(method, f"/v1/connections/lake{path}", headers=foreign).status_code == 404
    assert api.post("/v1/connections", headers=foreign, json=LAKE).status_code == 201


@pytest.mark.parametrize(("wish", "change", "pointer"), [
    (SHOP, {"config": SHOP["config"] | {"host": "/var/run/mysqld"}}, "/config/host"),
    (SHOP, {"config": SHOP["config"] | {"local_infile": True}}, "/config/local_infile"),
    (SHOP, {"config": SHOP["config"] | {"unix_socket": "/x"}}, "/config/unix_socket"),
    (SHOP, {"config": SHOP["config"] | {"ca": "/etc/passwd"}}, "/config/ca"),
    (SENSORS, {"config": {"file": "../sensors.db"}}, "/config/file"), (SENSORS, {"config": {"file": "/etc/passwd"}}, "/config/file"),
    (SENSORS, {"config": {"file": ":memory:"}}, "/config/file"), (SENSORS, {"config": {"file": "x.db?mode=rwc"}}, "/config/file"),
    (SENSORS, {"secret": {"password": "x"}}, "/secret"),
    (EXPORTS, {"config": {"host": "https://exports.example.com"}}, "/config/host"), (EXPORTS, {"config": {"host": "a.com/x"}}, "/config/host"),
    (EXPORTS, {"config": EXPORTS["config"] | {"header": "Host"}}, "/config/header"),
    (EXPORTS, {"config": EXPORTS["config"] | {"header": "X: y"}}, "/config/header"),
    (EXPORTS, {"secret": {"token": "a\r\nX: y"}}, "/secret/token"), (EXPORTS, {"secret": {"token": "é"}}, "/secret/token"),
    (EXPORTS, {"secret": {}}, "/secret"), (EXPORTS, {"secret": {"token": "a", "value": "b"}}, "/secret"),
    (EXPORTS, {"secret": None}, "/secret"),
])  # fmt: skip
def test_a_fault_of_the_other_kinds_is_pointed_at_too(
    api: TestClient, admin: dict[str, str], wish: dict[str, Any], change: dict[str, Any], pointer: str
):  # fmt: skip
    refused = api.post("/v1/connections", headers=admin, json=wish | change)
    assert refused.status_code == 422
    assert pointer in [fault["pointer"] for fault in refused.json()["errors"]]


@pytest.mark.parametrize("wish", [SHOP, EXPORTS])
def test_no_kind_of_connection_leads_inside(closed: PlainClient, admin: dict[str, str], wish: dict[str, Any]):
    for host in ("127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1"):
        refused = closed.post("/v1/connections", headers=admin, json=wish | {"config": wish["config"] | {"host": host}})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/config/host")


def test_a_mariadb_that_lets_us_in_says_so(inside: PlainClient, admin: dict[str, str], mariadb: MariaDB):
    with mariadb.admin() as owner, owner.cursor() as cursor:
        cursor.execute("create or replace database tested")
        cursor.execute("create or replace user tester@'127.0.0.1' identified by 'reads'")
        cursor.execute("grant select on tested.* to tester@'127.0.0.1'")
    config = {"host": "127.0.0.1", "port": mariadb.port, "database": "tested", "user": "tester"}
    wish = SHOP | {"config": config, "secret": {"password": "reads"}}
    assert tried(inside, admin, wish)["detail"].startswith("MariaDB ")
    power = {"config": config | {"user": "root"}, "secret": {"password": mariadb.password}}
    assert tried(inside, admin, wish | power | {"name": "power"})["code"] == "too_powerful"
    wrong = tried(inside, admin, wish | {"name": "wrong", "secret": {"password": "very-secret"}})
    assert (wrong["ok"], wrong["code"], "very-secret" in str(wrong)) == (False, "source_refused", False)
    nobody = tried(inside, admin, wish | {"name": "nobody", "config": config | {"port": 1}})
    assert nobody["code"] == "source_unavailable"


def test_a_sqlite_file_needs_a_folder_of_the_operators(inside: PlainClient, admin: dict[str, str]):
    assert tried(inside, admin, SENSORS)["code"] == "sqlite_off"


@pytest.mark.parametrize(("answer", "code"), [
    (offering(b"hello"), None), (saying("401 No", b""), "not_authorised"), (saying("302 Found", b""), "redirected"),
    (saying("404 None", b""), "not_there"), (saying("503 Busy", b""), "source_unavailable"),
])  # fmt: skip
def test_a_server_of_files_is_asked_with_its_token(
    inside: PlainClient, admin: dict[str, str], answer: Answer, code: str | None
):  # fmt: skip
    with listening(answer) as server:
        config = {"host": server.url.removeprefix("http://"), "secure": False, "path": "/ready"}
        assert tried(inside, admin, EXPORTS | {"config": config})["code"] == code
    assert server.heard[0].startswith(b"GET /ready HTTP/1.1\r\n")
    assert b"Authorization: Bearer very-secret-token\r\n" in server.heard[0]

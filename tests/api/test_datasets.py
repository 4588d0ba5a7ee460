"""A file becomes a verified blob and a row; what is no file of data is refused before anything is kept."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import urllib3
from fastapi.testclient import TestClient
from starlette.testclient import TestClient as PlainClient

from app.db import transaction
from app.errors import DatabaseUnavailable
from app.main import build
from app.settings import Settings
from app.tables import Artifact
from tests.api.rows import Tenant

CSV = b"late,distance\n1,100\n0,20\n"


def upload(tenant: Tenant, content: bytes = CSV, name: str = "flights.csv", **rest: Any) -> Any:
    return tenant.call("POST", "/v1/datasets", files={"file": (name, content)}, **rest)


def put(url: str, content: bytes) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("PUT", url, body=content).status


def test_an_uploaded_file_is_kept_under_its_digest(tenant: Tenant, api: TestClient):
    answer = upload(tenant, data={"name": "flights of 2013"})
    said = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/datasets/{said['id']}"
    assert said["digest"] == "sha256:" + hashlib.sha256(CSV).hexdigest()
    assert (said["name"], said["filename"], said["format"], said["bytes"]) == (
        "flights of 2013",
        "flights.csv",
        "csv",
        len(CSV),
    )
    assert (said["status"], said["rows"], said["columns"]) == ("ready", None, None)
    assert api.app.state.store.size(tenant.id, said["digest"]) == len(CSV)
    assert tenant.get(f"/v1/datasets/{said['id']}").json() == said
    assert tenant.get("/v1/datasets").json()["items"] == [said]


@pytest.mark.parametrize(("name", "format_"), [
    ("a.csv", "csv"), ("a.CSV", "csv"), ("a.csv.gz", "csv.gz"), ("a.b.parquet", "parquet"), ("a.json", "json"),
    ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a.arrow", "arrow"), ("a.feather", "arrow"), ("день.csv", "csv"),
])  # fmt: skip
def test_the_ending_says_the_format(tenant: Tenant, name: str, format_: str):
    assert upload(tenant, name=name).json()["format"] == format_


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.gz", "a.csv.zip", ".csv", "a.pkl", "a.parquet.exe"])
def test_a_format_that_is_not_read_is_refused_with_those_that_are(tenant: Tenant, name: str):
    refused = upload(tenant, name=name)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_format")
    assert ".parquet" in refused.json()["errors"][0]["hint"]


def test_an_empty_file_is_refused(tenant: Tenant):
    refused = upload(tenant, b"")
    assert (refused.status_code, refused.json()["code"]) == (422, "empty_file")
    assert tenant.get("/v1/datasets").json()["items"] == []


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.csv", "..\\..\\x.csv", "/abs.csv", "a\u202eb.csv", "x" * 300 + ".csv"]
)
def test_a_name_that_is_a_path_or_hides_something_is_refused(tenant: Tenant, name: str):
    assert upload(tenant, name=name).status_code == 422


@pytest.mark.parametrize("rest", [
    {"json": {"file": "x"}}, {"content": b"x", "headers": {"Content-Type": "text/csv"}}, {"data": {"name": "x"}}, {},
    {"files": {"other": ("a.csv", CSV)}}, {"data": {"file": "no file"}, "files": {"name": ("a.csv", CSV)}},
    {"files": {"file": ("a.csv", CSV)}, "data": {"owner": "me"}}, {"files": [("file", ("a.csv", CSV)), ("file", ("b.csv", CSV))]},
    {"files": {"file": ("a.csv", CSV)}, "data": {"name": "x" * 5_000}}, {"files": {"file": ("a.csv", CSV)}, "data": {"name": ""}},
    {"files": {"file": ("a.csv", CSV)}, "data": {"name": "a\x00b"}},
    {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=" + "b" * 10_000}},
    {"content": b"--b\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    {"content": b"--b\r\n" + b"X: y\r\n" * 10_000 + b"\r\n\r\n--b--", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
])  # fmt: skip
def test_a_form_that_is_none_is_refused(tenant: Tenant, rest: dict[str, Any]):
    answer = tenant.call("POST", "/v1/datasets", **rest)
    assert answer.status_code in {400, 413, 422}
    assert answer.headers["content-type"] == "application/problem+json"


FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na\n1\n\r\n--b--\r\n'


@pytest.mark.parametrize(("charset", "status"), [
    ("utf-8", 201), ("ISO-8859-1", 201), ("undefined", 422), ("idna", 422), ("utf-7", 422), ("no-such-charset", 422), ("hex", 422),
])  # fmt: skip
def test_a_form_in_an_unheard_of_charset_is_refused(tenant: Tenant, charset: str, status: int):
    headers = {"Content-Type": f"multipart/form-data; charset={charset}; boundary=b"}
    answer = tenant.call("POST", "/v1/datasets", content=FORM, headers=headers)
    assert answer.status_code == status, answer.text
    assert status == 201 or answer.json()["code"] == "unknown_charset"


def test_the_same_upload_with_the_same_key_is_one_data_set(tenant: Tenant):
    first, second = (upload(tenant, headers={"Idempotency-Key": "once"}) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len(tenant.get("/v1/datasets").json()["items"]) == 1
    other = upload(tenant, CSV + b"1,3\n", headers={"Idempotency-Key": "once"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_the_same_bytes_twice_are_two_data_sets_and_one_blob(tenant: Tenant):
    first, second = upload(tenant).json(), upload(tenant).json()
    assert first["id"] != second["id"]
    assert first["digest"] == second["digest"]


def test_an_upload_beyond_the_limit_is_refused(settings: Settings, tenant: Tenant):
    small = settings.model_copy(update={"max_upload_bytes": 1_000})
    with PlainClient(build(small), headers=tenant.headers) as client:
        barely = client.post("/v1/datasets", files={"file": ("a.csv", b"x" * 1_001)})
        far = client.post("/v1/datasets", files={"file": ("a.csv", b"x" * 1_000_000)})
        assert client.post("/v1/datasets", files={"file": ("a.csv", b"x" * 1_000)}).status_code == 201
    for refused in (barely, far):
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_a_stranger_is_turned_away_before_the_file_is_read(
    api: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = api.post("/v1/datasets", files={"file": ("a.csv", CSV)})
    assert answer.status_code == 401
    assert list(tmp_path.iterdir()) == []


def test_a_reader_cannot_upload(tenant: Tenant):
    assert upload(tenant, headers={"Authorization": f"Bearer {tenant.key('read')}"}).status_code == 403


def test_a_large_file_goes_straight_to_the_store(tenant: Tenant):
    said = tenant.post("/v1/datasets/presign", {"filename": "big.parquet", "name": "big"}).json()
    path = f"/v1/datasets/{said['dataset_id']}"
    assert tenant.get(path).json()["status"] == "pending"
    early = tenant.call("POST", f"{path}/complete")
    assert (early.status_code, early.json()["code"]) == (409, "not_uploaded")
    assert put(said["url"], b"PAR1 and so on") == 200
    done = tenant.call("POST", f"{path}/complete").json()
    assert done["digest"] == "sha256:" + hashlib.sha256(b"PAR1 and so on").hexdigest()
    assert (done["status"], done["bytes"], done["format"]) == ("ready", 14, "parquet")
    assert tenant.call("POST", f"{path}/complete").json() == done


def test_a_late_second_put_changes_nothing(tenant: Tenant):
    said = tenant.post("/v1/datasets/presign", {"filename": "a.csv"}).json()
    put(said["url"], CSV)
    path = f"/v1/datasets/{said['dataset_id']}"
    digest = tenant.call("POST", f"{path}/complete").json()["digest"]
    put(said["url"], b"other bytes")
    assert tenant.call("POST", f"{path}/complete").json()["digest"] == digest


def test_an_upload_stays_until_its_row_is_written(tenant: Tenant, monkeypatch: pytest.MonkeyPatch):
    said = tenant.post("/v1/datasets/presign", {"filename": "a.csv"}).json()
    put(said["url"], CSV)
    path = f"/v1/datasets/{said['dataset_id']}"

    def away(*_args: Any, **_given: Any) -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patched:
        patched.setattr("app.datasets.service.arrived", away)
        assert tenant.call("POST", f"{path}/complete").status_code == 503
    done = tenant.call("POST", f"{path}/complete")
    assert (done.status_code, done.json()["status"]) == (200, "ready")


def test_of_two_calls_at_once_the_slower_one_sees_what_the_other_wrote(
    tenant: Tenant, api: TestClient, monkeypatch: pytest.MonkeyPatch
):
    said = tenant.post("/v1/datasets/presign", {"filename": "a.csv"}).json()
    put(said["url"], CSV)
    path = f"/v1/datasets/{said['dataset_id']}/complete"
    size_of, other = type(api.app.state.store).size_of_key, []

    def overtaken(self: Any, key: str) -> int | None:
        if not other:
            other.append(None)
            other[0] = tenant.call("POST", path).json()
        return size_of(self, key)

    monkeypatch.setattr(type(api.app.state.store), "size_of_key", overtaken)
    answer = tenant.call("POST", path)
    assert (answer.status_code, answer.json()) == (200, other[0])
    assert answer.json()["status"] == "ready"


def test_an_empty_put_is_refused(tenant: Tenant):
    said = tenant.post("/v1/datasets/presign", {"filename": "a.csv"}).json()
    put(said["url"], b"")
    refused = tenant.call("POST", f"/v1/datasets/{said['dataset_id']}/complete")
    assert (refused.status_code, refused.json()["code"]) == (422, "empty_file")


def test_a_presigned_url_takes_one_object_by_one_method(tenant: Tenant):
    url = tenant.post("/v1/datasets/presign", {"filename": "a.csv"}).json()["url"]
    with urllib3.PoolManager() as pool:
        assert pool.request("GET", url).status == 403
        assert pool.request("DELETE", url).status == 403
        assert pool.request("PUT", url.replace("/uploads/ds_", "/uploads/ds_x"), body=b"x").status == 403


def test_a_profile_is_that_of_the_latest_job(tenant: Tenant, api: TestClient, tmp_path: Path):
    job_id = tenant.job()
    dataset_id = tenant.row(job_id).spec["data"]["sources"]["rows"]["dataset_id"]
    missing = tenant.get(f"/v1/datasets/{dataset_id}/profile")
    assert (missing.status_code, missing.json()["code"]) == (404, "no_profile")
    local = tmp_path / "profile.json"
    local.write_text(json.dumps({"rows": 2}))
    digest, size = api.app.state.store.put(tenant.id, local)
    with transaction(tenant.engine) as session:
        session.add(Artifact(
            job_id=job_id, name="profile", stage="validate", digest=digest, size_bytes=size, media_type="application/json",
        ))  # fmt: skip
    found = tenant.get(f"/v1/datasets/{dataset_id}/profile")
    assert found.json() == {"rows": 2}
    assert found.headers["etag"] == f'"{digest}"'


def test_another_project_sees_nothing_of_it(tenant: Tenant, stranger: Tenant):
    dataset_id = upload(tenant).json()["id"]
    pending = tenant.post("/v1/datasets/presign", {"filename": "a.csv"}).json()["dataset_id"]
    assert stranger.get("/v1/datasets").json()["items"] == []
    for path in (f"/v1/datasets/{dataset_id}", f"/v1/datasets/{dataset_id}/profile"):
        assert stranger.get(path).status_code == 404
    assert stranger.call("POST", f"/v1/datasets/{pending}/complete").status_code == 404

"""Wrong data gets a failed job whose error names the fault; wrong requests get a problem; nothing is a 500, nothing is lost."""

import gzip
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.driver import Client, RunningStack, agreed
from tests.journeys.soundness import a_spec, a_table, versions_of

CSV_HEAD = "a,b,kind,y\n"
ROWS = "".join(f"{i % 7},{i % 5},{'xyz'[i % 3]},{i % 2}\n" for i in range(120))
ONE_CLASS = "".join(f"{i},{i % 5},x,1\n" for i in range(120))

FILES: dict[str, tuple[str, bytes, str]] = {
    "header only": ("t.csv", CSV_HEAD.encode(), "no_rows"),
    "one class": ("t.csv", (CSV_HEAD + ONE_CLASS).encode(), "single_class"),
    "a ragged line": ("t.csv", (CSV_HEAD + ROWS + "1,2\n").encode(), "ragged_csv"),
    "Latin-1": ("t.csv", (CSV_HEAD + ROWS + "1,2,caf\u00e9,1\n").encode("latin-1"), "not_utf8"),
    "a picture that says it is Parquet": ("t.parquet", b"\x89PNG\r\n\x1a\n" + bytes(200), "not_a_parquet"),
    "text that says it is gzip": ("t.csv.gz", (CSV_HEAD + ROWS).encode(), "not_a_csv_gz"),
    "a cut gzip": ("t.csv.gz", gzip.compress((CSV_HEAD + ROWS).encode())[:-40], "not_a_csv_gz"),
    "a page that says it is JSON": ("t.json", b"<!doctype html><html></html>", "not_a_json"),
    "Parquet that says it is CSV": ("t.csv", b"PAR1" + bytes(range(256)) + b"PAR1", "not_a_csv"),
    "a column twice": ("t.csv", ("a,a,kind,y\n" + ROWS).encode(), "duplicate_columns"),
}


def failed(stack: RunningStack, spec: dict[str, Any]) -> dict[str, Any]:
    """The error of a job that failed, after it was seen to be sound."""
    job = stack.client.wait(stack.client.submit(spec), timeout=60)
    assert job["status"] == "failed", job["status"]
    error = job["error"]
    assert error["stage"] in {stage["name"] for stage in job["stages"] if stage["status"] == "failed"}
    assert "Traceback" not in str(error)
    assert job["attempt"] == 1, "the caller's fault is not tried again"
    assert job["model_version"] is None
    return dict(error)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_trained_on_fails_its_job_with_its_own_code(
    stack: RunningStack, tmp_path: Path, name: str
) -> None:
    stack.heal()
    filename, content, code = FILES[name]
    path = tmp_path / filename
    path.write_bytes(content)
    error = failed(stack, a_spec(stack.client.upload(path), "wrong-file"))
    assert error["code"] == code
    assert error["detail"]


SQL = {
    "a SQL error": ("select nope from t", {"sql_error"}),
    "reads a file": ("select * from read_text('/etc/passwd')", {"sql_error", "sql_denied"}),
    "reads a CSV by name": ("select * from '/etc/passwd'", {"sql_error", "sql_denied"}),
    "copies out": ("copy t to '/tmp/stolen.csv'", {"sql_error", "sql_denied"}),
    "attaches": ("attach '/tmp/x.db'", {"sql_error", "sql_denied"}),
    "installs": ("install httpfs", {"sql_error", "sql_denied"}),
    "two statements": ("select * from t; select 1", {"sql_error", "sql_denied"}),
    "leaves the target out": ("select a, b from t", {"unknown_column"}),
}


@pytest.mark.parametrize("name", SQL)
def test_sql_that_errs_or_reaches_out_fails_its_job(stack: RunningStack, tmp_path: Path, name: str) -> None:
    stack.heal()
    sql, codes = SQL[name]
    spec = a_spec(stack.client.upload(a_table(tmp_path / "t.csv")), "wrong-sql")
    spec["data"]["features"] = {"sql": sql}
    error = failed(stack, spec)
    assert error["code"] in codes
    assert "root:" not in str(error)


def test_an_unknown_target_is_named_with_the_columns_that_are_near(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    spec = a_spec(stack.client.upload(a_table(tmp_path / "t.csv")), "wrong-target", task={"target": "knid"})
    error = failed(stack, spec)
    assert error["code"] == "unknown_column"
    assert "kind" in str(error["errors"]) + error["hint"]


def test_a_connection_with_a_wrong_secret_fails_the_job_without_showing_it(stack: RunningStack) -> None:
    stack.heal()
    wrong = "not-the-secret-key"
    agreed(stack.client.post("/v1/connections", json={
        "name": "wrong-secret", "kind": "s3", "config": {"endpoint": stack.engines.s3.endpoint, "secure": False},
        "secret": {"access_key": stack.engines.s3.access_key, "secret_key": wrong},
    }))  # fmt: skip
    spec = a_spec("ds_00000000", "wrong-secret")
    spec["data"]["sources"] = {"t": {"kind": "s3", "connection": "wrong-secret", "uri": "s3://lake/t/*.parquet"}}
    error = failed(stack, spec)
    assert error["code"] in {"source_refused", "source_not_found"}
    assert wrong not in str(error)


def test_requests_that_are_wrong_are_problems_and_make_nothing(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    client = stack.client
    dataset_id = client.upload(a_table(tmp_path / "t.csv"))
    good = a_spec(dataset_id, "wrong-request")
    before = len(client.get("/v1/jobs", params={"model": "wrong-request"}).json()["items"])
    empty = client.post("/v1/datasets", files={"file": ("t.csv", b"")})
    raw = {"content-type": "application/json"}
    answers = {
        "empty file": (empty, 422),
        "no key": (httpx2.post(f"{stack.url}/v1/jobs", json=good), 401),
        "unknown field": (client.post("/v1/jobs", json={**good, "status": "succeeded"}), 422),
        "another project's data set": (client.post("/v1/jobs", json=a_spec("ds_" + "0" * 26, "wrong-request")), 422),
        "NUL in a name": (client.post("/v1/jobs", json={**good, "task": {"target": "y\x00"}}), 422),
        "1e400": (client.post("/v1/jobs", content=b'{"model": 1e400}', headers=raw), 400),
        "ten megabytes": (client.post("/v1/jobs", content=b'"' + b"x" * 10_000_000 + b'"', headers=raw), 413),
        "no such job": (client.get("/v1/jobs/job_nothing"), 404),
    }
    for name, (answer, status) in answers.items():
        assert answer.status_code == status, (name, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", name
        assert answer.json()["status"] == status
    assert len(client.get("/v1/jobs", params={"model": "wrong-request"}).json()["items"]) == before
    assert versions_of(stack, "wrong-request") == []


def test_a_key_without_the_scope_is_refused(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    made = agreed(stack.client.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}))
    with Client(stack.url, made["key"]) as reader:
        assert reader.get("/v1/jobs").status_code == 200
        refused = reader.post("/v1/jobs", json=a_spec("ds_" + "0" * 26, "no-scope"))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_the_same_idempotency_key_makes_one_job_and_another_body_is_refused(
    stack: RunningStack, tmp_path: Path
) -> None:
    stack.heal()
    spec = a_spec(stack.client.upload(a_table(tmp_path / "t.csv")), "once")
    headers = {"Idempotency-Key": "the-one-key"}
    first = stack.client.post("/v1/jobs", json=spec, headers=headers)
    again = stack.client.post("/v1/jobs", json=spec, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    other = stack.client.post("/v1/jobs", json={**spec, "model": "twice"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

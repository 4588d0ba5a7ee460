"""Jobs over HTTP: accepted once, watched by polling, waiting or streaming, cancelled, retried, and nobody else's."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, update

from app.db import transaction
from app.errors import InvalidData
from app.jobs.service import cancel as cancel_row
from app.jobs.showing import show_job
from app.states import STAGES
from app.tables import Artifact, Job, JobLog, Trial
from tests.api.rows import PUBLIC_URL, Tenant, register_job
from workers import clerk
from workers.clerk import Claim
from workers.context import Done
from workers.onward import Settlement


def submitted(tenant: Tenant, spec: dict[str, Any], **changed: Any) -> str:
    answer = tenant.post("/v1/jobs", {**spec, **changed})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def begun(tenant: Tenant, job_id: str) -> Claim:
    with transaction(tenant.engine) as session:  # a bell takes the job whose turn it is, be it another test's
        others = update(Job).where(Job.id != job_id, Job.finished_at.is_(None))
        session.execute(others.values(due_at=func.now() + timedelta(days=365)))
    claim = clerk.claim_next(tenant.engine, job_id, owner="node:1:a", lease_seconds=60)
    assert claim is not None
    assert claim.job_id == job_id
    clerk.begin_stage(tenant.engine, claim, "ingest")
    return claim


def test_an_accepted_job_is_shown_whole_with_where_to_look_and_when(tenant: Tenant, spec: dict[str, Any]):
    answer = tenant.post("/v1/jobs", {**spec, "labels": {"team": "ops"}})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert (job["status"], job["attempt"], job["labels"]) == ("queued", 0, {"team": "ops"})
    assert [stage["name"] for stage in job["stages"]][::9] == ["ingest", "deploy"]
    assert {stage["status"] for stage in job["stages"]} == {"pending"}
    assert tenant.get(answer.headers["location"]).json() == job


def test_the_resolved_spec_has_every_default_written_out_and_parses_again(tenant: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    shown = tenant.get(f"/v1/jobs/{job_id}/spec").json()
    assert shown["spec"]["split"]["train"] == 0.7
    again = tenant.post("/v1/jobs", shown["spec"]).json()
    assert again["spec_digest"] == shown["spec_digest"]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"kind": "dataset", "dataset_id": "ds_" + "0" * 26}, "unknown_dataset"),
        ({"kind": "s3", "connection": "nowhere", "uri": "s3://bucket/key"}, "unknown_connection"),
    ],
)
def test_a_source_that_does_not_exist_is_refused_at_once_and_named(
    tenant: Tenant, spec: dict[str, Any], source: dict[str, Any], code: str
):
    answer = tenant.post("/v1/jobs", {**spec, "data": {"sources": {"mine": source}}})
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["code"] == code
    assert fault["pointer"].startswith("/data/sources/mine/")
    assert tenant.get("/v1/jobs").json()["items"] == []


def test_another_projects_job_is_not_there_on_any_route(tenant: Tenant, stranger: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    for path in ("", "/spec", "/stages", "/trials", "/logs", "/events", "/artifacts", "/artifacts/bundle"):
        assert stranger.get(f"/v1/jobs/{job_id}{path}").status_code == 404, path
    for verb in ("cancel", "retry"):
        assert stranger.call("POST", f"/v1/jobs/{job_id}/{verb}").status_code == 404, verb
    assert stranger.get("/v1/jobs").json()["items"] == []


def test_a_list_is_newest_first_in_pages_and_filtered(tenant: Tenant, spec: dict[str, Any]):
    made = [submitted(tenant, spec, model=f"m-{number % 2}", labels={"n": str(number)}) for number in range(5)]
    first = tenant.get("/v1/jobs?limit=2").json()
    second = tenant.get(f"/v1/jobs?limit=3&cursor={first['next_cursor']}").json()
    assert [job["id"] for job in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None
    assert [job["id"] for job in tenant.get("/v1/jobs?model=m-1").json()["items"]] == [made[3], made[1]]
    assert [job["id"] for job in tenant.get("/v1/jobs?label.n=4").json()["items"]] == [made[4]]


def test_a_list_is_filtered_by_status_and_by_the_time_of_creation(tenant: Tenant, spec: dict[str, Any]):
    made = [submitted(tenant, spec) for _ in range(4)]
    begun(tenant, made[1])
    tenant.call("POST", f"/v1/jobs/{made[2]}/cancel")

    def listed(**query: str | list[str]) -> list[str]:
        return [job["id"] for job in tenant.get("/v1/jobs", params=query).json()["items"]]

    assert listed(status="running") == [made[1]]
    assert listed(status="cancelled,running") == [made[2], made[1]]
    assert listed(status=["cancelled", "running"]) == [made[2], made[1]]
    assert listed(status="queued") == [made[3], made[0]]
    assert listed(status="succeeded") == []
    second = tenant.get(f"/v1/jobs/{made[1]}").json()["created_at"]
    assert listed(created_after=second) == [made[3], made[2]]
    assert listed(created_after="2026-01-01T00:00:00Z") == made[::-1]
    assert listed(created_after="9000-01-01T00:00:00Z") == []


def test_the_stages_of_a_job_say_how_each_stands(tenant: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    claim = begun(tenant, job_id)
    found = Done(summary={"rows": 7})
    settlement = Settlement("ingest", found, 1.5, peak_memory_bytes=4_096)
    clerk.settle(tenant.engine, claim, settlement, public_url="http://127.0.0.1", vault=tenant.vault)
    stages = tenant.get(f"/v1/jobs/{job_id}/stages").json()["items"]
    assert [stage["name"] for stage in stages] == list(STAGES)
    assert [stage["status"] for stage in stages] == ["succeeded", "running"] + ["pending"] * 8
    first, second, *rest = stages
    assert (first["summary"], first["duration_seconds"], first["peak_memory_bytes"]) == ({"rows": 7}, 1.5, 4_096)
    assert first["started_at"] <= first["finished_at"] <= second["started_at"]
    assert (first["cached"], first["warnings"], first["reuse"]) == (False, [], None)
    assert second["finished_at"] is None
    assert {(stage["started_at"], stage["finished_at"], stage["summary"]) for stage in rest} == {(None, None, None)}
    assert tenant.get(f"/v1/jobs/{job_id}").json()["stages"] == stages


@pytest.mark.parametrize("query", ["status=done", "status=queued,done", "status=", "status=QUEUED"])
def test_a_status_that_no_job_has_is_refused_with_those_there_are(tenant: Tenant, query: str):
    answer = tenant.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"].startswith("/query/status")
    assert "'awaiting_review'" in fault["message"]


def test_a_version_has_one_address_however_the_public_url_is_written(tenant: Tenant):
    job_id = tenant.job()
    with transaction(tenant.engine) as session:
        register_job(session, job_id, tenant.vault)
    shown = [show_job(tenant.row(job_id), [], public_url=url).model_version for url in (PUBLIC_URL, PUBLIC_URL + "/")]
    assert {link.url for link in shown if link} == {f"{PUBLIC_URL}/v1/models/late-flights/versions/1"}


def test_a_poll_that_knows_the_job_is_answered_by_304_until_it_changes(tenant: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    etag = tenant.get(f"/v1/jobs/{job_id}").headers["etag"]
    assert tenant.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag}).status_code == 304
    begun(tenant, job_id)
    news = tenant.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert (news.status_code, news.json()["status"]) == (200, "running")
    assert news.headers["etag"] != etag


def test_a_poll_that_knows_the_job_waits_for_news_of_it(tenant: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    etag = tenant.get(f"/v1/jobs/{job_id}").headers["etag"]
    answers: list[Any] = []
    ask = {"If-None-Match": etag}
    waiting = threading.Thread(target=lambda: answers.append(tenant.get(f"/v1/jobs/{job_id}?wait=30", headers=ask)))
    waiting.start()
    begun(tenant, job_id)
    waiting.join(20.0)
    assert (answers[0].status_code, answers[0].json()["status"]) == (200, "running")
    settled = tenant.get(f"/v1/jobs/{job_id}")  # to begin is two changes: the answer may show the first alone
    known = {"If-None-Match": settled.headers["etag"]}
    assert tenant.get(f"/v1/jobs/{job_id}?wait=0.2", headers=known).status_code == 304
    assert tenant.get(f"/v1/jobs/{job_id}?wait=30", headers=ask).json()["status"] == "running", "that is news already"


def test_a_long_poll_answers_as_soon_as_the_job_changes(tenant: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(tenant.get(f"/v1/jobs/{job_id}?wait=30").json()))
    began = time.monotonic()
    waiting.start()
    while waiting.is_alive():
        with transaction(tenant.engine) as session:
            job = session.get_one(Job, job_id, with_for_update=True)
            if job.status == "queued":
                cancel_row(session, job, by="key")
        waiting.join(0.2)
    assert answers[0]["status"] in {"queued", "cancelled"}
    assert tenant.get(f"/v1/jobs/{job_id}?wait=30").json()["status"] == "cancelled"
    assert time.monotonic() - began < 25, "a job that has ended is not waited for"


def test_a_wait_that_is_no_time_is_refused(tenant: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    for wait in ("-1", "61", "nan", "soon"):
        assert tenant.get(f"/v1/jobs/{job_id}?wait={wait}").status_code == 422


def streamed(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(id, event, data) of each message of an event stream."""
    for message in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in message.splitlines() if not line.startswith(":"))
        if fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])


def test_a_stream_tells_everything_ends_with_the_job_and_goes_on_after_the_last_id(
    tenant: Tenant, spec: dict[str, Any]
):
    job_id = submitted(tenant, spec)
    clerk.fail(tenant.engine, begun(tenant, job_id), InvalidData("no rows", code="no_rows"), stage="ingest")
    accept = {"Accept": "text/event-stream"}
    whole = tenant.get(f"/v1/jobs/{job_id}/events", headers=accept)
    assert whole.headers["content-type"].startswith("text/event-stream")
    told = list(streamed(whole.text))
    assert [kind for _, kind, _ in told] == ["job.queued", "stage.started", "job.failed"]
    assert told[-1][2]["data"]["code"] == "no_rows"
    rest = tenant.get(f"/v1/jobs/{job_id}/events", headers={**accept, "Last-Event-ID": str(told[0][0])})
    assert [number for number, _, _ in streamed(rest.text)] == [number for number, _, _ in told[1:]]
    paged = tenant.get(f"/v1/jobs/{job_id}/events?limit=2").json()
    assert [event["seq"] for event in paged["items"]] == [number for number, _, _ in told[:2]]
    assert paged["next_cursor"] is not None


def test_trials_logs_and_artifacts_are_listed_in_pages(tenant: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    with transaction(tenant.engine) as session:
        session.add_all(
            Trial(job_id=job_id, number=number, status="complete", params={"C": 1.0}, value=0.5, metrics={}, attempt=1)
            for number in range(3)
        )
        session.add_all(JobLog(job_id=job_id, stage="ingest", level="info", message=f"line {n}") for n in range(3))
        session.add(
            Artifact(job_id=job_id, name="bundle", stage="register", digest="sha256:" + "a" * 64, size_bytes=3,
                     media_type="application/zip")
        )  # fmt: skip
    first = tenant.get(f"/v1/jobs/{job_id}/trials?limit=2").json()
    rest = tenant.get(f"/v1/jobs/{job_id}/trials?cursor={first['next_cursor']}").json()
    assert [trial["number"] for trial in first["items"] + rest["items"]] == [0, 1, 2]
    assert [line["message"] for line in tenant.get(f"/v1/jobs/{job_id}/logs").json()["items"]] == [
        "line 0", "line 1", "line 2",
    ]  # fmt: skip
    assert [one["name"] for one in tenant.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]] == ["bundle"]
    where = tenant.get(f"/v1/jobs/{job_id}/artifacts/bundle")
    assert where.status_code == 302
    assert "a" * 64 in where.headers["location"]
    missing = tenant.get(f"/v1/jobs/{job_id}/artifacts/snapshot")
    assert (missing.status_code, missing.json()["hint"]) == (404, "It has: bundle.")


def test_cancelling_is_at_once_without_a_worker_and_soon_with_one_and_twice_is_harmless(
    tenant: Tenant, spec: dict[str, Any]
):
    queued, running = submitted(tenant, spec), submitted(tenant, spec)
    begun(tenant, running)
    assert tenant.call("POST", f"/v1/jobs/{queued}/cancel").json()["status"] == "cancelled"
    assert tenant.call("POST", f"/v1/jobs/{running}/cancel").json()["status"] == "cancelling"
    for job_id in (queued, running):
        assert tenant.call("POST", f"/v1/jobs/{job_id}/cancel").status_code == 202
    assert {stage["status"] for stage in tenant.get(f"/v1/jobs/{queued}").json()["stages"]} == {"skipped"}


def test_only_a_failed_job_is_retried(tenant: Tenant, spec: dict[str, Any]):
    job_id = submitted(tenant, spec)
    early = tenant.call("POST", f"/v1/jobs/{job_id}/retry")
    assert (early.status_code, early.json()["code"]) == (409, "not_failed")
    clerk.fail(tenant.engine, begun(tenant, job_id), InvalidData("no rows"), stage="ingest")
    failed = tenant.get(f"/v1/jobs/{job_id}").json()
    assert (failed["status"], failed["error"]["stage"]) == ("failed", "ingest")
    again = tenant.call("POST", f"/v1/jobs/{job_id}/retry").json()
    assert (again["status"], again["error"], again["attempt"]) == ("queued", None, 2)


def test_twenty_requests_at_once_with_one_idempotency_key_make_one_job(tenant: Tenant, spec: dict[str, Any]):
    answers: list[Any] = []
    start = threading.Barrier(20)

    def ask() -> None:
        start.wait()
        answers.append(tenant.post("/v1/jobs", spec, headers={"Idempotency-Key": "one"}))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(tenant.get("/v1/jobs").json()["items"]) == 1

"""The roads of a job, from POST to verified webhook: registered, refused, approved, rejected, failed, cancelled."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import make_url

from standalone.engines import Engines
from tests.driver import Receiver, RunningStack, agreed, eventually
from tests.journeys.soundness import a_spec, a_table, assert_sound, event_ids, versions_of

UNREACHABLE = {"rules": [{"metric": "roc_auc", "min": 0.9999}]}
CANCELLED_WITHIN_SECONDS = 15


@pytest.fixture(scope="module")
def dataset_id(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small data set with a learnable target."""
    return stack.client.upload(a_table(tmp_path_factory.mktemp("data") / "t.csv"))


@pytest.fixture
def hook(stack: RunningStack, receiver: Receiver) -> Iterator[Receiver]:
    """A receiver that hears of everything."""
    stack.heal()
    made = agreed(stack.client.post("/v1/webhooks", json={"url": receiver.url, "events": ["*"]}))
    receiver.secret = made["secret"]
    yield receiver
    stack.client.delete(f"/v1/webhooks/{made['id']}")


def heard(hook: Receiver, kind: str, job_id: str) -> dict[str, Any]:
    """The data of the one verified message of that kind about the job."""

    def mine() -> list[Any]:
        return [one for one in hook.of_type(kind) if one.document["data"].get("job_id") == job_id]

    eventually(lambda: bool(mine()), within=30, what=f"the webhook {kind}")
    assert all(one.verified for one in mine())
    assert len({one.webhook_id for one in mine()}) == 1
    data: dict[str, Any] = mine()[0].document["data"]
    return data


def review_of(stack: RunningStack, job_id: str) -> str:
    """The id of the open review that the job waits for."""
    job = stack.client.wait(job_id, ["awaiting_review"])
    (listed,) = [one for one in stack.client.everything("/v1/reviews", status="open") if one["job_id"] == job_id]
    assert job["review_id"] == listed["id"]
    return str(listed["id"])


def decide(stack: RunningStack, review_id: str, decision: str) -> httpx2.Response:
    """The answer to a person's decision."""
    return stack.client.post(
        f"/v1/reviews/{review_id}/decide", json={"decision": decision, "reason": "I looked at it."}
    )


def assert_nothing_came_of(stack: RunningStack, job_id: str) -> None:
    """No version, no registration announced."""
    job = stack.client.job(job_id)
    assert job["model_version"] is None
    assert versions_of(stack, job["model"]) == []
    assert event_ids(stack, job_id, "model.version.registered") == []


def test_a_job_becomes_a_registered_version_and_a_verified_webhook(
    stack: RunningStack, dataset_id: str, hook: Receiver
) -> None:
    gate = {"rules": [{"metric": "roc_auc", "min": 0.6}]}
    spec = a_spec(dataset_id, "good", gate=gate, deployment={"target": "staging"}, labels={"team": "ops"})
    answer = stack.client.post("/v1/jobs", json=spec)
    assert (answer.status_code, "retry-after" in answer.headers) == (202, True)
    job_id = answer.json()["id"]
    assert answer.headers["location"].endswith(f"/v1/jobs/{job_id}")
    job = assert_sound(stack, job_id)
    assert job["gate"]["verdict"] == "pass"
    assert job["metrics"]["test"]["roc_auc"]["value"] >= 0.6
    said = heard(hook, "model.version.registered", job_id)
    assert (said["model"], said["version"]) == ("good", 1)
    version = agreed(stack.client.get(said["url"]))
    assert (version["bundle_digest"], version["metrics"]) == (said["bundle_digest"], said["metrics"])
    heard(hook, "job.succeeded", job_id)


def test_a_deployer_hears_of_a_version_reports_and_is_heard(
    stack: RunningStack, dataset_id: str, hook: Receiver
) -> None:
    deployment = {"target": "production", "require_ack": True}
    job_id = stack.client.submit(a_spec(dataset_id, "deployed", deployment=deployment))
    assert_sound(stack, job_id)
    message = hook.wait_for("deployment.requested")
    said = message.document["data"]
    assert (message.verified, said["model"], said["target"]) == (True, "deployed", "production")
    assert "champion" not in agreed(stack.client.get("/v1/models/deployed"))["aliases"]
    agreed(stack.client.post(said["report_url"], json={"state": "accepted"}))
    agreed(stack.client.post(said["report_url"], json={"state": "serving", "detail": "2 replicas"}))
    assert agreed(stack.client.get("/v1/models/deployed"))["aliases"] == {
        "candidate": 1,
        "champion": 1,
        "production": 1,
    }
    reported = hook.wait_for("deployment.reported").document["data"]
    assert reported["deployment_id"] == said["deployment_id"]


def test_a_refused_candidate_that_a_person_approves_is_registered(
    stack: RunningStack, dataset_id: str, hook: Receiver
) -> None:
    job_id = stack.client.submit(a_spec(dataset_id, "approved", gate=UNREACHABLE))
    review_id = review_of(stack, job_id)
    assert heard(hook, "job.awaiting_review", job_id)["review_id"] == review_id
    assert_nothing_came_of(stack, job_id)
    assert stack.client.job(job_id)["gate"]["verdict"] == "fail"
    agreed(decide(stack, review_id, "approve"))
    assert_sound(stack, job_id)
    assert heard(hook, "review.decided", job_id)["decision"] == "approve"
    assert heard(hook, "model.version.registered", job_id)["version"] == 1
    lineage = agreed(stack.client.get("/v1/models/approved/versions/1/lineage"))
    assert lineage["review_id"] == review_id
    assert decide(stack, review_id, "reject").status_code == 409


def test_a_refused_candidate_that_a_person_rejects_leaves_no_version(
    stack: RunningStack, dataset_id: str, hook: Receiver
) -> None:
    job_id = stack.client.submit(a_spec(dataset_id, "rejected", gate=UNREACHABLE))
    agreed(decide(stack, review_of(stack, job_id), "reject"))
    job = stack.client.wait(job_id, ["rejected"])
    assert {stage["name"]: stage["status"] for stage in job["stages"]}["register"] == "skipped"
    heard(hook, "job.rejected", job_id)
    assert_nothing_came_of(stack, job_id)


def test_a_refused_candidate_is_rejected_at_once_where_the_spec_says_so(
    stack: RunningStack, dataset_id: str, hook: Receiver
) -> None:
    job_id = stack.client.submit(a_spec(dataset_id, "refused", gate={**UNREACHABLE, "on_fail": "reject"}))
    job = stack.client.wait(job_id)
    assert (job["status"], job["review_id"]) == ("rejected", None)
    heard(hook, "job.rejected", job_id)
    assert_nothing_came_of(stack, job_id)


def test_a_job_that_fails_says_whose_turn_it_is_and_can_be_tried_again(
    stack: RunningStack, tmp_path: Path, hook: Receiver
) -> None:
    path = tmp_path / "one-class.csv"
    path.write_text("a,y\n" + "\n".join(f"{index},1" for index in range(300)) + "\n")
    job_id = stack.client.submit(a_spec(stack.client.upload(path), "failed"))
    job = stack.client.wait(job_id)
    assert (job["status"], job["error"]["stage"], job["error"]["retryable"]) == ("failed", "validate", False)
    assert job["error"]["code"]
    assert heard(hook, "job.failed", job_id)["code"] == job["error"]["code"]
    assert_nothing_came_of(stack, job_id)
    assert stack.client.post(f"/v1/jobs/{job_id}/retry").status_code == 202
    assert stack.client.wait(job_id, ["failed"])["attempt"] == 2


def cancel(stack: RunningStack, job_id: str, hook: Receiver) -> None:
    """Cancels the job; it must end soon, with nothing to show and one message."""
    began = time.monotonic()
    assert stack.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    job = stack.client.wait(job_id, ["cancelled"], timeout=CANCELLED_WITHIN_SECONDS)
    assert time.monotonic() - began < CANCELLED_WITHIN_SECONDS
    assert "running" not in {stage["status"] for stage in job["stages"]}
    heard(hook, "job.cancelled", job_id)
    assert_nothing_came_of(stack, job_id)
    again = stack.client.post(f"/v1/jobs/{job_id}/cancel")
    assert again.status_code in {202, 409}
    assert stack.client.job(job_id)["status"] == "cancelled"
    assert len(event_ids(stack, job_id, "job.cancelled")) == 1


def test_a_queued_job_can_be_cancelled(stack: RunningStack, dataset_id: str, hook: Receiver) -> None:
    for worker in stack.workers:
        worker.kill()
    job_id = stack.client.submit(a_spec(dataset_id, "cancelled-in-queue"))
    assert stack.client.job(job_id)["status"] == "queued"
    cancel(stack, job_id, hook)
    stack.heal()


def test_a_job_in_the_midst_of_ingesting_can_be_cancelled(
    stack: RunningStack, engines: Engines, hook: Receiver
) -> None:
    """Its query sleeps in another engine, where no Python hears anything."""
    warehouse = make_url(engines.variables()["TRAINHOUSE_DATABASE_URL"])
    config = {
        "host": warehouse.host, "port": warehouse.port, "database": warehouse.database, "user": warehouse.username,
        "sslmode": "disable",
    }  # fmt: skip
    made = {"name": "slow", "kind": "postgres", "config": config, "secret": {"password": warehouse.password}}
    agreed(stack.client.post("/v1/connections", json=made))
    source = {"kind": "database", "connection": "slow", "query": "select 1 as a, 1 as y from pg_sleep(120)"}
    job_id = stack.client.submit(a_spec("", "cancelled-in-ingest", data={"sources": {"t": source}}))
    eventually(lambda: stack.client.job(job_id)["stage"] == "ingest", within=30, what="ingest")
    assert stack.client.job(job_id)["status"] == "running"
    cancel(stack, job_id, hook)
    stack.heal()


def test_a_job_in_the_midst_of_its_search_can_be_cancelled(stack: RunningStack, tmp_path: Path, hook: Receiver) -> None:
    spec = a_spec(
        stack.client.upload(a_table(tmp_path / "t.csv", rows=40_000)), "cancelled-in-search",
        tuning={"strategy": "random", "max_trials": 200, "max_parallel": 2},
        training={"max_iterations": 2_000, "early_stopping_rounds": None, "params": {"learning_rate": 0.01}},
    )  # fmt: skip
    spec["tuning"]["space"] = {"num_leaves": {"type": "int", "low": 100, "high": 200}}
    job_id = stack.client.submit(spec)

    def a_trial_runs() -> bool:
        return any(trial["status"] == "running" for trial in stack.client.everything(f"/v1/jobs/{job_id}/trials"))

    eventually(a_trial_runs, within=120, what="a trial")
    cancel(stack, job_id, hook)
    eventually(lambda: not a_trial_runs(), within=CANCELLED_WITHIN_SECONDS, what="the end of its trials")


def test_a_job_that_awaits_a_review_can_be_cancelled(stack: RunningStack, dataset_id: str, hook: Receiver) -> None:
    job_id = stack.client.submit(a_spec(dataset_id, "cancelled-in-review", gate=UNREACHABLE))
    review_id = review_of(stack, job_id)
    cancel(stack, job_id, hook)
    assert agreed(stack.client.get(f"/v1/reviews/{review_id}"))["status"] == "cancelled"
    assert decide(stack, review_id, "approve").status_code == 409
    assert_nothing_came_of(stack, job_id)


def test_a_model_improves_is_promoted_and_goes_back(stack: RunningStack, dataset_id: str, hook: Receiver) -> None:
    for number in (1, 2):
        job_id = stack.client.submit(a_spec(dataset_id, "improving", training={"max_iterations": 10 * number}))
        assert_sound(stack, job_id)
        wish = {"target": "production", "reason": f"version {number}"}
        agreed(stack.client.post(f"/v1/models/improving/versions/{number}/promote", json=wish))
    assert agreed(stack.client.get("/v1/models/improving"))["aliases"]["champion"] == 2
    agreed(stack.client.post("/v1/models/improving/rollback", json={"target": "production", "reason": "complaints"}))
    assert agreed(stack.client.get("/v1/models/improving"))["aliases"]["champion"] == 1
    moves = [move for move in stack.client.everything("/v1/models/improving/history") if move["alias"] == "champion"]
    assert [move["to_version"] for move in moves] == [1, 2, 1]
    eventually(lambda: len(hook.of_type("deployment.requested")) == 3, within=30, what="three requests to deploy")

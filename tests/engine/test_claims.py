"""A job is held by one worker at a time, and a worker that lost it can write nothing."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app import events
from app.db import transaction
from app.errors import Conflict, DeadlineExceeded, InvalidData, LeaseLost, StoreUnavailable
from app.jobs import service as jobs
from app.moves import move_job
from app.reviews import service as reviews
from app.secrets import Vault
from app.states import STAGES, JobStatus
from app.tables import Job, JobStage
from tests.engine.rows import LEASE_SECONDS, a_job, events_of, let_the_lease_run_out, make_due, the_job
from workers import clerk
from workers.clerk import Claim
from workers.context import Blob, Done, FanOut, Refused, Registered, Skipped
from workers.onward import Settlement

URL = "http://house.test"
VAULT = Vault(Fernet.generate_key().decode())


def take(engine: Engine, job_id: str, owner: str = "node:1:a") -> Claim:
    claim = clerk.claim_next(engine, job_id, owner=owner, lease_seconds=LEASE_SECONDS)
    assert claim is not None
    assert claim.job_id == job_id
    return claim


def settle(engine: Engine, claim: Claim, stage: str, outcome: object = None, **more: Any) -> str | None:
    settlement = Settlement(stage, outcome or Done(), 0.01, **more)  # type: ignore[arg-type]
    return clerk.settle(engine, claim, settlement, public_url=URL, vault=VAULT)


def carry_to(engine: Engine, claim: Claim, stage: str) -> None:
    """Settles every stage before `stage`, and the registration with a version."""
    clerk.begin_stage(engine, claim, "ingest")
    for name in STAGES[: STAGES.index(stage)]:
        bundle = Registered(bundle=Blob("sha256:" + "1" * 64, 10), manifest={"files": {}})
        settle(engine, claim, name, bundle if name == "register" else None)


def test_of_sixteen_workers_that_hear_the_bell_one_gets_the_job(engine: Engine) -> None:
    job_id, won = a_job(engine), []
    start = threading.Barrier(16)

    def hear(number: int) -> None:
        start.wait()
        claim = clerk.claim_next(engine, job_id, owner=f"node:{number}:x", lease_seconds=LEASE_SECONDS)
        if claim is not None:
            won.append(claim)

    threads = [threading.Thread(target=hear, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert the_job(engine, job_id).attempt == 1


def test_a_worker_whose_lease_was_taken_over_can_write_nothing(engine: Engine) -> None:
    job_id = a_job(engine)
    sleeper = take(engine, job_id, "node:1:sleeper")
    clerk.begin_stage(engine, sleeper, "ingest")
    let_the_lease_run_out(engine, job_id)
    heir = take(engine, job_id, "node:2:heir")
    clerk.begin_stage(engine, heir, "ingest")
    writes: list[Callable[[], object]] = [
        lambda: settle(engine, sleeper, "ingest"),
        lambda: clerk.renew(engine, sleeper, lease_seconds=LEASE_SECONDS, progress=None),
        lambda: clerk.fail(engine, sleeper, InvalidData("no"), stage="ingest"),
        lambda: clerk.put_back(engine, sleeper, "no", after_seconds=0, charged=True),
        lambda: clerk.end_cancelled(engine, sleeper),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert settle(engine, heir, "ingest", Done(summary={"rows": 3})) == "validate"
    job = the_job(engine, job_id)
    assert (job.attempt, job.fence, job.stage) == (2, 2, "validate")


def test_settling_twice_because_the_answer_was_lost_records_once(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    clerk.begin_stage(engine, claim, "ingest")
    assert settle(engine, claim, "ingest") == "validate"
    assert settle(engine, claim, "ingest") == "validate"
    assert [kind for kind, _ in events_of(engine, job_id)].count("stage.finished") == 1


def test_ten_stages_make_one_version_and_one_event_of_each_kind(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    carry_to(engine, claim, "deploy")
    assert settle(engine, claim, "deploy") is None
    job = the_job(engine, job_id)
    assert (job.status, job.version, job.attempt, job.lease_owner) == (JobStatus.SUCCEEDED, 1, 1, None)
    kinds = [kind for kind, _ in events_of(engine, job_id)]
    assert kinds.count("model.version.registered") == kinds.count("job.succeeded") == 1
    assert clerk.claim_next(engine, job_id, owner="node:9:z", lease_seconds=1) is None


def test_work_that_ends_its_worker_each_time_without_progress_is_counted_and_progress_forgives(engine: Engine) -> None:
    job_id = a_job(engine)
    for strike in (1, 2, 3):
        claim = take(engine, job_id)
        assert claim.strikes == strike
        clerk.begin_stage(engine, claim, "ingest")
        let_the_lease_run_out(engine, job_id)
    claim = take(engine, job_id)
    settle_after_begin(engine, claim)
    assert the_job(engine, job_id).strikes == 0
    assert the_job(engine, job_id).attempt == 4


def settle_after_begin(engine: Engine, claim: Claim) -> None:
    clerk.begin_stage(engine, claim, "ingest")
    settle(engine, claim, "ingest")


def test_an_outage_is_not_charged_and_a_breakage_is(engine: Engine) -> None:
    job_id = a_job(engine)
    clerk.put_back(engine, take(engine, job_id), StoreUnavailable().detail, after_seconds=60, charged=False)
    job = the_job(engine, job_id)
    assert (job.status, job.attempt, job.strikes) == (JobStatus.QUEUED, 1, 0)
    assert clerk.claim_next(engine, job_id, owner="node:1:a", lease_seconds=1) is None, "it is not due yet"
    make_due(engine, job_id)
    clerk.put_back(engine, take(engine, job_id), "it broke", after_seconds=0, charged=True)
    assert the_job(engine, job_id).attempt == 2
    assert take(engine, job_id).attempt == 2


def test_a_search_gives_the_lease_back_and_nobody_can_claim_the_job_while_trials_run(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    carry_to(engine, claim, "tune")
    assert settle(engine, claim, "tune", FanOut(trials=3, parallel=2, minimize=True)) is None
    job = the_job(engine, job_id)
    assert (job.status, job.waits_on, job.lease_owner, job.attempt) == (JobStatus.RUNNING, "trials", None, 1)
    assert clerk.claim_next(engine, job_id, owner="node:2:b", lease_seconds=1) is None


def test_a_refused_model_waits_for_a_person_or_is_rejected_by_the_spec(engine: Engine) -> None:
    refused = {"review": JobStatus.AWAITING_REVIEW, "reject": JobStatus.REJECTED}
    for road, status in refused.items():
        job_id = a_job(engine)
        claim = take(engine, job_id)
        carry_to(engine, claim, "gate")
        done = Done(facts={"gate": {"verdict": "fail", "rules": []}})
        assert settle(engine, claim, "gate", Refused(done, road, {"rules": []})) is None
        job = the_job(engine, job_id)
        assert (job.status, job.version) == (status, None)
        assert (job.review_id is not None) == (road == "review")
        assert "model.version.registered" not in [kind for kind, _ in events_of(engine, job_id)]


def test_a_cancel_that_comes_before_the_registration_settles_wins(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    carry_to(engine, claim, "register")
    with transaction(engine) as session:
        jobs.cancel(session, session.get_one(Job, job_id, with_for_update=True), by="key")
    assert the_job(engine, job_id).status == JobStatus.CANCELLING
    assert clerk.renew(engine, claim, lease_seconds=LEASE_SECONDS, progress=None) is True
    bundle = Registered(bundle=Blob("sha256:" + "1" * 64, 10), manifest={})
    assert settle(engine, claim, "register", bundle) is None
    job = the_job(engine, job_id)
    assert (job.status, job.version) == (JobStatus.CANCELLED, None)
    assert "model.version.registered" not in [kind for kind, _ in events_of(engine, job_id)]


def test_a_cancel_that_comes_after_the_job_ended_is_refused(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    carry_to(engine, claim, "deploy")
    settle(engine, claim, "deploy")
    with pytest.raises(Conflict), transaction(engine) as session:
        jobs.cancel(session, session.get_one(Job, job_id, with_for_update=True), by="key")


def test_postgres_itself_refuses_to_change_a_terminal_state(engine: Engine) -> None:
    job_id = a_job(engine)
    clerk.fail(engine, take(engine, job_id), InvalidData("no rows"), stage=None)
    for status in ("succeeded", "cancelled", "running"):
        with pytest.raises(DBAPIError, match="only a retry"), transaction(engine) as session:
            session.execute(text("update jobs set status = :to where id = :id"), {"to": status, "id": job_id})


def test_a_failed_job_says_why_and_a_retry_resumes_at_the_stage_that_failed(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    carry_to(engine, claim, "split")
    clerk.fail(engine, claim, InvalidData("one class", code="single_class", hint="more rows"), stage="split")
    job = the_job(engine, job_id)
    assert job.error is not None
    assert (job.error["code"], job.error["stage"], job.error["hint"]) == ("single_class", "split", "more rows")
    with transaction(engine) as session:
        jobs.retry(session, session.get_one(Job, job_id, with_for_update=True), by="key")
        stages = {row.name: row.status for row in session.query(JobStage).filter_by(job_id=job_id)}
    assert (stages["validate"], stages["split"], stages["deploy"]) == ("succeeded", "pending", "pending")
    clerk.fail(engine, take(engine, job_id), InvalidData("still one class"), stage="split")
    ids = [event_id for kind, event_id in events_of(engine, job_id) if kind == "job.failed"]
    assert len(ids) == len(set(ids)) == 2


def ago(engine: Engine, job_id: str, hours: int) -> None:
    """Lets the job have started, and all that happened to it have happened, so long ago."""
    with transaction(engine) as session:
        for change in ("update jobs set started_at = started_at - make_interval(hours => :hours) where id = :id",
                       "update events set at = at - make_interval(hours => :hours) where job_id = :id"):  # fmt: skip
            session.execute(text(change), {"hours": hours, "id": job_id})


def test_a_claim_says_how_many_of_the_jobs_seconds_are_used(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    assert claim.seconds_used == 0.0
    clerk.put_back(engine, claim, "it broke", after_seconds=0, charged=True)
    ago(engine, job_id, 2)
    assert take(engine, job_id).seconds_used == pytest.approx(7_200, abs=60)


def test_a_retry_gives_the_job_all_its_seconds_again(engine: Engine) -> None:
    job_id = a_job(engine)
    clerk.fail(engine, take(engine, job_id), DeadlineExceeded(), stage="ingest")
    ago(engine, job_id, 30)
    with transaction(engine) as session:
        jobs.retry(session, session.get_one(Job, job_id, with_for_update=True), by="key")
    assert take(engine, job_id).seconds_used == pytest.approx(0, abs=60)


def test_the_time_that_a_person_takes_to_decide_is_not_the_jobs(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    carry_to(engine, claim, "gate")
    settle(
        engine, claim, "gate", Refused(Done(facts={"gate": {"verdict": "fail", "rules": []}}), "review", {"rules": []})
    )
    ago(engine, job_id, 30)
    job = the_job(engine, job_id)
    with transaction(engine) as session:
        reviews.decide(
            session, job.project_id, review_id=str(job.review_id), decision="approve", reason="good", decided_by="key_2"
        )
    approved = take(engine, job_id)
    assert approved.seconds_used == pytest.approx(0, abs=60)


def test_a_search_past_the_jobs_seconds_is_ended_and_a_retried_one_is_not(engine: Engine) -> None:
    jobs_of = []
    for _job in range(2):
        job_id = a_job(engine, resources={"max_seconds": 60})
        claim = take(engine, job_id)
        carry_to(engine, claim, "tune")
        settle(engine, claim, "tune", FanOut(trials=3, parallel=2, minimize=True))
        ago(engine, job_id, 1)
        jobs_of.append(job_id)
    late, retried = jobs_of
    with transaction(engine) as session:
        job = session.get_one(Job, retried)
        events.append(session, job.project_id, type="job.retried", job_id=retried, data={"by": "key"})
    with transaction(engine) as session:
        clerk.end_late_searches(session)
    assert the_job(engine, late).status == JobStatus.FAILED
    assert the_job(engine, retried).status == JobStatus.RUNNING


def test_a_retry_keeps_what_was_skipped_and_what_was_approved_before_the_stage_that_failed(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    carry_to(engine, claim, "tune")
    settle(engine, claim, "tune", Skipped(reason="nothing was asked for"))
    settle(engine, claim, "evaluate")
    settle(
        engine, claim, "gate", Refused(Done(facts={"gate": {"verdict": "fail", "rules": []}}), "review", {"rules": []})
    )
    job = the_job(engine, job_id)
    with transaction(engine) as session:
        reviews.decide(
            session, job.project_id, review_id=str(job.review_id), decision="approve", reason="good", decided_by="key_2"
        )
    approved = take(engine, job_id)
    clerk.begin_stage(engine, approved, "register")
    clerk.fail(engine, approved, DeadlineExceeded(), stage="register")
    with transaction(engine) as session:
        jobs.retry(session, session.get_one(Job, job_id, with_for_update=True), by="key")
        stages = {row.name: row.status for row in session.query(JobStage).filter_by(job_id=job_id)}
    assert (stages["tune"], stages["gate"], stages["register"], stages["deploy"]) == (
        "skipped", "succeeded", "pending", "pending",
    )  # fmt: skip


def test_what_a_failed_stage_had_made_is_kept_with_the_job(engine: Engine) -> None:
    job_id = a_job(engine)
    claim = take(engine, job_id)
    report = {"validation": Blob("sha256:" + "1" * 64, 7, "application/json")}
    clerk.fail(engine, claim, InvalidData("no"), stage="validate", artifacts=report)
    with transaction(engine) as session:
        kept = jobs.artifact(session, job_id, "validation")
        assert (kept.stage, kept.size_bytes) == ("validate", 7)


def test_a_move_that_the_map_does_not_have_is_refused(engine: Engine) -> None:
    job_id = a_job(engine)
    with pytest.raises(Conflict), transaction(engine) as session:
        move_job(session, session.get_one(Job, job_id), JobStatus.SUCCEEDED)


def test_a_node_that_starts_again_frees_its_old_leases_uncharged_and_no_other_nodes(engine: Engine) -> None:
    mine, other = a_job(engine), a_job(engine)
    take(engine, mine, "node-a:1:x")
    take(engine, other, "node-b:1:x")
    assert clerk.release_node(engine, "node-a") == 1
    assert take(engine, mine, "node-a:2:y").attempt == 1
    assert clerk.claim_next(engine, other, owner="node-a:2:y", lease_seconds=1) is None

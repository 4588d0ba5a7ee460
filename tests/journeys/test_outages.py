"""Redis flushed, Redis killed, Postgres stopped at once, the store away for half a minute: nothing is lost."""

import os
import signal
import socket
import time
from pathlib import Path

import redis

from tests.driver import RunningStack, agreed, eventually
from tests.journeys.soundness import a_spec, a_table, assert_sound, database

STORE_AWAY_SECONDS = 30.0


def test_bells_lost_by_a_flush_are_rung_again_from_the_rows(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    dataset = stack.client.upload(a_table(tmp_path / "t.csv"))
    broker = redis.Redis.from_url(stack.engines.redis.url)
    for worker in stack.workers:
        os.kill(worker.pid, signal.SIGSTOP)
    try:
        jobs = [stack.client.submit(a_spec(dataset, f"flushed-{number}")) for number in range(4)]
        eventually(lambda: int(broker.llen("trainhouse:pipeline")) > 0, within=20, what="a bell in the queue")  # type: ignore[arg-type]
        broker.flushall()
    finally:
        for worker in stack.workers:
            os.kill(worker.pid, signal.SIGCONT)
    for job_id in jobs:
        assert_sound(stack, job_id, attempts=range(1, 2))


def test_a_job_is_accepted_while_redis_is_dead_and_runs_once_it_is_back(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    dataset = stack.client.upload(a_table(tmp_path / "t.csv"))
    stack.engines.redis.kill()
    try:
        jobs = [stack.client.submit(a_spec(dataset, f"no-broker-{number}")) for number in range(3)]
        assert {stack.client.job(job_id)["status"] for job_id in jobs} == {"queued"}
    finally:
        stack.heal()
    for job_id in jobs:
        assert_sound(stack, job_id)


def test_redis_restarted_while_trials_run_harms_nothing(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    dataset = stack.client.upload(a_table(tmp_path / "t.csv", rows=20_000))
    tuning = {"strategy": "random", "max_trials": 8, "max_parallel": 2}
    job_id = stack.client.submit(a_spec(dataset, "redis-again", tuning=tuning))
    eventually(lambda: stack.client.job(job_id)["stage"] == "tune", within=60, what="the search")
    stack.engines.redis.kill()
    stack.heal()
    assert_sound(stack, job_id, attempts=range(1, 2))
    assert len(list(stack.client.everything(f"/v1/jobs/{job_id}/trials"))) == 8


def test_postgres_stopped_at_once_in_the_middle_of_jobs(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    dataset = stack.client.upload(a_table(tmp_path / "t.csv", rows=20_000))
    tuning = {"strategy": "random", "max_trials": 6, "max_parallel": 2}
    jobs = [stack.client.submit(a_spec(dataset, f"postgres-{number}", tuning=tuning)) for number in range(2)]
    eventually(lambda: stack.client.job(jobs[0])["status"] == "running", within=60, what="work")
    for _time in range(2):
        stack.engines.postgres.kill()
        answer = stack.client.get(f"/v1/jobs/{jobs[0]}")
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        stack.heal()
    for job_id in jobs:
        assert_sound(stack, job_id, attempts=range(1, 4))


def test_a_source_that_never_answers_ends_its_job_by_the_clock(stack: RunningStack) -> None:
    stack.heal()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: every attempt is refused at once
        config = {
            "host": "127.0.0.1", "port": nobody.getsockname()[1], "database": "d", "user": "u", "sslmode": "disable",
        }  # fmt: skip
        made = {"name": "nobody", "kind": "postgres", "config": config, "secret": {"password": "p"}}
        agreed(stack.client.post("/v1/connections", json=made))
        source = {"kind": "database", "connection": "nobody", "query": "select 1 as a, 1 as y"}
        spec = a_spec("", "source-away", data={"sources": {"t": source}}, resources={"max_seconds": 6})
        job = stack.client.wait(stack.client.submit(spec), timeout=60)
    assert (job["status"], job["error"]["code"], job["error"]["stage"]) == ("failed", "deadline_exceeded", "ingest")


def test_the_store_away_for_half_a_minute_costs_no_attempt(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    dataset = stack.client.upload(a_table(tmp_path / "t.csv"))
    stack.engines.s3.kill()
    gone = time.monotonic()
    job_id = stack.client.submit(a_spec(dataset, "no-store"))

    def put_back() -> bool:
        with database(stack) as looking:
            row = looking.execute(
                "select count(*) from job_logs where job_id = %s and message like 'put back%%'", (job_id,)
            ).fetchone()
            return row is not None and row[0] > 0

    eventually(put_back, within=60, what="the job being put back")
    eventually(lambda: time.monotonic() - gone > STORE_AWAY_SECONDS, within=60, what="half a minute")
    assert stack.client.job(job_id)["status"] in {"queued", "running"}
    stack.heal()
    assert_sound(stack, job_id, attempts=range(1, 2))

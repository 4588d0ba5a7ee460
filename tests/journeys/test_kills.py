"""kill -9 of a worker inside each stage and inside a trial: the job ends well, once, and says how often it was begun."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.states import STAGES
from standalone.rows import settings as settings_from
from tests.driver import Receiver, RunningStack, agreed, eventually
from tests.journeys.soundness import (
    a_spec,
    a_table,
    a_worker_waits_for_a_lock,
    assert_sound,
    database,
    event_ids,
    holder_of,
    versions_of,
)


@contextmanager
def dispatcher_paused(stack: RunningStack) -> Iterator[None]:
    """Nothing is rung meanwhile, so that a test can take a lock before the work begins."""
    os.kill(stack.dispatcher.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.dispatcher.pid, signal.SIGCONT)


def kill_holder(stack: RunningStack, pid: int, *, whole: bool) -> None:
    """SIGKILL to the process that does the work, or to its whole worker."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    if not whole:
        os.kill(pid, signal.SIGKILL)
        return
    worker = next(child for child in stack.workers if child.pid == parent)
    worker.kill()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), within=10, what="the worker's child ending with it")


def held_inside(stack: RunningStack, looking: psycopg.Connection[Any], job_id: str, stage: str) -> None:
    """Returns when the job stands before a lock in that stage; a moment's wait of an earlier stage is none."""

    def there() -> bool:
        return stack.client.job(job_id)["stage"] == stage and a_worker_waits_for_a_lock(looking)

    eventually(there, within=60, what=f"a worker held inside {stage}")


def hold_before(holding: psycopg.Connection[Any], job_id: str, stage: str) -> None:
    """Locks the stage's row: whoever settles the one before waits until `holding` ends its transaction."""
    holding.execute("select 1 from job_stages where job_id = %s and name = %s for update", (job_id, stage))


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_a_worker_killed_inside_a_stage_costs_one_attempt_and_nothing_else(
    stack: RunningStack, tmp_path: Path, stage: str
) -> None:
    """The settling of each stage also begins the next one: a lock on the next one's row holds the worker inside this one."""
    stack.heal()
    spec = a_spec(stack.client.upload(a_table(tmp_path / "t.csv")), f"killed-in-{stage}")
    following = STAGES[STAGES.index(stage) + 1]
    with database(stack) as holding, database(stack) as looking:
        looking.autocommit = True
        with dispatcher_paused(stack):
            job_id = stack.client.submit(spec)
            hold_before(holding, job_id, following)
        held_inside(stack, looking, job_id, stage)
        pid = holder_of(looking, job_id)
        assert pid is not None
        kill_holder(stack, pid, whole=stage in {"ingest", "evaluate"})
    stack.heal()
    assert_sound(stack, job_id, attempts=range(2, 3))


def test_a_job_that_ends_its_worker_each_time_is_given_up_as_poison(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    spec = a_spec(stack.client.upload(a_table(tmp_path / "t.csv")), "poison")
    killed: list[int] = []
    most = settings_from(stack.stack.variables).max_strikes
    with database(stack) as holding, database(stack) as looking:
        looking.autocommit = True
        with dispatcher_paused(stack):
            job_id = stack.client.submit(spec)
            hold_before(holding, job_id, "validate")
        while len(killed) < most:
            eventually(lambda: holder_of(looking, job_id) not in {None, *killed}, within=60, what="another worker")
            held_inside(stack, looking, job_id, "ingest")
            pid = holder_of(looking, job_id)
            assert pid is not None
            kill_holder(stack, pid, whole=False)
            killed.append(pid)
            holding.rollback()  # the dead worker's transaction stood before the lock, and ends now
            if len(killed) < most:
                hold_before(holding, job_id, "validate")
    job = stack.client.wait(job_id, timeout=60)
    assert (job["status"], job["error"]["code"], job["error"]["stage"]) == ("failed", "poison", "ingest")
    assert job["attempt"] == most + 1
    assert len(event_ids(stack, job_id, "job.failed")) == 1
    assert versions_of(stack, "poison") == []
    sound = stack.client.submit(a_spec(stack.client.upload(tmp_path / "t.csv"), "after-poison"))
    assert_sound(stack, sound)


def test_a_worker_killed_inside_deploy_makes_one_deployment_and_one_event(
    stack: RunningStack, tmp_path: Path, receiver: Receiver
) -> None:
    """The last stage announces: a lock on the endpoint's row holds the worker inside it."""
    stack.heal()
    hook = agreed(stack.client.post("/v1/webhooks", json={"url": receiver.url, "events": ["deployment.requested"]}))
    receiver.secret = hook["secret"]
    spec = a_spec(
        stack.client.upload(a_table(tmp_path / "t.csv")), "killed-in-deploy", deployment={"target": "staging"}
    )
    with database(stack) as holding, database(stack) as looking:
        looking.autocommit = True
        holding.execute("select 1 from webhook_endpoints where id = %s for update", (hook["id"],))
        job_id = stack.client.submit(spec)
        held_inside(stack, looking, job_id, "deploy")
        pid = holder_of(looking, job_id)
        assert pid is not None
        kill_holder(stack, pid, whole=True)
    stack.heal()
    assert_sound(stack, job_id, attempts=range(2, 3))
    assert len(event_ids(stack, job_id, "deployment.requested")) == 1
    eventually(lambda: len(receiver.received) > 0, within=30, what="the webhook")
    assert {hook.webhook_id for hook in receiver.received} == set(event_ids(stack, job_id, "deployment.requested"))
    stack.client.delete(f"/v1/webhooks/{hook['id']}")


def test_a_worker_killed_inside_a_trial_has_its_trial_run_again(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    spec = a_spec(
        stack.client.upload(a_table(tmp_path / "t.csv", rows=20_000)), "killed-in-trial",
        tuning={"strategy": "random", "max_trials": 4, "max_parallel": 2},
        training={"max_iterations": 200, "early_stopping_rounds": None, "params": {"learning_rate": 0.02}},
    )  # fmt: skip
    job_id = stack.client.submit(spec)
    with database(stack) as looking:
        looking.autocommit = True
        running = "select count(*) from trials where job_id = %s and status = 'running'"
        eventually(lambda: looking.execute(running, (job_id,)).fetchone() != (0,), within=90, what="a trial")  # type: ignore[arg-type]
        pid = holder_of(looking, job_id)
        assert pid is not None
        kill_holder(stack, pid, whole=True)
    stack.heal()
    job = assert_sound(stack, job_id)
    trials = list(stack.client.everything(f"/v1/jobs/{job_id}/trials"))
    assert [trial["status"] for trial in trials] == ["complete"] * 4
    assert sum(trial["attempt"] - 1 for trial in trials) >= 1
    assert job["best_trial"] is None or job["best_trial"] in range(4)

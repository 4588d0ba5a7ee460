"""The rows of a search: parallel asks, lost workers, the last to tell, and a study that does not depend on timing."""

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.db import transaction
from app.errors import LeaseLost
from app.states import TrialStatus
from app.tables import Job, Trial
from tests.engine.rows import LEASE_SECONDS, a_job, the_job
from tests.engine.test_claims import carry_to, settle, take
from workers import trial_clerk
from workers.context import Done, FanOut
from workers.trial_clerk import Asked, Told


def searching(engine: Engine, *, trials: int = 4, parallel: int = 2, mode: str = "fast", **tuning: Any) -> str:
    """A job that waits on trials."""
    job_id = a_job(
        engine, tuning={"strategy": "random", "max_trials": trials, "max_parallel": parallel, **tuning},
        reproducibility={"mode": mode},
    )  # fmt: skip
    claim = take(engine, job_id)
    carry_to(engine, claim, "validate")
    settle(engine, claim, "validate", Done(output={"task_type": "regression"}))
    for stage in ("split", "transform", "train"):
        settle(engine, claim, stage)
    settle(engine, claim, "tune", FanOut(trials=trials, parallel=parallel, minimize=True))
    return job_id


def remembering(spec: Any, facts: Any, *, number: int, history: Any, running: Any, **_more: Any) -> dict[str, Any]:
    """A search that suggests what it was shown, so that a test can see it."""
    assert (spec.model, facts.task) == ("a-model", "regression")
    return {"number": number, "seen": [trial.number for trial in history], "running": len(running)}


def ask(engine: Engine, job_id: str, owner: str = "n:1:a") -> Asked | None:
    return trial_clerk.ask(engine, job_id, owner=owner, lease_seconds=LEASE_SECONDS, suggest=remembering)


def tell(engine: Engine, job_id: str, asked: Asked, value: float = 1.0) -> None:
    trial_clerk.tell(engine, job_id, asked, Told(TrialStatus.COMPLETE, 0.1, value=value, metrics={"rmse": value}))


def run_out(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        session.execute(
            text("update trials set lease_until = now() - interval '1 s' where job_id = :id and status = 'running'"),
            {"id": job_id},
        )
        trial_clerk.advance(session, session.get_one(Job, job_id, with_for_update=True))


def rows(engine: Engine, job_id: str) -> list[Trial]:
    with transaction(engine) as session:
        return list(session.query(Trial).filter_by(job_id=job_id).order_by(Trial.number))


def test_no_more_trials_run_at_a_time_than_the_spec_allows(engine: Engine) -> None:
    job_id = searching(engine, trials=9, parallel=3)
    asked: list[Asked | None] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        asked.append(ask(engine, job_id, f"n:{number}:x"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.number for one in asked if one) == [0, 1, 2]


def test_whoever_tells_the_last_trial_sets_the_job_going_again(engine: Engine) -> None:
    job_id = searching(engine, trials=2, parallel=2)
    first, second = ask(engine, job_id), ask(engine, job_id)
    assert first is not None
    assert second is not None
    tell(engine, job_id, second)
    assert the_job(engine, job_id).waits_on == "trials"
    tell(engine, job_id, first)
    job = the_job(engine, job_id)
    assert job.waits_on is None
    assert job.search is not None
    assert job.search["ended"] is True
    assert ask(engine, job_id) is None


def test_a_lost_trial_is_run_again_with_the_same_parameters_and_its_old_worker_cannot_tell(engine: Engine) -> None:
    job_id = searching(engine)
    lost = ask(engine, job_id, "n:1:lost")
    assert lost is not None
    run_out(engine, job_id)
    again = ask(engine, job_id, "n:2:heir")
    assert again is not None
    assert (again.number, again.params, again.attempt) == (lost.number, lost.params, 2)
    with pytest.raises(LeaseLost):
        tell(engine, job_id, lost)
    tell(engine, job_id, again)


def test_a_trial_lost_three_times_is_lost_and_the_search_still_ends(engine: Engine) -> None:
    job_id = searching(engine, trials=1, parallel=1)
    for _attempt in range(3):
        assert ask(engine, job_id) is not None
        run_out(engine, job_id)
    assert [(row.status, row.value) for row in rows(engine, job_id)] == [(TrialStatus.LOST, None)]
    assert the_job(engine, job_id).waits_on is None


def test_telling_twice_because_the_answer_was_lost_records_once(engine: Engine) -> None:
    job_id = searching(engine)
    asked = ask(engine, job_id)
    assert asked is not None
    tell(engine, job_id, asked, 3.0)
    tell(engine, job_id, asked, 3.0)
    assert rows(engine, job_id)[0].value == 3.0


def test_a_search_without_patience_left_ends_early(engine: Engine) -> None:
    job_id = searching(engine, trials=50, parallel=1, patience=3)
    for value in (1.0, 2.0, 2.0, 2.0):
        asked = ask(engine, job_id)
        assert asked is not None
        tell(engine, job_id, asked, value)
    assert the_job(engine, job_id).waits_on is None
    assert len(rows(engine, job_id)) == 4


@pytest.mark.parametrize("finishing", ["in order", "backwards"])
def test_in_deterministic_mode_what_is_suggested_depends_on_no_worker_s_speed(engine: Engine, finishing: str) -> None:
    job_id = searching(engine, trials=6, parallel=2, mode="deterministic")
    while the_job(engine, job_id).waits_on == "trials":
        running = [asked for asked in (ask(engine, job_id), ask(engine, job_id)) if asked]
        for asked in running if finishing == "in order" else reversed(running):
            tell(engine, job_id, asked, float(asked.number))
    seen = [row.params["seen"] for row in rows(engine, job_id)]
    assert seen == [list(range(max(0, number - 1))) for number in range(6)]

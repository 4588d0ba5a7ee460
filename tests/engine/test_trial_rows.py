"""The rows of a search: parallel asks, lost workers, the last to tell, and a study that does not depend on timing."""

import itertools
import threading
import time
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from app.db import transaction
from app.errors import InvalidData, LeaseLost
from app.jobs import service as jobs
from app.secrets import Vault
from app.states import TrialStatus
from app.tables import Job, Trial
from tests.engine.rows import LEASE_SECONDS, a_job, the_job
from tests.engine.test_claims import carry_to, settle, take
from workers import asking, clerk, standing, trial_clerk
from workers.context import Done, FanOut
from workers.loading import load
from workers.opening import opened
from workers.search.facts import facts_of
from workers.searching import Searching, look
from workers.trial_clerk import Asked, Told

VAULT = Vault(Fernet.generate_key().decode())
PROCESSES = itertools.count(1)


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
    loaded = load(engine, VAULT, job_id)
    search = opened(loaded.spec, loaded.outputs)
    settle(engine, claim, "tune", FanOut(trials=trials, parallel=parallel, minimize=True), search=search)
    return job_id


def remembering(spec: Any, facts: Any, *, number: int, history: Any, running: Any, **_more: Any) -> dict[str, Any]:
    """A search that suggests what it was shown, so that a test can see it."""
    assert (spec.model, facts.task) == ("a-model", "regression")
    return {"number": number, "seen": [trial.number for trial in history], "running": len(running)}


def ask(
    engine: Engine, job_id: str, owner: str | None = None, *, after: tuple[Asked, Told] | None = None
) -> Asked | None:
    """What a process that has seen nothing of the search yet asks for."""
    seen = look(engine, job_id)
    if seen is None:
        return None
    loaded = load(engine, VAULT, job_id)
    searching = Searching(job_id, seen.fence, seen.project_id, loaded, facts_of(loaded.outputs))
    return asking.ask(
        engine, searching, owner=owner or f"n:{next(PROCESSES)}:a", lease_seconds=LEASE_SECONDS, suggest=remembering,
        after=after,
    )  # fmt: skip


def tell(engine: Engine, job_id: str, asked: Asked, value: float = 1.0) -> None:
    trial_clerk.tell(engine, job_id, asked, Told(TrialStatus.COMPLETE, 0.1, value=value, metrics={"rmse": value}))


def run_out(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        session.execute(
            text("update trials set lease_until = now() - interval '1 s' where job_id = :id and status = 'running'"),
            {"id": job_id},
        )
        standing.advance(session, session.get_one(Job, job_id, with_for_update=True), now=time.time())


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


def test_a_process_that_holds_two_trials_counts_once_for_it_fits_one_at_a_time(engine: Engine) -> None:
    job_id = searching(engine, trials=9, parallel=2)
    numbers = [ask(engine, job_id, owner) for owner in ("n:1:x", "n:1:x:2", "n:2:y", "n:2:y:2", "n:3:z")]
    assert [one.number if one else None for one in numbers] == [0, 1, 2, 3, None]
    again = ask(engine, job_id, "n:1:x:2")
    assert again is not None
    assert again.number == 1
    assert {row.worker for row in rows(engine, job_id)} == {"n:1", "n:2"}


def test_a_fit_is_known_by_the_seconds_of_the_rounds_that_were_kept(engine: Engine) -> None:
    job_id = searching(engine)
    for facts, iterations in (({"fit_seconds": 6.0, "ran": 300}, 200), ({}, 5), ({"fit_seconds": 1.0, "ran": 0}, 5)):
        asked = ask(engine, job_id)
        assert asked is not None
        told = Told(TrialStatus.COMPLETE, 7.0, value=1.0, iterations=iterations, facts=facts)
        trial_clerk.tell(engine, job_id, asked, told)
    with transaction(engine) as session:
        known = standing.budgeted({}, standing.of(session, job_id))
    assert [trial.kept_seconds for trial in known] == [4.0, None, None]
    assert [trial.again for trial in known] == [4.0, 7.0, 7.0]


def test_a_trial_beyond_a_bound_is_known_by_what_it_measured(engine: Engine) -> None:
    job_id = searching(engine)
    for facts in ({"model_bytes": 11.0, "predict_ms": 0.5}, {"model_bytes": 10}, {"predict_ms": 2}, {}):
        asked = ask(engine, job_id)
        assert asked is not None
        trial_clerk.tell(engine, job_id, asked, Told(TrialStatus.COMPLETE, 1.0, value=1.0, facts=facts))
    with transaction(engine) as session:
        known = standing.of(session, job_id)
    bounds = {"model_bytes": 10, "predict_ms": 1.0}
    assert [trial.beyond for trial in standing.budgeted({"bounds": bounds}, known)] == [True, False, True, False]
    assert not any(trial.beyond for trial in standing.budgeted({"bounds": {}}, known))


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


def test_a_trial_is_told_and_the_next_one_asked_in_one_breath(engine: Engine) -> None:
    job_id = searching(engine, trials=3, parallel=1)
    first = ask(engine, job_id)
    assert first is not None
    told = (first, Told(TrialStatus.COMPLETE, 0.1, value=2.0, facts={"threads": 1}))
    second = ask(engine, job_id, after=told)
    assert second is not None
    assert [trial.facts for trial in second.history] == [{"threads": 1}]
    assert ask(engine, job_id, "n:other:x") is None, "one runs, and no more may"


def test_a_process_whose_answer_was_lost_gets_its_own_trial_again(engine: Engine) -> None:
    job_id = searching(engine, trials=3, parallel=3)
    first, again = ask(engine, job_id, "n:1:same"), ask(engine, job_id, "n:1:same")
    assert first is not None
    assert again is not None
    assert first.number == again.number == 0


@pytest.mark.parametrize(
    ("ended_by", "tuning"),
    [
        ("max_trials", {"trials": 2}), ("patience", {"trials": 9, "patience": 1}),
        ("grid_exhausted", {"trials": 2, "strategy": "grid", "space": {"num_leaves": {"type": "int", "low": 4, "high": 5}}}),
    ],
)  # fmt: skip
def test_a_job_says_what_ended_its_search(engine: Engine, ended_by: str, tuning: dict[str, Any]) -> None:
    job_id = searching(engine, parallel=1, **tuning)
    while (asked := ask(engine, job_id)) is not None:
        tell(engine, job_id, asked)
    assert (the_job(engine, job_id).search or {})["ended_by"] == ended_by


def test_a_search_stops_asking_where_its_seconds_are_over_and_tells_a_trial_how_many_are_left(engine: Engine) -> None:
    job_id = searching(engine, trials=1_000, parallel=1, max_seconds=100)
    asked = ask(engine, job_id)
    assert asked is not None
    assert 80 < asked.seconds_left <= 95
    with transaction(engine) as session:
        session.execute(
            text("update jobs set search = jsonb_set(search, '{began_at}', to_jsonb(extract(epoch from now()) - 96)) where id = :id"),
            {"id": job_id},
        )  # fmt: skip
    assert ask(engine, job_id, after=(asked, Told(TrialStatus.COMPLETE, 0.1, value=1.0))) is None
    job = the_job(engine, job_id)
    assert job.search is not None
    assert (job.waits_on, job.search["ended_by"]) == (None, "max_seconds")


def test_a_retry_gets_its_budget_anew(engine: Engine) -> None:
    job_id = a_job(engine, tuning={"max_seconds": 100})
    claim = take(engine, job_id)
    carry_to(engine, claim, "tune")
    with transaction(engine) as session:
        session.execute(
            text("update job_stages set started_at = now() - interval '90 s' where job_id = :id and name = 'train'"),
            {"id": job_id},
        )
    assert load(engine, VAULT, job_id).budget_ends - time.monotonic() == pytest.approx(10, abs=2)
    clerk.fail(engine, claim, InvalidData("no"), stage="tune")
    with transaction(engine) as session:
        jobs.retry(session, session.get_one(Job, job_id, with_for_update=True), by="key")
    assert load(engine, VAULT, job_id).budget_ends - time.monotonic() == pytest.approx(100, abs=2)


@pytest.mark.parametrize("finishing", ["in order", "backwards"])
def test_in_deterministic_mode_patience_looks_only_at_trials_that_have_ended_on_any_machine(
    engine: Engine, finishing: str
) -> None:
    job_id = searching(engine, trials=30, parallel=2, mode="deterministic", patience=3)
    while the_job(engine, job_id).waits_on == "trials":
        running = [asked for asked in (ask(engine, job_id), ask(engine, job_id)) if asked]
        for asked in running if finishing == "in order" else reversed(running):
            tell(engine, job_id, asked, 0.0 if asked.number == 1 else 1.0)
    assert len(rows(engine, job_id)) == 6, "1 is the best; 2, 3, 4 spend the patience; 5 was begun before 4 counted"

"""A bell says that a job is due; whose turn it is stands in the rows."""

import threading

from sqlalchemy import Engine, func

from app.db import transaction
from app.tables import Job
from tests.engine.rows import LEASE_SECONDS, a_job, let_the_lease_run_out, somebody_waits, the_job
from workers import clerk


def hear_a_bell(engine: Engine, rung_for: str) -> str | None:
    claim = clerk.claim_next(engine, rung_for, owner="node:1:a", lease_seconds=LEASE_SECONDS)
    return claim.job_id if claim is not None else None


def let_bells_hang_for(engine: Engine, *job_ids: str) -> None:
    with transaction(engine) as session:
        for job_id in job_ids:
            session.get_one(Job, job_id).rung_at = func.now()


def test_a_bell_that_hung_before_an_urgent_job_came_takes_the_urgent_one(engine: Engine) -> None:
    early = [a_job(engine, resources={"priority": 8}) for _ in range(3)]
    urgent = a_job(engine, resources={"priority": 9})
    heard = [hear_a_bell(engine, rung_for) for rung_for in (*early, urgent)]
    assert heard == [urgent, *early]


def test_a_bell_takes_nothing_that_waits_that_is_held_or_that_is_not_due_yet(engine: Engine) -> None:
    held = a_job(engine, resources={"priority": 9})
    assert hear_a_bell(engine, held) == held
    later, asked = (a_job(engine, resources={"priority": 9}) for _ in range(2))
    with transaction(engine) as session:
        session.get_one(Job, later).due_at = func.now() + clerk.SECOND * 60
        session.get_one(Job, asked).waits_on = "trials"
    mine = a_job(engine, resources={"priority": 8})
    assert hear_a_bell(engine, held) == mine
    let_the_lease_run_out(engine, held)
    assert hear_a_bell(engine, mine) == held, "a lost worker's job is free again"
    jobs_left = the_job(engine, later), the_job(engine, asked)
    assert [job.fence for job in jobs_left] == [0, 0]


def test_of_sixteen_workers_that_hear_bells_each_gets_a_job_of_its_own(engine: Engine) -> None:
    made = [a_job(engine, resources={"priority": 9}) for _ in range(8)]
    let_bells_hang_for(engine, *made)
    won: list[str] = []
    start = threading.Barrier(16)

    def hear(number: int) -> None:
        start.wait()
        claim = clerk.claim_next(engine, made[number % 8], owner=f"node:{number}:x", lease_seconds=LEASE_SECONDS)
        if claim is not None:
            won.append(claim.job_id)

    threads = [threading.Thread(target=hear, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(set(won))
    assert set(made) <= set(won)
    assert {the_job(engine, job_id).fence for job_id in made} == {1}


def test_a_bell_waits_for_the_job_it_was_rung_for_where_another_transaction_has_its_row(engine: Engine) -> None:
    job_id, heard = a_job(engine), []
    hearing = threading.Thread(target=lambda: heard.append(hear_a_bell(engine, job_id)))
    with transaction(engine) as session:
        session.get_one(Job, job_id, with_for_update=True)
        hearing.start()
        while not somebody_waits(engine):
            assert hearing.is_alive()
    hearing.join()
    assert heard == [job_id]


def rung(engine: Engine, job_id: str) -> bool:
    return the_job(engine, job_id).rung_at is not None


def test_where_a_bell_takes_a_job_that_has_none_another_is_rung_for_its_own(engine: Engine) -> None:
    waiting, urgent = a_job(engine), a_job(engine, resources={"priority": 9})
    let_bells_hang_for(engine, waiting)
    assert hear_a_bell(engine, waiting) == urgent
    assert not rung(engine, waiting)


def test_where_both_have_bells_neither_is_rung_again(engine: Engine) -> None:
    waiting, urgent = a_job(engine), a_job(engine, resources={"priority": 9})
    let_bells_hang_for(engine, waiting, urgent)
    assert hear_a_bell(engine, waiting) == urgent
    assert rung(engine, waiting)

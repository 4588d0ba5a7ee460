"""What a trial leaves that does not end as it should: the blobs of its checkpoints, and what its worker believed."""

from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.db import transaction
from app.jobs import service as jobs
from app.states import TrialStatus
from app.tables import Garbage, Job
from tests.engine.rows import LEASE_SECONDS
from tests.engine.test_trial_rows import VAULT, ask, remembering, rows, run_out, searching
from workers import asking, trial_clerk
from workers.searching import look, remembered
from workers.trial_clerk import Told


def thrown(engine: Engine, job_id: str) -> set[str]:
    """What of the job's project is to be removed from the store."""
    with transaction(engine) as session:
        project_id = session.get_one(Job, job_id).project_id
        return set(session.scalars(select(Garbage.digest).where(Garbage.project_id == project_id)))


def test_where_a_fit_stood_is_thrown_away_with_the_trial_that_is_lost(engine: Engine) -> None:
    job_id = searching(engine, trials=1, parallel=1)
    for attempt in range(3):
        asked = ask(engine, job_id)
        assert asked is not None
        trial_clerk.note_checkpoint(engine, job_id, asked, {"fit": {"digest": f"sha256:{attempt}"}})
        assert thrown(engine, job_id) == set()
        run_out(engine, job_id)
    assert rows(engine, job_id)[0].status == TrialStatus.LOST
    assert thrown(engine, job_id) == {"sha256:2"}


def test_where_fits_stood_is_thrown_away_with_the_job_that_is_cancelled(engine: Engine) -> None:
    job_id = searching(engine)
    for number in range(2):
        asked = ask(engine, job_id)
        assert asked is not None
        trial_clerk.note_checkpoint(engine, job_id, asked, {"fold-0": {"digest": f"sha256:{number}"}})
    with transaction(engine) as session:
        jobs.end_cancelled(session, session.get_one(Job, job_id))
    assert thrown(engine, job_id) == {"sha256:0", "sha256:1"}
    assert [row.checkpoint for row in rows(engine, job_id)] == [None, None]


def test_what_was_read_before_a_commit_that_failed_is_read_again(engine: Engine) -> None:
    job_id = searching(engine, trials=3, parallel=1)
    seen = look(engine, job_id)
    assert seen is not None
    known = remembered(engine, VAULT, job_id, seen)
    first = asking.ask(engine, known, owner="n:1:a", lease_seconds=LEASE_SECONDS, suggest=remembering)
    assert first is not None
    told = Told(TrialStatus.COMPLETE, 1.0, value=1.0)

    def broken(*_args: Any, **_more: Any) -> dict[str, Any]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        asking.ask(engine, known, owner="n:1:a", lease_seconds=LEASE_SECONDS, suggest=broken, after=(first, told))
    assert rows(engine, job_id)[0].status == TrialStatus.RUNNING
    assert known.first == []
    assert known.ended == {}

"""Work that breaks is tried again, so often and no more: then its job has failed, and says with what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine

from app.db import transaction
from app.errors import DeadlineExceeded, InvalidData, StoreUnavailable, TrainerFailed
from app.secrets import Vault
from app.settings import Settings
from app.states import STAGES, JobStatus, TrialStatus
from app.storage import FolderStore
from app.tables import JobLog, Trial
from tests.engine.rows import a_job, events_of, let_the_lease_run_out, make_due, the_job
from tests.engine.test_claims import carry_to, settle, take
from tests.modelling import context, matrix, trained
from workers import clerk, trial
from workers.context import Blob, Context, Done, FanOut
from workers.loading import load
from workers.opening import opened
from workers.pipeline import TRAIN, run_job
from workers.room import Room
from workers.trainers.lightgbm import LightgbmTrainer
from workers.trial import run_trials
from workers.workspace import BlobCache

Breaking = Callable[[BaseException], list[str]]


@pytest.fixture
def room(engine: Engine, settings: Settings, tmp_path: Path) -> Room:
    """A worker's room, with a store and a scratch folder of its own."""
    known = settings.model_copy(update={"scratch_dir": tmp_path / "scratch"})
    return Room(
        settings=known, engine=engine, store=FolderStore(tmp_path / "store"),
        cache=BlobCache(tmp_path / "blobs", limit_bytes=2**30), vault=Vault(Fernet.generate_key().decode()),
        owner="node:1:a",
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Breaking:
    """Makes the first stage break with an error; returns a list of the jobs in which it did."""

    def make(error: BaseException) -> list[str]:
        begun: list[str] = []

        def run(ctx: Context) -> Done:
            begun.append(ctx.job_id)
            raise error

        monkeypatch.setitem(TRAIN, "ingest", run)
        return begun

    return make


def tried(room: Room, job_id: str) -> list[str]:
    """The job's status after each time that a worker took it, until it has ended."""
    seen: list[str] = []
    while not seen or seen[-1] == JobStatus.QUEUED:
        run_job(room, job_id)
        seen.append(the_job(room.engine, job_id).status)
        make_due(room.engine, job_id)
        assert len(seen) < 20, "it is tried for ever"
    return seen


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("it broke"), "internal"),
        (SystemExit(1), "internal"),
        (TrainerFailed("The library broke."), "trainer_failed"),
        (MemoryError(), "out_of_memory"),
        (RecursionError(), "out_of_memory"),
    ],
)
def test_work_that_breaks_each_time_fails_at_the_last_strike(
    room: Room, breaking: Breaking, error: BaseException, code: str
) -> None:
    most, job_id = room.settings.max_strikes, a_job(room.engine)
    begun = breaking(error)
    assert tried(room, job_id) == [JobStatus.QUEUED] * (most - 1) + [JobStatus.FAILED]
    job = the_job(room.engine, job_id)
    assert job.error is not None
    assert (job.error["code"], job.error["stage"]) == (code, "ingest")
    assert (len(begun), job.attempt, job.lease_owner) == (most, most, None)
    assert [kind for kind, _ in events_of(room.engine, job_id)].count("job.failed") == 1
    with transaction(room.engine) as session:
        told = [line.message for line in session.query(JobLog).filter_by(job_id=job_id, level="error")]
    assert [line.split(": ")[1] for line in told] == [code]


@pytest.mark.parametrize(
    ("error", "code"), [(InvalidData("no rows"), "invalid_data"), (DeadlineExceeded(), "deadline_exceeded")]
)
def test_what_would_end_so_again_is_not_tried_again(
    room: Room, breaking: Breaking, error: Exception, code: str
) -> None:
    job_id = a_job(room.engine)
    begun = breaking(error)
    assert tried(room, job_id) == [JobStatus.FAILED]
    assert (len(begun), (the_job(room.engine, job_id).error or {})["code"]) == (1, code)


def test_an_outage_never_uses_the_strikes_up(room: Room, breaking: Breaking) -> None:
    job_id = a_job(room.engine)
    begun = breaking(StoreUnavailable())
    for _ in range(room.settings.max_strikes + 3):
        run_job(room, job_id)
        make_due(room.engine, job_id)
    job = the_job(room.engine, job_id)
    assert (job.status, job.strikes, job.attempt) == (JobStatus.QUEUED, 0, 1)
    assert len(begun) == room.settings.max_strikes + 3


def test_a_job_that_ends_its_worker_each_time_is_poison_and_its_stage_not_begun_again(
    room: Room, breaking: Breaking
) -> None:
    most, job_id = room.settings.max_strikes, a_job(room.engine)
    begun = breaking(AssertionError("it was begun once more"))
    for _killed in range(most):
        clerk.begin_stage(room.engine, take(room.engine, job_id), "ingest")
        let_the_lease_run_out(room.engine, job_id)
    run_job(room, job_id)
    job = the_job(room.engine, job_id)
    assert job.error is not None
    assert (job.status, job.error["code"], job.error["stage"]) == (JobStatus.FAILED, "poison", "ingest")
    assert f"{most} times" in job.error["detail"]
    assert (begun, job.attempt, job.lease_owner) == ([], most + 1, None)
    assert [kind for kind, _ in events_of(room.engine, job_id)].count("job.failed") == 1


def searching(room: Room, folder: Path) -> str:
    """A job that waits on two trials, with a matrix that they can learn from."""
    spec = {"tuning": {"strategy": "random", "max_trials": 2, "folds": 0}, "training": {"max_iterations": 5}}
    ctx = trained(context(folder, matrix("binary", rows=200), spec))
    job_id = a_job(room.engine, **spec)
    claim = take(room.engine, job_id)
    stored = Blob(*room.store.put(claim.project_id, ctx.workspace.get("matrix")))
    carry_to(room.engine, claim, "validate")
    for stage in STAGES[STAGES.index("validate") : STAGES.index("tune")]:
        kept = {"matrix": stored} if stage == "transform" else {}
        settle(room.engine, claim, stage, Done(output=dict(ctx.outputs.get(stage, {}))), artifacts=kept)
    loaded = load(room.engine, room.vault, job_id)
    search = opened(loaded.spec, loaded.outputs)
    settle(room.engine, claim, "tune", FanOut(trials=2, parallel=1, minimize=False), search=search)
    return job_id


def breaks_with(error: BaseException) -> Any:
    def break_(*_given: Any, **_more: Any) -> Any:
        raise error

    return break_


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out_of_memory"),
        (ZeroDivisionError("at a row of theirs"), "ZeroDivisionError"),
        (TrainerFailed("The library broke."), "The library broke."),
    ],
)
def test_a_trial_that_breaks_has_failed_with_its_reason_and_the_search_goes_on(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    job_id = searching(room, tmp_path / "given")
    monkeypatch.setattr(LightgbmTrainer, "fit", breaks_with(error))
    run_trials(room, job_id)
    with transaction(room.engine) as session:
        rows = list(session.query(Trial).filter_by(job_id=job_id).order_by(Trial.number))
    assert [(row.status, row.reason, row.value) for row in rows] == [(TrialStatus.FAILED, reason, None)] * 2
    job = the_job(room.engine, job_id)
    assert (job.status, job.waits_on, (job.search or {})["ended"]) == (JobStatus.RUNNING, None, True)


def test_an_outage_puts_a_trial_back(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = searching(room, tmp_path / "given")
    monkeypatch.setattr(LightgbmTrainer, "fit", breaks_with(StoreUnavailable()))
    run_trials(room, job_id)
    with transaction(room.engine) as session:
        rows = list(session.query(Trial).filter_by(job_id=job_id))
    assert [(row.status, row.lease_owner) for row in rows] == [(TrialStatus.QUEUED, None)]
    assert the_job(room.engine, job_id).waits_on == "trials"


def test_a_search_that_can_suggest_nothing_fails_its_job(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = searching(room, tmp_path / "given")
    monkeypatch.setattr(trial, "suggest", breaks_with(KeyError("a parameter of theirs")))
    run_trials(room, job_id)
    job = the_job(room.engine, job_id)
    assert job.error is not None
    assert (job.status, job.error["code"], job.error["stage"]) == (JobStatus.FAILED, "internal", "tune")
    assert job.error["detail"] == "The search broke: KeyError."

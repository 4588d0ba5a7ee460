"""Searches that are killed, cancelled and cut off from the store: the same study, and no long fit from its beginning."""

from pathlib import Path
from typing import Any

import psycopg

from tests.driver import RunningStack, eventually
from tests.journeys.soundness import a_spec, a_table, assert_sound, database, holder_of, versions_of
from tests.journeys.test_kills import kill_holder

LONG_FIT = {"max_iterations": 1_200, "early_stopping_rounds": None, "params": {"learning_rate": 0.01}}
SMALL_SPACE = {"num_leaves": {"type": "int", "low": 6, "high": 8}}
REFITTED = {"strategy": "random", "space": SMALL_SPACE, "max_trials": 1, "folds": 2}


def checkpoint(looking: psycopg.Connection[Any], job_id: str, stage: str) -> Any:
    """What the stage's row says of its long fit."""
    row = looking.execute(
        "select checkpoint from job_stages where job_id = %s and name = %s", (job_id, stage)
    ).fetchone()
    return row and row[0]


def resumed(stack: RunningStack, key: str) -> bool:
    """Whether a worker says that it went on with a saved fit."""
    return any("fit_resumed" in line and key in line for worker in stack.workers for line in worker.said().splitlines())


def kill_in_a_saved_fit(stack: RunningStack, job_id: str, stage: str) -> dict[str, Any]:
    """Kills the worker of the stage's fit once it was saved; returns what was saved."""
    with database(stack) as looking:
        looking.autocommit = True
        eventually(lambda: checkpoint(looking, job_id, stage) is not None, within=120, what=f"a checkpoint of {stage}")
        pid = holder_of(looking, job_id)
        assert pid is not None
        kill_holder(stack, pid, whole=True)
        saved: dict[str, Any] = checkpoint(looking, job_id, stage)
        return saved


def test_a_long_fit_goes_on_from_its_checkpoint_on_another_worker(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    spec = a_spec(stack.client.upload(a_table(tmp_path / "t.csv", rows=20_000)), "long-fit", training=LONG_FIT)
    job_id = stack.client.submit(spec)
    saved = kill_in_a_saved_fit(stack, job_id, "train")
    assert 0 < saved["fit"]["iteration"] < LONG_FIT["max_iterations"]  # type: ignore[operator]
    stack.heal()
    job = assert_sound(stack, job_id, attempts=range(2, 3))
    assert resumed(stack, "fit")
    (fitted,) = [stage["summary"] for stage in job["stages"] if stage["name"] == "train"]
    assert fitted["iterations"] == LONG_FIT["max_iterations"]
    with database(stack) as looking:
        assert checkpoint(looking, job_id, "train") is None


def with_a_long_refit(stack: RunningStack, tmp_path: Path, model: str) -> str:
    """The id of a job whose refit takes long enough to be saved within it."""
    stack.heal()
    table = a_table(tmp_path / "t.csv", rows=20_000)
    return stack.client.submit(a_spec(stack.client.upload(table), model, training=LONG_FIT, tuning=REFITTED))


def test_a_worker_killed_inside_a_refit_has_it_gone_on_with(stack: RunningStack, tmp_path: Path) -> None:
    job_id = with_a_long_refit(stack, tmp_path, "killed-in-refit")
    (key,) = kill_in_a_saved_fit(stack, job_id, "tune")
    stack.heal()
    assert_sound(stack, job_id, attempts=range(2, 3))
    assert key.startswith("refit-")
    assert resumed(stack, key)


def test_a_job_in_the_midst_of_its_refit_can_be_cancelled(stack: RunningStack, tmp_path: Path) -> None:
    job_id = with_a_long_refit(stack, tmp_path, "cancelled-in-refit")
    with database(stack) as looking:
        looking.autocommit = True
        eventually(lambda: checkpoint(looking, job_id, "tune") is not None, within=120, what="a refit")
    assert stack.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    job = stack.client.wait(job_id, timeout=30)
    assert (job["status"], job["search"]["trials"]) == ("cancelled", {"complete": 1})
    assert versions_of(stack, "cancelled-in-refit") == []


def test_postgres_killed_inside_a_refit_loses_neither_trials_nor_the_version(
    stack: RunningStack, tmp_path: Path
) -> None:
    job_id = with_a_long_refit(stack, tmp_path, "postgres-in-refit")
    with database(stack) as looking:
        looking.autocommit = True
        eventually(lambda: checkpoint(looking, job_id, "tune") is not None, within=120, what="a refit")
    stack.engines.postgres.kill()
    assert stack.client.get(f"/v1/jobs/{job_id}").status_code == 503
    stack.heal()
    job = assert_sound(stack, job_id, attempts=range(1, 4))
    assert job["search"]["trials"] == {"complete": 1}


def test_the_store_away_during_trials_costs_none_of_them_an_attempt(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    spec = a_spec(
        stack.client.upload(a_table(tmp_path / "t.csv", rows=20_000)), "store-away", training={"max_iterations": 300},
        tuning={"strategy": "random", "space": SMALL_SPACE, "max_trials": 6, "max_parallel": 2},
    )  # fmt: skip
    job_id = stack.client.submit(spec)

    def in_the_store_s_absence() -> list[dict[str, Any]]:
        trials = stack.client.everything(f"/v1/jobs/{job_id}/trials")
        return [trial for trial in trials if trial["status"] == "queued" and "store" in (trial["reason"] or "")]

    eventually(lambda: stack.client.job(job_id)["stage"] == "tune", within=90, what="the search")
    stack.engines.s3.kill()
    eventually(lambda: in_the_store_s_absence() != [], within=60, what="a trial being put back")
    stack.heal()
    job = assert_sound(stack, job_id, attempts=range(1, 2))
    assert {trial["attempt"] for trial in stack.client.everything(f"/v1/jobs/{job_id}/trials")} == {1}
    assert (job["search"]["ended_by"], job["search"]["trials"]) == ("max_trials", {"complete": 6})


def study(stack: RunningStack, job_id: str) -> list[tuple[Any, ...]]:
    """The job's trials without what may differ: who fitted them, when, and how often that was begun."""
    trials = stack.client.everything(f"/v1/jobs/{job_id}/trials")
    return [(trial["number"], trial["status"], trial["params"], trial["value"], trial["curve"]) for trial in trials]


def test_deterministic_mode_gives_the_same_trials_and_bundle_with_one_worker_two_and_a_killed_one(
    stack: RunningStack, tmp_path: Path
) -> None:
    model = "one-two-killed"
    spec = a_spec(
        stack.client.upload(a_table(tmp_path / "t.csv", rows=3_000)), model, training={"max_iterations": 60},
        tuning={"strategy": "auto", "max_trials": 12, "max_parallel": 2, "patience": 11},
        reproducibility={"mode": "deterministic", "seed": 7, "reuse": False},
    )  # fmt: skip
    jobs = []
    for way in ("two", "killed", "one"):
        stack.heal()
        if way == "one":
            stack.workers[1].kill()
        jobs.append(stack.client.submit(spec))
        if way == "killed":
            kill_in_the_search(stack, jobs[-1])
            stack.heal()
        assert_sound(stack, jobs[-1])
    stack.heal()
    two, killed, one = (study(stack, job_id) for job_id in jobs)
    assert two == one
    assert two == killed
    assert len({version["bundle_digest"] for version in versions_of(stack, model)}) == 1
    assert stack.client.job(jobs[0])["search"]["reproducible"] is True


def kill_in_the_search(stack: RunningStack, job_id: str) -> None:
    """SIGKILL to whoever fits a trial once a third of them has ended."""

    def a_third_has_ended() -> bool:
        return len([True for trial in stack.client.everything(f"/v1/jobs/{job_id}/trials") if trial["value"]]) >= 4

    eventually(a_third_has_ended, within=120, what="a third of the trials")
    with database(stack) as looking:
        looking.autocommit = True
        held: list[int | None] = []

        def somebody_fits() -> bool:
            held.append(holder_of(looking, job_id))
            return held[-1] is not None

        eventually(somebody_fits, within=30, what="a worker that fits a trial")
        assert held[-1] is not None
        kill_holder(stack, held[-1], whole=False)

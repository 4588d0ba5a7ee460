"""STAGES in order; a job's work is claim, then stage after stage: work, settle, until it waits or ends."""

import random
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import structlog

from app.errors import (
    CallerError,
    Cancelled,
    DatabaseUnavailable,
    DeadlineExceeded,
    LeaseLost,
    MachineError,
    OutOfMemory,
    Poisoned,
    TrainhouseError,
    Unavailable,
)
from workers import clerk, earlier, planning, reproducing
from workers.clerk import Claim
from workers.context import Blob, Context, Done, FanOut, Outcome, Refused, Stage
from workers.earlier import Found
from workers.kin import warm_start
from workers.lease import Keeper
from workers.loading import Loaded, load
from workers.memory import give_back, peak_bytes, reset_peak
from workers.onward import Settlement
from workers.opening import opened
from workers.reuse import READS, key_of
from workers.reused import Reuse
from workers.room import Room
from workers.search.facts import facts_of
from workers.stages import deploy, evaluate, gate, ingest, register, split, train, transform, tune, validate
from workers.work import Work, begin_budget, checkpoints_for, context_for, threads_for
from workers.workspace import JobWorkspace

log = structlog.get_logger()

STAGES: dict[str, ModuleType] = {
    "ingest": ingest, "validate": validate, "split": split, "transform": transform, "train": train, "tune": tune,
    "evaluate": evaluate, "gate": gate, "register": register, "deploy": deploy,
}  # fmt: skip
TRAIN: dict[str, Stage] = {name: module.run for name, module in STAGES.items()}
RUNNERS: dict[str, dict[str, Stage]] = {
    "train": TRAIN, "plan": {"plan": planning.run},
    "reproduce": {**TRAIN, "ingest": reproducing.adopt, "compare": reproducing.compare},
}  # fmt: skip
"""By kind of job, what its stages do."""

OUTAGE_PAUSE_SECONDS = 2.0
BREAKAGE_PAUSE_SECONDS = 1.0


def run_job(room: Room, job_id: str) -> None:
    """Takes the job whose turn it is, rung for or not, and carries it as far as it goes. Raises nothing."""
    try:
        claim = clerk.claim_next(room.engine, job_id, owner=room.owner, lease_seconds=room.settings.lease_seconds)
    except DatabaseUnavailable:
        log.warning("claim_without_database", job_id=job_id)
        return
    if claim is None:
        return
    bound = log.bind(job_id=claim.job_id, fence=claim.fence)
    try:
        _carry(room, claim)
    except LeaseLost:
        bound.warning("lease_lost")
    except DatabaseUnavailable:
        bound.warning("settled_nothing", hint="the lease will run out and the job be taken again")


def _carry(room: Room, claim: Claim) -> None:
    deadline = time.monotonic() + claim.spec["resources"]["max_seconds"] - claim.seconds_used
    lease = room.settings.lease_seconds

    def last_words(word: Exception) -> None:
        _stopped(room, claim, word, stage=None)

    keeper = Keeper(
        lambda progress: clerk.renew(room.engine, claim, lease_seconds=lease, progress=progress),
        lease_seconds=lease, deadline=deadline, last_words=last_words,
    )  # fmt: skip
    with keeper:
        stage: str | None = None
        work: Work | None = None
        try:
            _refuse_poison(room, claim)
            _refuse_late(deadline)
            work = Work(room, claim, load(room.engine, room.vault, claim.job_id), keeper, deadline)
            stage = work.loaded.next_stage
            if stage is not None:
                patiently(keeper, lambda: clerk.begin_stage(room.engine, claim, stage or ""))
            while stage is not None:
                stage = _one_stage(work, stage)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except BaseException as error:
            if not isinstance(error, Exception | SystemExit):
                raise
            stage = work.loaded.next_stage if work else None
            _stopped(room, claim, _named(error), stage=stage, artifacts=work.left_behind if work else {})


def _refuse_poison(room: Room, claim: Claim) -> None:
    if claim.strikes > room.settings.max_strikes:
        raise Poisoned(
            f"The job ended its worker {room.settings.max_strikes} times in a row without finishing a stage.",
            hint="Its last stage and its log say where; smaller data or fewer threads may help.",
        )


def _refuse_late(deadline: float) -> None:
    """Nothing, while there is time: a job that is put back each time before its stage looks at the clock ends here."""
    if time.monotonic() > deadline:
        raise DeadlineExceeded(hint="Raise resources.max_seconds, or ask for less; then retry the job.")


def _one_stage(work: Work, stage: str) -> str | None:
    """Runs and settles one stage; returns the next one's name, or None where the job pauses or ends."""
    workspace = JobWorkspace(
        work.room.store, work.room.cache, project_id=work.claim.project_id, known=work.loaded.artifacts
    )
    work.loaded.next_stage = stage
    began = time.monotonic()
    reset_peak()
    try:
        if stage == "train":
            begin_budget(work.loaded)
        work.checkpoints = checkpoints_for(work, workspace, stage)
        with threads_for(work, stage) as threads:
            ctx = context_for(work, workspace, stage=stage, threads=threads)
            outcome, reuse = _done_before_or_now(work, workspace, ctx, stage=stage)
        work.keeper.check()
    except CallerError:
        work.left_behind = dict(workspace.made)
        raise
    finally:
        workspace.close()
    search = _opened(work) if isinstance(outcome, FanOut) else {}
    settlement = Settlement(
        stage, outcome, time.monotonic() - began, dict(workspace.made), work.lines[:], reuse, peak_bytes(), search
    )
    work.lines.clear()
    give_back()
    following: str | None = patiently(
        work.keeper,
        lambda: clerk.settle(
            work.room.engine, work.claim, settlement, public_url=work.room.settings.public_url, vault=work.room.vault
        ),
    )
    work.checkpoints.clear()
    _remember(work.loaded, stage, outcome, workspace.made)
    return following


def _opened(work: Work) -> dict[str, Any]:
    """What the search that the stage asks for begins with; written down, it is the same for all workers and retries."""
    spec, facts = work.loaded.spec, facts_of(work.loaded.outputs)
    original = work.loaded.original
    warm = (
        patiently(work.keeper, lambda: warm_start(work.room.engine, work.claim, spec, facts))
        if original is None else dict(original.warm)
    )  # fmt: skip
    return {**opened(spec, work.loaded.outputs, cores=work.room.most_threads), "warm": warm}


def _done_before_or_now(
    work: Work, workspace: JobWorkspace, ctx: Context, *, stage: str
) -> tuple[Outcome, Reuse | None]:
    """What an earlier job's stage said, where it did the same with the same data; otherwise what the stage says now."""
    claim, run = work.claim, RUNNERS[work.loaded.kind][stage]
    if stage not in READS or work.loaded.kind == "reproduce":
        outcome: Outcome = run(ctx)
        if stage == "plan" and isinstance(outcome, Done):
            seen = patiently(work.keeper, lambda: earlier.outlook(work.room.engine, workspace, claim, outcome))
            return seen, None
        return outcome, None
    key = key_of(stage, ctx)
    found = Found(None, "reproducibility.reuse is false.")
    if ctx.spec.reproducibility.reuse:
        found = patiently(
            work.keeper,
            lambda: earlier.find(
                work.room.engine, project_id=claim.project_id, model=claim.model, stage=stage, key=key
            ),
        )
    done, reuse = earlier.taken_over(workspace, found, key=key)
    return done or run(ctx), reuse


def _remember(loaded: Loaded, stage: str, outcome: Outcome, made: dict[str, Blob]) -> None:
    loaded.artifacts.update(made)
    done = outcome.done if isinstance(outcome, Refused) else outcome
    loaded.outputs[stage] = dict(getattr(done, "output", {}))


def _named(error: BaseException) -> Exception:
    """Any exception as one that has a name on the page of errors."""
    if isinstance(error, TrainhouseError | Cancelled):
        return error
    if isinstance(error, MemoryError | RecursionError):
        return OutOfMemory(hint="Ask for fewer rows or columns, or give the worker more memory.")
    log.error("stage_broke", exc_info=error)
    return MachineError(f"The work broke with {type(error).__name__}; the worker's log has the trace.")


def _stopped(
    room: Room, claim: Claim, word: Exception, *, stage: str | None, artifacts: Mapping[str, Blob] | None = None
) -> None:
    """Records why the work stopped: ended, put back uncharged, or put back at the attempt's cost."""
    lines = [f"{type(word).__name__}: {getattr(word, 'detail', '')}"]
    match word:
        case Cancelled():
            clerk.end_cancelled(room.engine, claim)
        case CallerError() | DeadlineExceeded() | Poisoned():
            clerk.fail(room.engine, claim, word, stage=stage, artifacts=artifacts)
        case Unavailable():
            pause = OUTAGE_PAUSE_SECONDS * random.uniform(1.0, 2.0)  # noqa: S311  # spreads retries, guards nothing
            clerk.put_back(room.engine, claim, f"{word.detail} Trying again.", after_seconds=pause, charged=False)
        case TrainhouseError() if claim.strikes >= room.settings.max_strikes:
            clerk.fail(room.engine, claim, word, stage=stage, lines=lines)
        case TrainhouseError():
            clerk.put_back(
                room.engine, claim, f"{word.detail} Trying again.", after_seconds=BREAKAGE_PAUSE_SECONDS, charged=True
            )
        case _:
            raise word


def patiently(keeper: Keeper, call: Any) -> Any:
    """What `call` returns, tried again while the database is away and the lease stands.

    Raises:
        LeaseLost: the lease ran out first.
    """
    pause = 0.1
    while True:
        keeper.stands()
        try:
            return call()
        except DatabaseUnavailable:
            if keeper.good_for() < pause:
                raise LeaseLost from None
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads retries, guards nothing
            pause = min(pause * 2, 2.0)

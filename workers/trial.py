"""Trials of a search: ask what to try, fit without a transaction, tell; until none is wanted."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import structlog
from sqlalchemy import Engine, select

from app.db import transaction
from app.errors import Cancelled, DatabaseUnavailable, LeaseLost, MachineError, TrainhouseError, Unavailable
from app.states import TrialStatus
from app.tables import Job
from workers.context import Context
from workers.fitting.trials import TrialFit, run_trial
from workers.lease import Keeper
from workers.loading import Loaded, load
from workers.pipeline import patiently
from workers.room import Room
from workers.search.suggest import suggest
from workers.trial_clerk import Asked, Told, ask, give_up, renew, tell
from workers.workspace import JobWorkspace

log = structlog.get_logger()

TURN_SECONDS = 20.0


def run_trials(room: Room, job_id: str) -> None:
    """Fits trials of the job, one after another, while it wants more; after a turn others may have the worker."""
    turn_ends = time.monotonic() + TURN_SECONDS
    loaded: Loaded | None = None
    try:
        while (asked := _ask(room, job_id)) is not None:
            loaded = loaded or load(room.engine, room.vault, job_id)
            _fit_and_tell(room, job_id, asked, loaded=loaded, turn_ends=turn_ends)
            if time.monotonic() > turn_ends:
                return
    except (LeaseLost, Cancelled):
        log.info("trial_stopped", job_id=job_id)
    except Unavailable as outage:
        log.warning("trial_put_aside", job_id=job_id, code=outage.stable_code)
    except TrainhouseError as error:
        give_up(room.engine, job_id, error)


def _ask(room: Room, job_id: str) -> Asked | None:
    """The next trial; a search that cannot suggest one fails its job, which would wait for ever otherwise."""
    try:
        return ask(room.engine, job_id, owner=room.owner, lease_seconds=room.settings.lease_seconds, suggest=suggest)
    except Unavailable:
        raise
    except Exception as error:
        log.exception("search_broke", job_id=job_id)
        known = (
            error if isinstance(error, TrainhouseError) else MachineError(f"The search broke: {type(error).__name__}.")
        )
        give_up(room.engine, job_id, known)
        return None


def _fit_and_tell(room: Room, job_id: str, asked: Asked, *, loaded: Loaded, turn_ends: float) -> None:
    project_id = _project_of(room.engine, job_id)
    workspace = JobWorkspace(room.store, room.cache, project_id=project_id, known=loaded.artifacts)
    limit = loaded.spec.tuning.trial_seconds
    deadline = time.monotonic() + (limit or loaded.spec.resources.max_seconds)
    began = time.monotonic()

    def told(status: TrialStatus, fit: TrialFit | None = None, reason: str | None = None) -> None:
        ended = Told(status, time.monotonic() - began, reason=reason, last=time.monotonic() > turn_ends)
        if fit is not None:
            ended = replace(
                ended, value=fit.value if math.isfinite(fit.value) else None, metrics=fit.metrics,
                iterations=fit.iterations, curve=fit.curve, facts=fit.facts,
                model=workspace.store(fit.model_path) if fit.model_path else None,
                predictions=workspace.store(fit.predictions_path) if fit.predictions_path else None,
            )  # fmt: skip
        tell(room.engine, job_id, asked, ended)

    keeper = Keeper(
        lambda _progress: renew(room.engine, job_id, asked, lease_seconds=room.settings.lease_seconds),
        lease_seconds=room.settings.lease_seconds, deadline=deadline,
        last_words=lambda word: told(TrialStatus.FAILED, reason=str(word)),
    )  # fmt: skip
    with keeper:
        try:
            _fit(asked, context=_context(room, job_id, loaded, workspace, keeper, deadline), told=told, keeper=keeper)
        finally:
            workspace.close()


def _fit(asked: Asked, *, context: Context, told: Callable[..., None], keeper: Keeper) -> None:
    try:
        fit = run_trial(context, params=asked.params, history=asked.history)
        sound = math.isfinite(fit.value)
        reason = None if sound or fit.pruned else "the value is not finite"
        status = TrialStatus.PRUNED if fit.pruned else TrialStatus.COMPLETE if sound else TrialStatus.FAILED
        patiently(keeper, lambda: told(status, fit, reason))
    except (LeaseLost, Cancelled, DatabaseUnavailable):
        raise
    except Unavailable as outage:
        why = outage.detail
        patiently(keeper, lambda: told(TrialStatus.QUEUED, reason=why))
        raise
    except MemoryError:
        patiently(keeper, lambda: told(TrialStatus.FAILED, reason="out_of_memory"))
    except Exception as error:
        if not isinstance(error, TrainhouseError):
            log.exception("trial_broke", job_id=context.job_id, number=asked.number)
        detail = getattr(error, "detail", type(error).__name__)
        patiently(keeper, lambda: told(TrialStatus.FAILED, reason=detail))


def _project_of(engine: Engine, job_id: str) -> str:
    with transaction(engine) as session:
        return session.scalars(select(Job.project_id).where(Job.id == job_id)).one()


def _context(
    room: Room, job_id: str, loaded: Loaded, workspace: JobWorkspace, keeper: Keeper, deadline: float
) -> Context:
    return Context(
        job_id=job_id, spec=loaded.spec, workspace=workspace, seed=loaded.spec.reproducibility.seed,
        threads=min(loaded.spec.resources.threads, room.settings.worker_threads), outputs=loaded.outputs,
        deadline=deadline, progress=lambda _done, _total: keeper.check(),
    )  # fmt: skip

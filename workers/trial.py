"""Trials of a search: ask what to try, fit without a transaction, tell and ask again; until none is wanted."""

import math
import time
from contextlib import ExitStack
from dataclasses import replace

import structlog

from app.errors import Cancelled, DatabaseUnavailable, LeaseLost, MachineError, TrainhouseError, Unavailable
from app.states import TrialStatus
from workers.context import Context
from workers.cores import threads_wanted
from workers.fitting.trials import TrialFit, run_trial
from workers.lease import Keeper
from workers.pipeline import patiently
from workers.room import Room
from workers.search.suggest import suggest
from workers.searching import Open, Searching, look, others_wait, remembered
from workers.trial_clerk import Asked, Told, ask, give_up, renew, tell
from workers.workspace import JobWorkspace

log = structlog.get_logger()

TURN_SECONDS = 20.0
GRACE_SECONDS, GRACE_SHARE = 10.0, 0.25
"""How long after its own end a fit that has not ended is stopped."""


def run_trials(room: Room, job_id: str) -> None:
    """Fits trials of the job, one after another, while it wants more; after a turn others who wait have the worker."""
    try:
        with ExitStack() as held:
            seen = look(room.engine, job_id)
            # Without a core there is nothing to fit with: not even the data is read, and the dispatcher rings again.
            threads = _threads(room, seen, held) if seen else 0
            if seen and threads:
                Turn(room, remembered(room.engine, room.vault, job_id, seen), threads=threads).run()
    except (LeaseLost, Cancelled):
        log.info("trial_stopped", job_id=job_id)
    except Unavailable as outage:
        log.warning("trial_put_aside", job_id=job_id, code=outage.stable_code)
    except TrainhouseError as error:
        give_up(room.engine, job_id, error)


def _threads(room: Room, seen: Open, held: ExitStack) -> int:
    """How many threads each fit of this turn has; 0 where no core is free. The cores are held until `held` closes."""
    search = seen.search
    wanted = threads_wanted(
        search["threads"], cells=search["cells"], alone=False, most=room.most_threads,
        deterministic=search["deterministic"],
    )  # fmt: skip
    got = room.cores.try_take(wanted, held)
    return wanted if got and search["deterministic"] else got


class Turn:
    """One worker's turn at a search."""

    def __init__(self, room: Room, searching: Searching, *, threads: int) -> None:
        self._room, self._searching, self._threads = room, searching, threads
        self._ends = time.monotonic() + TURN_SECONDS

    def run(self) -> None:
        """Fits trials until none is wanted, or others wait for the worker."""
        asked = self._ask(after=None)
        while asked is not None:
            asked = self._fit_and_ask(asked)

    def _ask(self, *, after: tuple[Asked, Told] | None) -> Asked | None:
        """The next trial; a search that cannot suggest one fails its job, which would wait for ever otherwise."""
        try:
            return ask(
                self._room.engine, self._searching, owner=self._room.owner,
                lease_seconds=self._room.settings.lease_seconds, suggest=suggest, after=after,
            )  # fmt: skip
        except (Unavailable, LeaseLost):
            raise
        except Exception as error:
            log.exception("search_broke", job_id=self._searching.job_id)
            if after is not None:
                tell(self._room.engine, self._searching.job_id, *after)
            if isinstance(error, TrainhouseError):
                raise
            raise MachineError(f"The search broke: {type(error).__name__}.") from None

    def _fit_and_ask(self, asked: Asked) -> Asked | None:
        searching, began = self._searching, time.monotonic()
        workspace = JobWorkspace(
            self._room.store, self._room.cache, project_id=searching.project_id, known=searching.loaded.artifacts
        )
        fit_ends = began + min(asked.seconds_left, searching.spec.tuning.trial_seconds or math.inf)
        keeper = self._keeper(asked, began=began, fit_ends=fit_ends)
        try:
            with keeper:
                told = self._fit(asked, workspace, keeper, began=began, fit_ends=fit_ends)
                following: Asked | None = patiently(keeper, lambda: self._ask(after=(asked, told)))
                return following
        finally:
            workspace.close()

    def _keeper(self, asked: Asked, *, began: float, fit_ends: float) -> Keeper:
        room, job_id = self._room, self._searching.job_id
        grace = GRACE_SECONDS + GRACE_SHARE * (fit_ends - began)
        limit = min(fit_ends + grace, began + self._searching.spec.resources.max_seconds)

        def last_words(word: Exception) -> None:
            tell(room.engine, job_id, asked, Told(TrialStatus.FAILED, time.monotonic() - began, reason=str(word)))

        return Keeper(
            lambda _progress: renew(room.engine, job_id, asked, lease_seconds=room.settings.lease_seconds),
            lease_seconds=room.settings.lease_seconds, deadline=limit, last_words=last_words,
        )  # fmt: skip

    def _fit(self, asked: Asked, workspace: JobWorkspace, keeper: Keeper, *, began: float, fit_ends: float) -> Told:
        """How the trial ended.

        Raises:
            LeaseLost, Cancelled, DatabaseUnavailable: it did not.
            Unavailable: it was queued again.
        """
        job_id, context = self._searching.job_id, self._context(workspace, keeper, fit_ends)
        try:
            fit = run_trial(context, params=asked.params, history=asked.history)
            return self._told(fit, workspace, began=began)
        except (LeaseLost, Cancelled, DatabaseUnavailable):
            raise
        except Unavailable as outage:
            again = Told(TrialStatus.QUEUED, time.monotonic() - began, reason=outage.detail)
            patiently(keeper, lambda: tell(self._room.engine, job_id, asked, again))
            raise
        except MemoryError:
            return self._failed("out_of_memory", began)
        except Exception as error:
            if not isinstance(error, TrainhouseError):
                log.exception("trial_broke", job_id=job_id, number=asked.number)
            return self._failed(getattr(error, "detail", type(error).__name__), began)

    def _told(self, fit: TrialFit, workspace: JobWorkspace, *, began: float) -> Told:
        sound, store = math.isfinite(fit.value), workspace.store
        status = TrialStatus.PRUNED if fit.pruned else TrialStatus.COMPLETE if sound else TrialStatus.FAILED
        model = store(fit.model_path) if fit.model_path else None
        predictions = store(fit.predictions_path) if fit.predictions_path else None
        return replace(
            self._ended(status, began), reason=None if sound or fit.pruned else "the value is not finite",
            value=fit.value if sound else None, metrics=fit.metrics, iterations=fit.iterations, curve=fit.curve,
            facts={"threads": self._threads, **fit.facts}, model=model, predictions=predictions,
        )  # fmt: skip

    def _failed(self, reason: str, began: float) -> Told:
        return replace(self._ended(TrialStatus.FAILED, began), reason=reason)

    def _ended(self, status: TrialStatus, began: float) -> Told:
        now = time.monotonic()
        last = now > self._ends and others_wait(self._room.engine, self._searching.job_id)
        return Told(status, now - began, last=last)

    def _context(self, workspace: JobWorkspace, keeper: Keeper, fit_ends: float) -> Context:
        loaded = self._searching.loaded
        return Context(
            job_id=self._searching.job_id, spec=loaded.spec, workspace=workspace,
            seed=loaded.spec.reproducibility.seed, threads=self._threads, outputs=loaded.outputs,
            deadline=keeper.deadline, budget_ends=loaded.budget_ends, fit_ends=fit_ends, warm=loaded.search.get("warm", {}),
            progress=lambda _done, _total: keeper.check(),
        )  # fmt: skip

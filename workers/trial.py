"""Trials of a search: ask what to try, fit without a transaction, tell and ask again; until none is wanted."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

import structlog

from app.errors import Cancelled, DatabaseUnavailable, LeaseLost, MachineError, TrainhouseError, Unavailable
from app.states import TrialStatus
from workers.asking import ask
from workers.checkpoints import StoredCheckpoints
from workers.context import Checkpoints, Context, NoCheckpoints
from workers.cores import threads_wanted
from workers.fitting.candidates import longest_fit
from workers.fitting.rows import forget
from workers.fitting.trials import TrialFit, run_trial
from workers.isolation import fresh
from workers.lease import Keeper
from workers.memory import Growth, give_back
from workers.pipeline import patiently
from workers.room import Room
from workers.search.suggest import suggest
from workers.searching import Open, Searching, look, others_wait, remembered
from workers.trial_clerk import Asked, Told, give_up, note_checkpoint, renew, tell
from workers.work import subject_of
from workers.workspace import JobWorkspace

log = structlog.get_logger()

TURN_SECONDS = 20.0
SHORT_CELLS = 1_000_000
"""Rows times features of a matrix up to which most fits take less than about two seconds."""
GROWTH = Growth()
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
                _work_on(room, remembered(room.engine, room.vault, job_id, seen), seen, threads=threads)
                if look(room.engine, job_id) is None:  # no trial follows, and the job's other stages need the memory
                    forget()
                    give_back()
    except (LeaseLost, Cancelled):
        log.info("trial_stopped", job_id=job_id)
    except Unavailable as outage:
        log.warning("trial_put_aside", job_id=job_id, code=outage.stable_code)
    except TrainhouseError as error:
        give_up(room.engine, job_id, error)


def _work_on(room: Room, searching: Searching, seen: Open, *, threads: int) -> None:
    """A turn at the search, or two that take turns at fitting where fits are short.

    While one trial is fitted, the other asks, scores, stores and tells; else these would take as long as a short fit does.
    """
    turns = [Turn(room, searching, threads=threads, owner=room.owner)]
    search = seen.search
    short = search["cells"] <= SHORT_CELLS
    if not short:
        fresh.end()  # for a while nothing is parsed or proven here, and large fits need the memory
    if short and search["parallel"] > 1 and not search["deterministic"]:
        turns.append(Turn(room, searching, threads=threads, owner=f"{room.owner}:2"))
    with ThreadPoolExecutor(len(turns), thread_name_prefix="turn") as others:
        ends = [others.submit(turn.run) for turn in turns[1:]]
        turns[0].run()
        for end in ends:
            end.result()


def _threads(room: Room, seen: Open, held: ExitStack) -> int:
    """How many threads each fit of this turn has; 0 where no core is free. The cores are held until `held` closes."""
    search = seen.search
    wanted = threads_wanted(
        search["threads"], cells=search["cells"], alone=False, most=room.most_threads,
        deterministic=search["deterministic"],
    )  # fmt: skip
    if wanted == 1 or not search["deterministic"]:
        return room.cores.try_take(wanted, held)
    return wanted if room.cores.take_whole(wanted, held, check=lambda: None) else 0


class Turn:
    """One worker's turn at a search."""

    def __init__(self, room: Room, searching: Searching, *, threads: int, owner: str) -> None:
        self._room, self._searching, self._threads, self._owner = room, searching, threads, owner
        self._ends = time.monotonic() + TURN_SECONDS

    def is_over(self) -> bool:
        """Whether the worker should leave the search to others now."""
        return time.monotonic() > self._ends and others_wait(self._room.engine, self._searching.job_id)

    def run(self) -> None:
        """Fits trials until none is wanted, or others wait for the worker."""
        asked = self._ask(after=None)
        while asked is not None:
            asked = self._fit_and_ask(asked)

    def _ask(self, *, after: tuple[Asked, Told] | None) -> Asked | None:
        """The next trial; a search that cannot suggest one fails its job, which would wait for ever otherwise."""
        try:
            return ask(
                self._room.engine, self._searching, owner=self._owner,
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
        trial = RunningTrial(self._room, self._searching, asked, threads=self._threads)
        with trial:
            told = replace(trial.fitted(), last=self.is_over())
            following: Asked | None = patiently(trial.keeper, lambda: self._ask(after=(asked, told)))
        trial.checkpoints.clear()
        GROWTH.check()
        return following


class RunningTrial:
    """One trial under its lease, from its asking to its telling."""

    def __init__(self, room: Room, searching: Searching, asked: Asked, *, threads: int) -> None:
        self._room, self._searching, self._asked, self._threads = room, searching, asked, threads
        self._began = time.monotonic()
        self._fit_ends = self._began + asked.seconds_left
        self._workspace = JobWorkspace(
            room.store, room.cache, project_id=searching.project_id, known=searching.loaded.artifacts
        )
        self.keeper = self._made_keeper()
        self.checkpoints = self._made_checkpoints()

    def __enter__(self) -> Self:
        self.keeper.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keeper.__exit__(kind, error, trace)
        self._workspace.close()

    def fitted(self) -> Told:
        """How the trial ended.

        Raises:
            LeaseLost, Cancelled, DatabaseUnavailable: it did not.
            Unavailable: it was queued again.
        """
        asked = self._asked
        try:
            return self._told(run_trial(self._context(), params=asked.params, history=asked.history))
        except (LeaseLost, Cancelled, DatabaseUnavailable):
            raise
        except Unavailable as outage:
            again = self._ended(TrialStatus.QUEUED, outage.detail)
            patiently(self.keeper, lambda: self._tell(again))
            raise
        except MemoryError:
            return self._ended(TrialStatus.FAILED, "out_of_memory")
        except Exception as error:
            if not isinstance(error, TrainhouseError):
                log.exception("trial_broke", job_id=self._searching.job_id, number=asked.number)
            return self._ended(TrialStatus.FAILED, getattr(error, "detail", type(error).__name__))

    def _told(self, fit: TrialFit) -> Told:
        sound, store = fit.value is not None and math.isfinite(fit.value), self._workspace.store
        status = TrialStatus.PRUNED if fit.pruned else TrialStatus.COMPLETE if sound else TrialStatus.FAILED
        model = store(fit.model_path) if fit.model_path else None
        predictions = store(fit.predictions_path) if fit.predictions_path else None
        return replace(
            self._ended(status, None if sound or fit.pruned else "the value is not finite"),
            value=fit.value if sound else None, metrics=fit.metrics, iterations=fit.iterations, curve=fit.curve,
            facts={"threads": self._threads, **fit.facts}, model=model, predictions=predictions,
        )  # fmt: skip

    def _ended(self, status: TrialStatus, reason: str | None) -> Told:
        return Told(status, time.monotonic() - self._began, reason=reason)

    def _tell(self, told: Told) -> None:
        tell(self._room.engine, self._searching.job_id, self._asked, told)

    def _context(self) -> Context:
        loaded = self._searching.loaded
        return Context(
            job_id=self._searching.job_id, spec=loaded.spec, workspace=self._workspace,
            seed=loaded.spec.reproducibility.seed, threads=self._threads, outputs=loaded.outputs,
            deadline=self.keeper.deadline, budget_ends=loaded.budget_ends, fit_ends=self._fit_ends,
            checkpoints=self.checkpoints, search=loaded.search, warm=loaded.search.get("warm", {}),
            progress=lambda _done, _total: self.keeper.check(),
        )  # fmt: skip

    def _made_keeper(self) -> Keeper:
        room, searching, asked = self._room, self._searching, self._asked
        # A trial waits for one other's fits at the most before its own.
        longest = longest_fit(searching.spec, searching.loaded.search) or math.inf
        seconds = min(asked.seconds_left, 2 * longest)
        limit = self._began + min(seconds + GRACE_SECONDS + GRACE_SHARE * seconds, searching.spec.resources.max_seconds)
        return Keeper(
            lambda _progress: renew(
                room.engine, searching.job_id, asked, lease_seconds=room.settings.lease_seconds
            ),
            lease_seconds=room.settings.lease_seconds, deadline=limit,
            last_words=lambda word: self._tell(self._ended(TrialStatus.FAILED, str(word))),
        )  # fmt: skip

    def _made_checkpoints(self) -> Checkpoints:
        room, searching, asked = self._room, self._searching, self._asked
        if searching.spec.reproducibility.mode == "deterministic":
            return NoCheckpoints()
        return StoredCheckpoints(
            room.store, searching.project_id, self._workspace.scratch,
            subject=subject_of(searching.loaded, asked.params), interval=room.settings.checkpoint_seconds,
            known=asked.checkpoint, note=lambda noted: note_checkpoint(room.engine, searching.job_id, asked, noted),
        )  # fmt: skip

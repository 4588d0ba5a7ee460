"""A claimed job in this process, and what each of its stages may see and use."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.receipts import digest_of
from app.states import STAGES_OF
from workers.budget import first_fit_seconds
from workers.checkpoints import StoredCheckpoints
from workers.clerk import Claim, note_checkpoint
from workers.context import Blob, Checkpoints, Context, NoCheckpoints
from workers.cores import WIDE_CELLS, threads_wanted
from workers.lease import Keeper
from workers.loading import Loaded
from workers.room import Room
from workers.search.facts import facts_of
from workers.search.plan import planned
from workers.workspace import JobWorkspace

FITTING = ("train", "tune")
"""The stages that fit models."""


@dataclass
class Work:
    """A claimed job in this process."""

    room: Room
    claim: Claim
    loaded: Loaded
    keeper: Keeper
    deadline: float
    lines: list[str] = field(default_factory=list)
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    """Of the present stage."""
    left_behind: dict[str, Blob] = field(default_factory=dict)
    """What a stage that then failed had made."""


@contextmanager
def threads_for(work: Work, stage: str) -> Iterator[int]:
    """How many threads the stage may use; one that fits waits for a core, and holds what it uses."""
    spec, most = work.loaded.spec, work.room.most_threads
    asked = spec.resources.threads
    if not _fits(work.loaded, stage):
        yield 1 if asked == "auto" else min(asked, most)
        return
    facts, deterministic = facts_of(work.loaded.outputs), spec.reproducibility.mode == "deterministic"
    # Refits run side by side, as many as there are cores, so `tune` has use for them however small the matrix is.
    cells = facts.rows * facts.features if stage == "train" else WIDE_CELLS
    wanted = threads_wanted(asked, cells=cells, alone=True, most=most, deterministic=deterministic)
    with ExitStack() as held:
        cores, check = work.room.cores, work.keeper.check
        if not deterministic or wanted == 1:
            yield held.enter_context(cores.taken(wanted, check=check))
            return
        while not cores.take_whole(wanted, held, check=check):
            check()
        yield wanted


def _fits(loaded: Loaded, stage: str) -> bool:
    """Whether the stage fits models now: `tune` does so once its search is over, or where there is none and it refits."""
    if stage != "tune" or loaded.search.get("ended", False):
        return stage in FITTING
    plan = planned(loaded.spec, facts_of(loaded.outputs))
    return plan.strategy == "none" and (plan.refit or plan.folds > 0)


def context_for(work: Work, workspace: JobWorkspace, *, stage: str, threads: int) -> Context:
    """What `stage` may see."""
    loaded, stages = work.loaded, STAGES_OF[work.loaded.kind]
    position = stages.index(stage)
    began = time.monotonic()

    def progress(done: float, total: float) -> None:
        work.keeper.check()
        share = min(1.0, done / total) if total > 0 else 0.0
        elapsed = time.monotonic() - began
        guesses = [elapsed / share - elapsed] if share > 0.05 else []  # otherwise too early to guess
        if stage == "tune" and math.isfinite(loaded.budget_ends):
            guesses = [max(0.0, loaded.budget_ends - time.monotonic())]
        eta = round(guesses[0], 1) if guesses else None
        fraction = round((position + share) / len(stages), 4)
        work.keeper.show({"done": done, "total": total, "fraction": fraction, "eta_seconds": eta})

    return Context(
        job_id=work.claim.job_id, spec=loaded.spec, workspace=workspace, seed=loaded.spec.reproducibility.seed,
        threads=threads, outputs=loaded.outputs, datasets=loaded.datasets, connections=loaded.connections,
        champion=loaded.champion, original=loaded.original, reference=loaded.reference, tested=loaded.tested,
        row_secret=work.room.vault.row_secrets(work.claim.project_id)[0], trials=loaded.trials,
        checkpoints=work.checkpoints, deadline=work.deadline, budget_ends=loaded.budget_ends, fit_ends=_fit_ends(loaded, stage),
        search=loaded.search, warm=loaded.search.get("warm", {}), progress=progress, log=work.lines.append,
    )  # fmt: skip


def checkpoints_for(work: Work, workspace: JobWorkspace, stage: str) -> Checkpoints:
    """Where the long fits of the stage are saved. In deterministic mode nowhere: what is gone on with has other bytes."""
    loaded = work.loaded
    if stage not in FITTING or loaded.spec.reproducibility.mode == "deterministic":
        return NoCheckpoints()
    told = [[trial.number, trial.status, trial.value] for trial in loaded.trials]
    return StoredCheckpoints(
        work.room.store, work.claim.project_id, workspace.scratch, subject=subject_of(loaded, [stage, told]),
        interval=work.room.settings.checkpoint_seconds, known=loaded.checkpoints.get(stage),
        note=lambda noted: note_checkpoint(work.room.engine, work.claim, stage, noted),
    )  # fmt: skip


def subject_of(loaded: Loaded, what: Any) -> str:
    """The digest of all that decides what a fit gives: the spec, the matrix, and `what` is fitted."""
    matrix = loaded.artifacts["matrix"].digest
    return digest_of([loaded.spec_digest, matrix, what])


def begin_budget(loaded: Loaded) -> None:
    """`tuning.max_seconds` begin to count now, with `train`, unless they did so in an earlier attempt."""
    seconds = loaded.spec.tuning.max_seconds
    if seconds is not None and math.isinf(loaded.budget_ends):
        loaded.budget_ends = time.monotonic() + seconds


def _fit_ends(loaded: Loaded, stage: str) -> float:
    if math.isinf(loaded.budget_ends) or stage != "train":
        return loaded.budget_ends
    now, plan = time.monotonic(), planned(loaded.spec, facts_of(loaded.outputs))
    return now + first_fit_seconds(loaded.budget_ends - now, search_follows=plan.strategy != "none")

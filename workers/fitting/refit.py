"""One member of what was chosen, fitted again on the train and validation rows with the rounds that the search found."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog

from app.errors import Cancelled, DeadlineExceeded, LeaseLost, Unavailable
from trainhouse_loader.models import ensemble
from trainhouse_loader.models.ensemble import Packed
from workers.context import Context
from workers.fitting.candidates import company_of, most_rounds, recipe_of, soft_deadline
from workers.fitting.choosing import Contender
from workers.fitting.fits import packed_all
from workers.fitting.following import Recorder
from workers.fitting.rows import matrix_of
from workers.matrix.prepared import Prepared
from workers.trainers import TRAINERS, Fitted
from workers.trainers.boosting import BOOSTED
from workers.trainers.contract import Fold

log = structlog.get_logger()

SHARE_OF_TIME = 0.6
"""Of the job's remaining time; the evaluation and the registration need the rest."""
WRITING_SECONDS = 0.5
"""Kept free before the budget's end, to pack and to store the model."""
CAUTION = 1.15


@dataclass(frozen=True)
class Final:
    """A member of the choice as it will answer.

    Attributes:
        contender: What the search had fitted.
        weight: Its share of the answer.
        packed: Its models; their weights add up to `weight`.
        rounds: That the refit was given; None where there was no refit.
        refits: How many there were, each with a seed of its own.
        seconds: That they took.
        kept_for: Why the search's own model answers alone: `not_asked`, `no_time`, `timed_out`, `too_large`, `too_slow`,
            `failed`;
            "" where it does not.
    """

    contender: Contender
    weight: float
    packed: tuple[Packed, ...]
    rounds: int | None = None
    refits: int = 0
    seconds: float = 0.0
    kept_for: str = ""

    def document(self) -> dict[str, Any]:
        """The member as JSON."""
        tried = self.contender
        return {
            "number": tried.number, "algorithm": tried.candidate.algorithm, "params": dict(tried.candidate.params),
            "weight": self.weight, "models": len(self.packed),
            "iterations": sum(member.iterations for member in self.packed), "value": tried.value,
            "spread": tried.facts.get("spread"), "refit": self.rounds is not None, "rounds": self.rounds,
            "refits": self.refits, "kept_for": self.kept_for, "seconds": round(self.seconds, 3),
        }  # fmt: skip


def of_search(ctx: Context, contender: Contender, weight: float) -> Final:
    """The member with the search's own models, as long as there was no time for others."""
    models = _shared(ensemble.read(contender.model_path(ctx)), weight)
    return Final(contender, weight, models, kept_for="no_time")


def is_time(ctx: Context, contender: Contender, *, share: float) -> bool:
    """Whether `share` of what the refit of `contender` will take is left."""
    return time.monotonic() + share * seconds_needed(ctx, contender) <= _ends(ctx)


def is_time_for_another(ctx: Context, own: Final) -> bool:
    """Whether one more refit of `own` will end in time, as long as it takes what those before it took."""
    return time.monotonic() + CAUTION * own.seconds / own.refits <= _ends(ctx)


def refitted(ctx: Context, own: Final, *, key: str) -> Final:
    """`own` fitted again; as it was where the fit could not end in time, broke, or gave nothing new.

    Over folds the models of the folds answer in any case, and the refit beside them with the weight of one: on tables of
    a few hundred rows they are better together than the refit alone, and steadier (`benchmarks/after_folds.py`).
    A second refit draws other random numbers, and answers beside the first.

    Args:
        key: Of its checkpoints.

    Raises:
        DeadlineExceeded: no time is left at all.
        Cancelled, LeaseLost: whatever `ctx.progress` raises.
        Unavailable: the store or the database is away.
        Exception: the fit broke, and the mode is deterministic: what answers may not depend on that.
    """
    contender, began = own.contender, time.monotonic()
    try:
        fitted, record = _again(replace(ctx, seed=ctx.seed + own.refits), contender, ends=_ends(ctx), key=key)
        if fitted.timed_out and fitted.iterations < contender.iterations:
            return _unchanged(own, began, "timed_out")
        (made,) = packed_all(contender.candidate, [fitted])
    except (Cancelled, LeaseLost, Unavailable, DeadlineExceeded):
        raise
    except Exception:
        if ctx.spec.reproducibility.mode == "deterministic":
            raise
        log.exception("refit_broke", algorithm=contender.candidate.algorithm)
        return _unchanged(own, began, "failed")
    seconds = record.before + time.monotonic() - began
    if own.refits and any(made.content == other.content for other in own.packed):
        return own
    beside = own.packed if own.refits or int(ctx.outputs["train"]["folds"]) else ()
    models = _shared((*beside, made), own.weight)
    return replace(
        own, packed=models, rounds=record.rounds, refits=own.refits + 1, seconds=own.seconds + seconds, kept_for=""
    )


def _unchanged(own: Final, began: float, why: str) -> Final:
    """`own` after a fit that gave nothing; without any that did, the search's models answer, and it says why."""
    return own if own.refits else replace(own, seconds=time.monotonic() - began, kept_for=why)


def _shared(members: Sequence[Packed], weight: float) -> tuple[Packed, ...]:
    """`members` with an even share of `weight` each."""
    return tuple(replace(member, weight=weight / len(members)) for member in members)


def _ends(ctx: Context) -> float:
    return min(soft_deadline(ctx, share=SHARE_OF_TIME), ctx.budget_ends - WRITING_SECONDS)


def _again(ctx: Context, contender: Contender, *, ends: float, key: str) -> tuple[Fitted, Recorder]:
    data, candidate = matrix_of(ctx), contender.candidate
    record = Recorder(ctx, rounds=rounds_for(ctx, data, contender))
    recipe = recipe_of(ctx, data, candidate, rounds=record.rounds, stopping=False)
    company = company_of(ctx, deadline=ends, key=key, record=record)
    return TRAINERS[candidate.algorithm].fit(data, everything(data), recipe, company), record


def everything(data: Prepared) -> Fold:
    """The train and validation rows, none held back."""
    used = data.where("train") | data.where("validation")
    return Fold(name="train-and-validation", train=np.flatnonzero(used), validation=None)


def growth(ctx: Context, data: Prepared) -> float:
    """How many times the rows of a fit of the search the refit learns from."""
    folds = int(ctx.outputs["train"]["folds"])
    if folds:
        return folds / (folds - 1)
    train = int(data.where("train").sum())
    return (train + int(data.where("validation").sum())) / max(1, train)


def _found_rounds(ctx: Context, contender: Contender) -> bool:
    """Whether the fit of `contender` says how long the refit is to be.

    Forests take as many trees as their parameters say, and a linear model that only its time stopped goes on to its end;
    one that was stopped early is held back by that, as boosters are, and its metrics are those of a model held back.
    """
    algorithm, stopping = contender.candidate.algorithm, ctx.spec.training.early_stopping_rounds is not None
    held_back = stopping and not contender.facts.get("timed_out")
    return algorithm in BOOSTED or (algorithm == "linear" and held_back)


def rounds_for(ctx: Context, data: Prepared, contender: Contender) -> int:
    """Rounds of the refit: those that early stopping found, times the square root of how many times the rows there are.

    More rows bear more rounds, but fewer than in proportion; never more than `training.max_iterations`.
    """
    training = ctx.spec.training
    if not _found_rounds(ctx, contender):
        return most_rounds(ctx, data, contender.candidate.algorithm)
    more = 1.0 if training.early_stopping_rounds is None else math.sqrt(growth(ctx, data))
    return min(training.max_iterations, max(1, math.ceil(contender.iterations * more)))


def seconds_needed(ctx: Context, contender: Contender) -> float:
    """What the refit will take, judged by the search's fit with some caution.

    Twice the threads are taken to be 1.4 times as fast, the least that was measured for boosting.
    """
    data, facts = matrix_of(ctx), contender.facts
    took = CAUTION * contender.seconds * growth(ctx, data)
    faster = math.sqrt(max(1, ctx.threads) / max(1, facts.get("threads", 1)))
    if _found_rounds(ctx, contender) and facts.get("ran"):
        return took * rounds_for(ctx, data, contender) / float(facts["ran"]) / faster
    return took / max(1, int(ctx.outputs["train"]["folds"])) / faster

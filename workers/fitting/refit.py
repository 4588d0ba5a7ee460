"""What was chosen, fitted again on the train and validation rows with the rounds that the search found."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workers.context import Context
from workers.fitting.candidates import company_of, most_rounds, recipe_of, soft_deadline
from workers.fitting.choosing import Contender, Weighted
from workers.fitting.fits import packed_all, size_of
from workers.fitting.following import Recorder
from workers.fitting.rows import matrix_of
from workers.matrix.prepared import Prepared
from workers.search.plan import Plan
from workers.threads import limited
from workers.trainers import TRAINERS, Fitted, ensemble
from workers.trainers.contract import Fold
from workers.trainers.ensemble import Packed

BOOSTED = frozenset({"lightgbm", "xgboost", "catboost"})
"""Algorithms whose rounds were found by early stopping; the others take as many as their parameters say."""
SHARE_OF_TIME = 0.6
"""Of the job's remaining time; the evaluation and the registration need the rest."""
WRITING_SECONDS = 0.5
"""Kept free before the budget's end, to pack and to store the model."""
CAUTION = 1.15
LUCK = 0.7
"""A refit begins if this share of what it would take is left: the time is of no use to anybody else, and a fit that
reaches the search's rounds before it ends is taken."""


@dataclass(frozen=True)
class Final:
    """A member of the choice as it will answer.

    Attributes:
        contender: What the search had fitted.
        weight: Its share of the answer.
        packed: Its models; their weights add up to `weight`.
        rounds: That the refit was given; None where there was no refit.
        seconds: That the refit took.
        kept_for: Why the search's own model answers alone: `not_asked`, `no_time`, `timed_out`, `too_large`; "" where
            it does not.
    """

    contender: Contender
    weight: float
    packed: tuple[Packed, ...]
    rounds: int | None = None
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
            "kept_for": self.kept_for, "seconds": round(self.seconds, 3),
        }  # fmt: skip


def finals(ctx: Context, members: Weighted, *, plan: Plan) -> list[Final]:
    """`members`, fitted again where the plan asks for it and the budget allows it, the heaviest first.

    A member without time for its refit answers with the search's model. Over folds the models of the folds answer in
    any case, and the refit beside them with the weight of one: on tables of a few hundred rows they are better together
    than the refit alone, and steadier (`benchmarks/after_folds.py`).

    Raises:
        MachineError: the library failed.
        DeadlineExceeded: no time is left at all.
        Cancelled, LeaseLost: whatever `ctx.progress` raises.
    """
    found = [_of_search(ctx, contender, weight) for contender, weight in members]
    if not plan.refit:
        return [replace(final, kept_for="not_asked") for final in found]
    # Those that surely end in time come first; what is left is then tried with some luck.
    for share in (1.0, LUCK):
        for place, final in enumerate(found):
            if final.kept_for == "no_time" and _is_time(ctx, final.contender, share=share):
                found[place] = _refitted(ctx, final, place=(place, len(found)))
    return _small_enough(ctx, found)


def _of_search(ctx: Context, contender: Contender, weight: float) -> Final:
    """The member with the search's own models, as long as there was no time for others."""
    models = _shared(ensemble.read(contender.model_path(ctx)), weight)
    return Final(contender, weight, models, kept_for="no_time")


def _is_time(ctx: Context, contender: Contender, *, share: float) -> bool:
    return time.monotonic() + share * seconds_needed(ctx, contender) <= _ends(ctx)


def _refitted(ctx: Context, own: Final, *, place: tuple[int, int]) -> Final:
    contender, began = own.contender, time.monotonic()
    fitted, rounds = _again(ctx, contender, ends=_ends(ctx), place=place)
    seconds = time.monotonic() - began
    if fitted.timed_out and fitted.iterations < contender.iterations:
        return replace(own, seconds=seconds, kept_for="timed_out")
    beside = own.packed if int(ctx.outputs["train"]["folds"]) else ()
    models = _shared((*beside, *packed_all(contender.candidate, [fitted])), own.weight)
    return replace(own, packed=models, rounds=rounds, seconds=seconds, kept_for="")


def _shared(members: Sequence[Packed], weight: float) -> tuple[Packed, ...]:
    """`members` with an even share of `weight` each."""
    return tuple(replace(member, weight=weight / len(members)) for member in members)


def _ends(ctx: Context) -> float:
    return min(soft_deadline(ctx, share=SHARE_OF_TIME), ctx.budget_ends - WRITING_SECONDS)


def _again(ctx: Context, contender: Contender, *, ends: float, place: tuple[int, int]) -> tuple[Fitted, int]:
    data, candidate = matrix_of(ctx), contender.candidate
    rounds = rounds_for(ctx, data, contender)
    recipe = recipe_of(ctx, data, candidate, rounds=rounds, stopping=False)
    record = Recorder(ctx, rounds=rounds, place=place)
    company = company_of(ctx, deadline=ends, key=f"refit-{place[0]}", on_iteration=record)
    with limited(ctx.threads):
        return TRAINERS[candidate.algorithm].fit(data, everything(data), recipe, company), rounds


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


def rounds_for(ctx: Context, data: Prepared, contender: Contender) -> int:
    """Rounds of the refit: those that early stopping found, times the square root of how many times the rows there are.

    More rows bear more rounds, but fewer than in proportion; never more than `training.max_iterations`.
    """
    training, algorithm = ctx.spec.training, contender.candidate.algorithm
    if algorithm not in BOOSTED:
        return most_rounds(ctx, data, algorithm)
    more = 1.0 if training.early_stopping_rounds is None else math.sqrt(growth(ctx, data))
    return min(training.max_iterations, max(1, math.ceil(contender.iterations * more)))


def seconds_needed(ctx: Context, contender: Contender) -> float:
    """What the refit will take, judged by the search's fit with some caution.

    Twice the threads are taken to be 1.4 times as fast, the least that was measured for boosting.
    """
    data, facts = matrix_of(ctx), contender.facts
    took = CAUTION * contender.seconds * growth(ctx, data)
    faster = math.sqrt(max(1, ctx.threads) / max(1, facts.get("threads", 1)))
    if contender.candidate.algorithm in BOOSTED and facts.get("ran"):
        return took * rounds_for(ctx, data, contender) / float(facts["ran"]) / faster
    return took / max(1, int(ctx.outputs["train"]["folds"])) / faster


def _small_enough(ctx: Context, found: Sequence[Final]) -> list[Final]:
    """`found` within `max_model_bytes`: where refits grew too large, with the search's own models, which kept to it."""
    most = ctx.spec.tuning.constraints.max_model_bytes
    if most is None or sum(size_of(final.packed) for final in found) <= most:
        return list(found)
    return [
        final if final.rounds is None else replace(
            _of_search(ctx, final.contender, final.weight), seconds=final.seconds, kept_for="too_large",
        ) for final in found
    ]  # fmt: skip

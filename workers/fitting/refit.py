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


@dataclass(frozen=True)
class Final:
    """A member as it will answer.

    Attributes:
        contender: What the search had fitted.
        packed: Its model with its weight.
        rounds: That the refit was given; None where there was no refit.
        seconds: That the refit took.
        kept_for: Why the search's own model answers: `not_asked`, `no_time`, `timed_out`, `too_large`; "" where it
            does not.
    """

    contender: Contender
    packed: Packed
    rounds: int | None = None
    seconds: float = 0.0
    kept_for: str = ""

    def document(self) -> dict[str, Any]:
        """The member as JSON."""
        from_search, packed = self.contender, self.packed
        return {
            "number": from_search.number, "algorithm": packed.algorithm, "params": dict(packed.params),
            "weight": packed.weight, "iterations": packed.iterations, "value": from_search.value,
            "spread": from_search.facts.get("spread"), "refit": self.rounds is not None, "rounds": self.rounds,
            "kept_for": self.kept_for, "seconds": round(self.seconds, 3),
        }  # fmt: skip


def finals(ctx: Context, members: Weighted, *, plan: Plan) -> list[Final]:
    """`members`, fitted again where the plan asks for it and the budget allows it, the heaviest first.

    A member without time for its refit answers with the search's model. Over folds there is none: it is left out then,
    except for the first one, whose refit takes place in any case. The weights of those that are left add up to 1.

    Raises:
        MachineError: the library failed.
        DeadlineExceeded: no time is left at all.
        Cancelled, LeaseLost: whatever `ctx.progress` raises.
    """
    found: list[Final] = []
    for place, (contender, weight) in enumerate(members):
        final = _final(ctx, contender, weight, plan=plan, place=(place, len(members)))
        if final is not None:
            found.append(final)
    return _weighed(_small_enough(ctx, found))


def _final(ctx: Context, contender: Contender, weight: float, *, plan: Plan, place: tuple[int, int]) -> Final | None:
    path = contender.model_path(ctx)
    own = None if path is None else replace(ensemble.read(path)[0], weight=weight)
    if own is not None and not plan.refit:
        return Final(contender, own, kept_for="not_asked")
    needed = seconds_needed(ctx, contender)
    ends = _ends(ctx)
    now = time.monotonic()
    if now + needed > ends:
        if own is not None or place[0] > 0:
            return None if own is None else Final(contender, own, kept_for="no_time")
        ends = now + needed
    fitted, rounds = _again(ctx, contender, ends=ends, place=place)
    seconds = time.monotonic() - now
    if fitted.timed_out and own is not None:
        return Final(contender, own, seconds=seconds, kept_for="timed_out")
    candidate = contender.candidate
    packed = ensemble.packed(candidate.algorithm, candidate.params, fitted, weight=weight)
    return Final(contender, packed, rounds, seconds)


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
    """What the refit will take, judged by the search's fit with some caution; 0 where that is not known."""
    data, folds = matrix_of(ctx), int(ctx.outputs["train"]["folds"])
    more = growth(ctx, data)
    return CAUTION * (contender.seconds or 0.0) / max(1, folds) * more * math.sqrt(more)


def _small_enough(ctx: Context, found: Sequence[Final]) -> list[Final]:
    """`found` within `max_model_bytes`: with the search's own models where refits grew too large, or with fewer."""
    most = ctx.spec.tuning.constraints.max_model_bytes
    kept = list(found)
    if most is None or _bytes(kept) <= most:
        return kept
    for place, final in enumerate(kept):
        path = final.contender.model_path(ctx)
        if path is not None and final.rounds is not None:
            own = replace(ensemble.read(path)[0], weight=final.packed.weight)
            kept[place] = Final(final.contender, own, seconds=final.seconds, kept_for="too_large")
    while len(kept) > 1 and _bytes(kept) > most:
        kept.pop()
    return kept


def _bytes(found: Sequence[Final]) -> int:
    return sum(len(final.packed.content) for final in found)


def _weighed(found: Sequence[Final]) -> list[Final]:
    total = sum(final.packed.weight for final in found)
    return [replace(final, packed=replace(final.packed, weight=final.packed.weight / total)) for final in found]

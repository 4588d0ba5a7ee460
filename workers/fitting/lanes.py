"""Refits of all members, side by side where the machine has the cores for it."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

import numpy as np

from app.spec.modelling import Constraints
from trainhouse_loader.models import ensemble
from workers.context import Context
from workers.cores import WIDE_CELLS, threads_wanted
from workers.fitting.choosing import Weighted
from workers.fitting.fits import predict_ms, size_of
from workers.fitting.refit import Final, is_time, is_time_for_another, of_search, refitted
from workers.fitting.rows import matrix_of
from workers.search.plan import Plan
from workers.threads import limited

LUCK = 0.7
"""A refit begins if this share of what it would take is left: the time is of no use to anybody else, and a fit that
reaches the search's rounds before it ends is taken."""
MOST_MODELS = 12
"""With no more models than this in all, members are fitted again with other seeds as long as there is time."""


def finals(ctx: Context, members: Weighted, *, plan: Plan) -> list[Final]:
    """`members`, fitted again where the plan asks for it and the budget allows it, the heaviest first.

    A member without time for its refit answers with the search's model. Where a budget in seconds leaves time after all
    refits, the heaviest members are fitted again with other seeds: the mean of such twins errs less than either.

    Raises:
        MachineError, DeadlineExceeded, Cancelled, LeaseLost: see `workers.fitting.refit.refitted`.
    """
    found = [of_search(ctx, contender, weight) for contender, weight in members]
    if not plan.refit:
        return [replace(final, kept_for="not_asked") for final in found]
    bounded = ctx.spec.tuning.constraints != Constraints()
    twins = plan.ensemble > 1 and math.isfinite(ctx.budget_ends) and not bounded
    return _within_bounds(ctx, Lanes(ctx, found, twins=twins).run())


class Lanes:
    """Refits that run at the same time, in each lane one after another.

    Narrow fits have a lane for each core; wide ones have all cores in a single lane.
    """

    def __init__(self, ctx: Context, found: Sequence[Final], *, twins: bool) -> None:
        cells = matrix_of(ctx).x.size
        self._found, self._waiting = list(found), list(range(len(found)))
        self._lanes = 1 if cells > WIDE_CELLS else max(1, min(ctx.threads, len(found)))
        threads = threads_wanted(
            ctx.spec.resources.threads, cells=cells, alone=True, most=ctx.threads // self._lanes,
            deterministic=ctx.spec.reproducibility.mode == "deterministic",
        )  # fmt: skip
        self._ctx = replace(ctx, threads=threads)
        self._lock = Lock()
        self._models = MOST_MODELS if twins and ctx.spec.reproducibility.mode != "deterministic" else 0
        self._open: set[int] = set()
        """Members that another seed may give something new; none that is being fitted now."""
        self._done = [0.0] * len(found)

    def run(self) -> list[Final]:
        """All members; those fitted again whose time it was."""
        with limited(self._ctx.threads):
            if self._lanes == 1:
                self._lane()
            else:
                with ThreadPoolExecutor(self._lanes, thread_name_prefix="refit") as pool:
                    for lane in [pool.submit(self._lane) for _ in range(self._lanes)]:
                        lane.result()
        return self._found

    def _lane(self) -> None:
        while (place := self._next()) is not None:
            before = self._found[place]
            try:
                self._found[place] = refitted(self._of(place), before, key=f"refit-{place}-{before.refits}")
            except BaseException:
                with self._lock:
                    self._waiting, self._models = [], 0
                raise
            self._done[place] = 1.0
            if self._found[place].refits > before.refits and before.contender.candidate.algorithm != "linear":
                with self._lock:
                    self._open.add(place)

    def _next(self) -> int | None:
        """Those that surely end in time come first; what is left is then tried with some luck."""
        with self._lock:
            for share in (1.0, LUCK):
                for place in self._waiting:
                    if is_time(self._ctx, self._found[place].contender, share=share):
                        self._waiting.remove(place)
                        return place
            return self._twin()

    def _twin(self) -> int | None:
        """The member that weighs most for each of its refits, if there is time for one more."""
        able = [
            place
            for place in self._open
            if self._found[place].refits and is_time_for_another(self._ctx, self._found[place])
        ]
        if not able or sum(len(final.packed) for final in self._found) >= self._models:
            return None
        place = max(able, key=lambda each: self._found[each].weight / self._found[each].refits)
        self._open.discard(place)
        return place

    def _of(self, place: int) -> Context:
        """What the fit of the member at `place` sees; it shows the progress of all."""

        def progress(done: float, total: float) -> None:
            self._done[place] = done / total if total > 0 else 0.0
            self._ctx.progress(sum(self._done), len(self._done))

        return replace(self._ctx, progress=progress)


def _within_bounds(ctx: Context, found: Sequence[Final]) -> list[Final]:
    """`found` within the bounds: where refits grew too large or too slow, the search's own models, which kept to them."""
    bounds, members = ctx.spec.tuning.constraints, [member for final in found for member in final.packed]
    beyond = ""
    if not bounds.hold({"model_bytes": size_of(members)}):
        beyond = "too_large"
    elif bounds.max_predict_ms is not None:
        data = matrix_of(ctx)
        took = predict_ms(data, np.flatnonzero(data.where("train")), [ensemble.opened(members)])
        beyond = "" if bounds.hold({"predict_ms": took}) else "too_slow"
    if not beyond:
        return list(found)
    return [
        final if final.rounds is None else replace(
            of_search(ctx, final.contender, final.weight), seconds=final.seconds, kept_for=beyond,
        ) for final in found
    ]  # fmt: skip

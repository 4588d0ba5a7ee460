"""What the next trial should try, from the rows of those that ended and those that run."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from app.spec.job import JobSpec
from app.spec.modelling import grid
from workers.context import TrialResult
from workers.search import auto, draws
from workers.search.facts import Facts
from workers.search.outcomes import Judge
from workers.search.plan import Plan, planned
from workers.search.space import Space
from workers.search.study import study_of
from workers.trainers import algorithm_of

Params = Mapping[str, Any]


def suggest(
    spec: JobSpec,
    facts: Facts,
    *,
    number: int,
    history: Sequence[TrialResult],
    running: Sequence[Params],
    warm: Sequence[Params] = (),
) -> dict[str, Any]:
    """The parameters of trial `number`: `training.params` with the searched ones laid over them.

    A pure function: the same arguments give the same parameters, in any process.

    Args:
        history: The ended trials, in any order.
        running: Parameters of the trials that run now, in any order.
        warm: Parameters of earlier jobs, tried before anything is learned.

    Raises:
        IndexError: a grid has no point `number`.
        MachineError: `extra_missing`: the sampler's library is not installed.
    """
    plan, seed = planned(spec, facts), spec.reproducibility.seed
    if plan.strategy == "grid":
        return _point(spec, number)
    space = auto.space_of_search(spec, facts)
    if plan.strategy == "random":
        draw = draws.sobol if spec.tuning.sampler == "sobol" else draws.uniform
        return draw(space, seed=seed, number=number)
    untried = _untried(_openings(spec, facts, space, history, warm), history, running)
    return untried or _learned(spec, space, plan, number=number, history=history, running=running)


def _point(spec: JobSpec, number: int) -> dict[str, Any]:
    point = next(islice(grid(spec.tuning.space), number, None), None) if number >= 0 else None
    if point is None:
        raise IndexError(f"the grid has no point {number}")
    own = algorithm_of(spec.training.algorithm)
    return {**(spec.training.params if point.get("algorithm", own) == own else {}), **point}


def _openings(
    spec: JobSpec, facts: Facts, space: Space, history: Sequence[TrialResult], warm: Sequence[Params]
) -> list[Params]:
    """What is tried before anything is learned: earlier jobs' best, then the portfolio where the caller names no ranges."""
    known = [] if set(spec.tuning.space) - {"algorithm"} else auto.firsts(spec, facts, space, history)
    return [*(params for params in warm if space.holds(params)), *known]


def _untried(openings: Sequence[Params], history: Sequence[TrialResult], running: Sequence[Params]) -> dict[str, Any]:
    seen = [*(trial.params for trial in history), *running]
    return next((dict(params) for params in openings if params not in seen), {})


def _learned(
    spec: JobSpec, space: Space, plan: Plan, *,
    number: int, history: Sequence[TrialResult], running: Sequence[Params],
) -> dict[str, Any]:  # fmt: skip
    """A point by the sampler; under `auto` of the algorithm whose turn it is."""
    seed = spec.reproducibility.seed
    study = study_of(space, Judge(plan.minimize, spec.tuning.constraints), history)
    study.run(running)
    branch = None
    if plan.strategy == "auto":
        names = auto.survivors(space, study.judge, history)
        costs = auto.costs(space, names, history) if auto.timed(spec) else ()
        branch = auto.turn_of(names, draws.generator(seed, number).random(), costs)
    return study.ask(seed=seed, number=number, sampler=spec.tuning.sampler, algorithm=branch)

"""Which earlier jobs' best parameters a search tries before it learns by itself, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.spec.algorithms import DEFAULT_ALGORITHM
from app.spec.job import JobSpec
from workers.search import auto
from workers.search.facts import Facts
from workers.search.plan import planned
from workers.search.space import Space

MOST = 3
ROWS_FACTOR, FEATURES_FACTOR = 3.0, 2.0
LEARNING = frozenset({"auto", "bayesian"})
"""The strategies that a warm start goes with; a grid and random draws are what they are."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The best trial of an ended job.

    Attributes:
        same_model: Whether that job was of the very model that this search is for.
        params: As the trial's row has them.
        algorithm: What `params` are of, where they do not say.
        value: The trial's, by `metric`.
    """

    job_id: str
    model: str
    same_model: bool
    facts: Facts
    params: Mapping[str, Any]
    metric: str
    value: float
    algorithm: str = DEFAULT_ALGORITHM


@dataclass(frozen=True)
class Warm:
    """What a search begins with.

    Attributes:
        params: Of the trials to run, in order.
        job_ids: The job that each is from.
        why: A sentence for whoever reads the job; empty where no warm start was asked for.
    """

    params: tuple[dict[str, Any], ...] = ()
    job_ids: tuple[str, ...] = ()
    why: str = ""


def chosen(spec: JobSpec, facts: Facts, earlier: Sequence[Earlier]) -> Warm:
    """The settings of at most MOST earlier jobs: the same model's first, then those of like data.

    Data are alike where task and metric are equal, rows within a factor of 3 and features within a factor of 2. Jobs
    that `tuning.warm_start` names are taken as they are named.

    Args:
        earlier: The newest first.
    """
    asked, plan = spec.tuning.warm_start, planned(spec, facts)
    if asked == "none" or plan.strategy not in LEARNING:
        return Warm()
    if isinstance(asked, list):
        known = {each.job_id: each for each in earlier}
        suited, most = [known[job_id] for job_id in asked if job_id in known], len(asked)
    else:
        alike = [each for each in earlier if _is_alike(each, facts, plan.metric)]
        suited, most = sorted(alike, key=lambda each: not each.same_model), MOST
    return _explained(spec, suited, auto.space_of_search(spec, facts), most=most)


def _is_alike(earlier: Earlier, facts: Facts, metric: str) -> bool:
    if earlier.facts.task != facts.task or earlier.metric != metric:
        return False
    if earlier.same_model:
        return True
    rows, features = (earlier.facts.rows, facts.rows), (earlier.facts.features, facts.features)
    return max(rows) <= ROWS_FACTOR * min(rows) and max(features) <= FEATURES_FACTOR * min(features)


def _explained(spec: JobSpec, suited: Sequence[Earlier], space: Space, *, most: int) -> Warm:
    found: list[tuple[dict[str, Any], Earlier]] = []
    for each in suited:
        params = _settled(each, space)
        if params is not None and params not in [known for known, _earlier in found]:
            found.append((params, each))
    found = found[:most]
    named = isinstance(spec.tuning.warm_start, list)
    if not found:
        why = "None of the named jobs has" if named else "No earlier job of this model, nor of like data, has"
        return Warm(why=f"{why} parameters inside this search's space.")
    told = (f"{each.job_id} ({_kinship(each, named=named)})" for _params, each in found)
    return Warm(
        tuple(params for params, _earlier in found), tuple(each.job_id for _params, each in found),
        f"The best parameters of {', '.join(told)} are tried first.",
    )  # fmt: skip


def _kinship(earlier: Earlier, *, named: bool) -> str:
    if named:
        return "named in tuning.warm_start"
    return "the same model" if earlier.same_model else f"like data, model {earlier.model}"


def _settled(earlier: Earlier, space: Space) -> dict[str, Any] | None:
    """The trial's searched parameters as a trial of this search; None where the space does not hold them."""
    named = {"algorithm": earlier.algorithm, **earlier.params}
    branch = next((each for each in space.branches if each.algorithm == named["algorithm"]), None)
    values = branch.inside(named) if branch is not None else None
    return space.params(branch, values) if branch is not None and values is not None else None

"""A candidate: an algorithm with parameters, and what a trainer needs to know to fit it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import DeadlineExceeded, InvalidSpec
from app.spec.job import JobSpec
from workers.context import Context
from workers.fitting import past
from workers.fitting.following import Recorder
from workers.fitting.past import Past
from workers.fitting.rows import metric_for
from workers.matrix.prepared import Prepared
from workers.trainers import algorithm_of
from workers.trainers.contract import Company, Recipe, SaveTo

LEAST_MARGIN_SECONDS = 2.0
MOST_ROW_TREES = 1_200_000_000
LEAST_ROUNDS = 200
WAYS = {"increasing": 1, "decreasing": -1}
ORDERED = frozenset({"numeric", "boolean"})


@dataclass(frozen=True)
class Candidate:
    """An algorithm with its parameters."""

    algorithm: str
    params: Mapping[str, Any]


def candidate_of(spec: JobSpec, params: Mapping[str, Any]) -> Candidate:
    """What the parameters of a trial stand for: their `algorithm`, or the spec's, with all others."""
    named = str(params.get("algorithm", spec.training.algorithm))
    return Candidate(algorithm_of(named), {name: value for name, value in params.items() if name != "algorithm"})


def most_rounds(ctx: Context, data: Prepared, algorithm: str) -> int:
    """How many rounds one fit may take: `training.max_iterations`, fewer on very large data unless effort is full.

    A round of boosting fits one tree a class (one in all for two classes, or for numbers) to every training row.
    """
    training = ctx.spec.training
    if training.effort == "full" or algorithm == "linear":
        return training.max_iterations
    trees = len(data.classes) if data.task == "multiclass" else 1
    bound = MOST_ROW_TREES // max(1, int(data.where("train").sum()) * trees)
    return min(training.max_iterations, max(LEAST_ROUNDS, bound))


def recipe_of(ctx: Context, data: Prepared, candidate: Candidate, *, rounds: int, stopping: bool = True) -> Recipe:
    """What decides the fit of `candidate`; without `stopping` it takes all its `rounds`.

    Raises:
        InvalidSpec: `not_monotone`, see `monotone_of`.
    """
    training = ctx.spec.training
    return Recipe(
        params=candidate.params, seed=ctx.seed, max_iterations=rounds,
        early_stopping_rounds=training.early_stopping_rounds if stopping else None,
        deterministic=ctx.spec.reproducibility.mode == "deterministic", objective=training.objective,
        quantile=training.quantile, huber_delta=training.huber_delta, class_weight=training.class_weight,
        monotone=monotone_of(ctx), metric=metric_for(ctx, data.task),
    )  # fmt: skip


def monotone_of(ctx: Context) -> dict[str, int]:
    """By feature name, 1 or -1, what `training.monotone` says by column name.

    Raises:
        InvalidSpec: `not_monotone`, where a column is no feature, or none whose numbers keep their order.
    """
    asked = ctx.spec.training.monotone
    if not asked:
        return {}
    made = json.loads(ctx.workspace.get("lineage").read_text(encoding="utf-8"))
    types = dict(ctx.outputs["validate"]["features"])
    found = {}
    for column, way in asked.items():
        features = [each["feature"] for each in made if each["column"] == column]
        own = ctx.spec.transform.columns.get(column)
        if types.get(column) not in ORDERED or (own is not None and own.encode) or len(features) != 1:
            raise InvalidSpec(
                f"training.monotone names {column!r}, which is no feature of numbers.", code="not_monotone",
                hint="Name columns of numbers that are neither excluded nor encoded.",
            )  # fmt: skip
        found[features[0]] = WAYS[way]
    return found


def company_of(ctx: Context, *, deadline: float, key: str, record: Recorder) -> Company:
    """What goes along with a fit of `ctx` that is saved under the checkpoint `key`, and that begins now.

    What `record` knows of the fit is saved with it, and told to `record` where the fit goes on.
    """
    resume = ctx.checkpoints.resume(key)
    record.begin(Past() if resume is None else past.take(resume))

    def offer(iteration: int, save: SaveTo) -> None:
        def save_all(path: Path) -> None:
            save(path)
            past.put(record.past(iteration), path)

        ctx.checkpoints.offer(key, iteration, save_all)

    return Company(threads=ctx.threads, deadline=deadline, on_iteration=record, offer=offer, resume=resume)


def longest_fit(spec: JobSpec, search: Mapping[str, Any]) -> float | None:
    """The most seconds of a trial's fits: `tuning.trial_seconds`, or what the search allows if that is less; None: no bound."""
    bounds = [each for each in (spec.tuning.trial_seconds, search.get("longest_seconds")) if each is not None]
    return min(bounds, default=None)


def soft_deadline(ctx: Context, *, share: float, seconds: float | None = None) -> float:
    """When a fit must end by itself: after `share` of the time left, at `ctx.fit_ends`, or after `seconds` if sooner.

    Raises:
        DeadlineExceeded: no time is left.
    """
    now = time.monotonic()
    left = ctx.deadline - now
    if left <= 0:
        raise DeadlineExceeded("The job's time was over before the fit began.")
    ends = min(ctx.fit_ends, now + max(left * share, min(left, LEAST_MARGIN_SECONDS) / 2))
    return ends if seconds is None else min(ends, now + seconds)

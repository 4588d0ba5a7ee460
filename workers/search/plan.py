"""What a search will do, resolved from the spec and from what is known of the data."""

from dataclasses import dataclass

from app.spec.base import MAX_TRIALS
from app.spec.job import JobSpec
from app.spec.modelling import grid_points
from workers.measures.metrics import lower_is_better, metric_of
from workers.search.facts import Facts

DEFAULT_TRIALS = 40
FOLDS = 5
ROWS_FOR_ONE_PART = 2_500
"""Of train and validation together. With fewer, a validation part of the usual share has under about 450 rows, where
the standard error of an AUC or an accuracy is 0.02 and more: larger than what good settings differ by."""
MEMBERS = 8


@dataclass(frozen=True)
class Plan:
    """What a search will do.

    Attributes:
        strategy: `none`, `grid`, `random`, `bayesian`, or `auto`: a portfolio of several algorithms, then what is
            learned from it.
        trials: How many at the most; 0 where the strategy is `none`.
        parallel: How many at a time.
        minimize: Whether a lower value of `metric` is better.
        metric: The metric on the validation part; `auto` as long as the task is unknown.
        folds: How many folds of the train and validation rows every trial is scored over; 0: the validation part alone.
        ensemble: The most models that answer together.
        refit: Whether what is chosen is fitted again on the train and validation rows.
    """

    strategy: str
    trials: int
    parallel: int
    minimize: bool
    metric: str
    folds: int = 0
    ensemble: int = 1
    refit: bool = False


def planned(spec: JobSpec, facts: Facts | None = None) -> Plan:
    """The search that `spec` asks for; `facts` are what is known of the data, where that is."""
    strategy, trials = strategy_of(spec), _trials(spec)
    named = None if spec.task.type == "auto" else spec.task.type
    task = facts.task if facts is not None else named
    metric = spec.tuning.metric if task is None else metric_of(spec.tuning.metric, task, spec.training.objective)
    folds = _folds(spec, facts, strategy)
    asked = spec.tuning.ensemble
    return Plan(
        strategy=strategy, trials=trials, parallel=min(spec.tuning.max_parallel, max(1, trials)),
        minimize=lower_is_better(metric), metric=metric, folds=folds,
        ensemble=(MEMBERS if strategy == "auto" else 1) if asked == "auto" else asked,
        refit=strategy == "auto" or folds > 0,
    )  # fmt: skip


def strategy_of(spec: JobSpec) -> str:
    """The strategy: for `auto` none without a budget, and TPE alone where the caller names parameters to search."""
    tuning = spec.tuning
    if tuning.strategy != "auto":
        return tuning.strategy
    if tuning.max_trials is None and tuning.max_seconds is None:
        return "none"
    return "bayesian" if set(tuning.space) - {"algorithm"} else "auto"


def _trials(spec: JobSpec) -> int:
    """At the most: with a budget in seconds alone, as many as any search may have."""
    tuning, strategy = spec.tuning, strategy_of(spec)
    if strategy == "none":
        return 0
    usual = DEFAULT_TRIALS if tuning.max_seconds is None else MAX_TRIALS
    most = usual if tuning.max_trials is None else tuning.max_trials
    if strategy != "grid":
        return most
    points = grid_points(tuning.space)
    return points if tuning.max_trials is None else min(points, most)


def _folds(spec: JobSpec, facts: Facts | None, strategy: str) -> int:
    """As asked; by itself only where something is chosen, rows are few, and any row may stand for any other."""
    if spec.tuning.folds != "auto":
        return spec.tuning.folds
    if strategy == "none" or facts is None or facts.timed or facts.rows == 0:
        return 0
    return FOLDS if facts.rows + facts.validation < ROWS_FOR_ONE_PART else 0

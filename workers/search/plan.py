"""What a search will do, resolved from the spec and from what is known of the data."""

from dataclasses import dataclass

from app.spec.job import JobSpec
from app.spec.modelling import grid_points
from workers.measures.metrics import lower_is_better, metric_of
from workers.search.facts import Facts

DEFAULT_TRIALS = 40


@dataclass(frozen=True)
class Plan:
    """What a search will do.

    Attributes:
        strategy: `none`, `grid`, `random` or `bayesian`; never `auto`.
        trials: How many; 0 where the strategy is `none`.
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
    tuning = spec.tuning
    strategy = tuning.strategy
    if strategy == "auto":
        strategy = "none" if tuning.max_trials is None and tuning.max_seconds is None else "bayesian"
    trials = DEFAULT_TRIALS if tuning.max_trials is None else tuning.max_trials
    if strategy == "grid":
        points = grid_points(tuning.space)
        trials = points if tuning.max_trials is None else min(points, tuning.max_trials)
    if strategy == "none":
        trials = 0
    named = None if spec.task.type == "auto" else spec.task.type
    task = facts.task if facts is not None else named
    metric = tuning.metric if task is None else metric_of(tuning.metric, task, spec.training.objective)
    return Plan(
        strategy=strategy, trials=trials, parallel=min(tuning.max_parallel, max(1, trials)),
        minimize=lower_is_better(metric), metric=metric,
        folds=0 if tuning.folds == "auto" else tuning.folds,
        ensemble=1 if tuning.ensemble == "auto" else tuning.ensemble,
        refit=tuning.folds not in {"auto", 0},
    )  # fmt: skip

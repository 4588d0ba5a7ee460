"""What of a trial is kept for the end of the search, and what may be chosen then."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.context import Context, TrialResult
from workers.fitting.candidates import candidate_of
from workers.measures.samples import Floats

SPARE = 2
"""Times the most members of an ensemble: so many of the best trials may be chosen from."""
BEST_OF_EACH = 2
"""Of every algorithm as many of the best may be chosen from too: what errs otherwise helps an ensemble most."""


def loss_of(value: float | None, *, minimize: bool) -> float:
    """`value` so that lower is better; infinite where there is none."""
    if value is None or not math.isfinite(value):
        return math.inf
    return value if minimize else -value


def worth_keeping(
    ctx: Context, value: float, algorithm: str, history: Sequence[TrialResult], *, most: int, minimize: bool
) -> bool:
    """Whether a trial of `value` may still be chosen when at most `most` models answer together.

    It may as long as fewer than `SPARE` × `most` of the known trials are better, or fewer than `BEST_OF_EACH` of its
    algorithm. What is among the best at the end was so at any time before: which trials can be chosen from does
    not depend on the order in which they ended. Equal ones are kept: the lowest number wins, and it may end last.
    """
    own = loss_of(value, minimize=minimize)
    better = [
        candidate_of(ctx.spec, trial.params).algorithm
        for trial in history
        if may_be_chosen(ctx, trial) and loss_of(trial.value, minimize=minimize) < own
    ]
    trained = ctx.outputs.get("train", {})
    sound = ctx.spec.tuning.constraints.hold(trained.get("facts", {}))
    if sound and loss_of(trained.get("value"), minimize=minimize) < own:
        better.append(str(trained.get("algorithm")))
    if most == 1:
        return not better
    return len(better) < SPARE * most or better.count(algorithm) < BEST_OF_EACH


def may_be_chosen(ctx: Context, trial: TrialResult) -> bool:
    """Whether `trial` is complete, has a value and keeps to the constraints."""
    sound = trial.status == "complete" and trial.value is not None and math.isfinite(trial.value)
    return sound and ctx.spec.tuning.constraints.hold(trial.facts)


def save_predictions(predictions: Floats, path: Path) -> None:
    """Writes `predictions` to `path` as float32 .npy."""
    with path.open("wb") as file:
        np.save(file, predictions.astype(np.float32), allow_pickle=False)


def load_predictions(path: Path) -> Floats:
    """What `save_predictions` wrote, as float64."""
    found: Floats = np.load(path, allow_pickle=False).astype(np.float64)
    return found

"""Which models answer together: greedy selection with replacement, after Caruana et al. (2004).

https://doi.org/10.1145/1015330.1015432. It begins with the mean of the few best models ("sorted initialisation", which
keeps it from clinging to the luckiest of them) and goes on adding the one that makes the mean of all chosen best by the
tuning metric itself; how often a model was added is its weight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainhouse_loader.models.fitted import Indices
from trainhouse_loader.terms import TaskType
from workers.measures.metrics import lower_is_better
from workers.measures.samples import Floats
from workers.measures.scoring import scores

MOST_STEPS = 25
FIRST = 5
"""So many of the best models it begins with, or half as many as there may be if that is fewer, as long as they are no
worse than the middle one of all."""
PATIENCE = 4
LEAST_GAIN = 2e-4
"""A further model must lower the loss by this share, or those before it answer without it."""
WORK, WORK_ONE_BY_ONE = 15_000_000, 4_000_000
"""Rows × steps × candidates that are looked at, at the most, all candidates at once or one by one; more rows are drawn
from. Either takes about a second."""
FEWEST_ROWS = 2_000


@dataclass(frozen=True)
class Judge:
    """How well the mean of some models does on rows whose target is known.

    Attributes:
        task: What is predicted.
        y: (rows,) class index or number.
        metric: Of the search.
        quantile: What is predicted, where the metric is the pinball loss.
        weights: (rows,) how much each row counts; None where all count alike.
    """

    task: TaskType
    y: Floats
    metric: str
    quantile: float = 0.5
    weights: Floats | None = None

    def losses(self, total: Floats, each: Floats, count: int) -> Floats:
        """(candidates,) the loss of `total` with each of `each` (candidates, rows, …) added, over `count` models.

        Lower is better; for a metric of which more is better it is 1 less the value.
        """
        if not self.fast:
            return np.array([self.loss((total + one) / count) for one in each])
        with np.errstate(all="ignore"):
            found = FAST[self.metric](self.y, total, each, count)
        return np.where(np.isfinite(found), found, np.inf)

    @property
    def fast(self) -> bool:
        """Whether all candidates can be judged at once."""
        known = self.metric in FAST and (self.metric != "roc_auc" or self.task == "binary")
        return known and self.weights is None

    def loss(self, predictions: Floats) -> float:
        """The loss of `predictions` (rows, …); infinite where the metric has no value."""
        found = scores(
            self.task, self.y, predictions, names=[self.metric], quantile=self.quantile, weights=self.weights
        )
        value = found[self.metric]["value"]
        if value is None:
            return float("inf")
        return float(value) if lower_is_better(self.metric) else 1.0 - float(value)

    def drawn(self, rows: Indices) -> "Judge":
        """The judge of some `rows` only."""
        weights = None if self.weights is None else self.weights[rows]
        return Judge(self.task, self.y[rows], self.metric, self.quantile, weights)


def _rmse(y: Floats, total: Floats, each: Floats, count: int) -> Floats:
    found: Floats = np.sqrt(np.mean(((total + each) / count - y) ** 2, axis=1))
    return found


def _mae(y: Floats, total: Floats, each: Floats, count: int) -> Floats:
    found: Floats = np.mean(np.abs((total + each) / count - y), axis=1)
    return found


def _log_loss(y: Floats, total: Floats, each: Floats, count: int) -> Floats:
    rows, own = np.arange(len(y)), y.astype(np.int64)
    tiny = float(np.finfo(np.float64).eps)
    found: Floats = -np.log(np.clip((total[rows, own] + each[:, rows, own]) / count, tiny, 1 - tiny)).mean(axis=1)
    return found


def _roc_auc(y: Floats, total: Floats, each: Floats, count: int) -> Floats:  # noqa: ARG001  # ranks need no mean
    positive = y == 1
    found = []
    for one in each:
        score = total[:, 1] + one[:, 1]
        others, own = np.sort(score[~positive]), np.sort(score[positive])
        below = np.searchsorted(others, own, "left").sum() + np.searchsorted(others, own, "right").sum()
        found.append(1.0 - below / (2.0 * len(others) * len(own)))
    return np.array(found)


FAST: dict[str, Callable[[Floats, Floats, Floats, int], Floats]] = {
    "rmse": _rmse, "mae": _mae, "log_loss": _log_loss, "roc_auc": _roc_auc,
}  # fmt: skip
"""Losses of all candidates at once, for the metrics that searches mostly optimise."""


def selected(
    judge: Judge,
    predictions: Sequence[Floats],
    *,
    most: int,
    allowed: Callable[[frozenset[int]], bool] = lambda _members: True,
    seed: int = 0,
) -> dict[int, float]:
    """By place in `predictions`, the weight of each model that is to answer; the weights add up to 1.

    The heaviest comes first. There is none where the metric has no value on these rows.

    Args:
        judge: Of the rows that all of `predictions` are for.
        predictions: (rows, …) of each candidate.
        most: Distinct models, at the most.
        allowed: Whether these models together keep to the constraints.
        seed: Of the rows that are drawn where there are very many.
    """
    judge, stack = _drawn(judge, predictions, seed=seed)
    chosen = _first(judge, stack, most=most, allowed=allowed)
    total = stack[chosen].sum(axis=0)
    kept = len(chosen)
    best = judge.loss(total / kept) if chosen else np.inf
    while len(chosen) < FIRST + MOST_STEPS and len(chosen) - kept < PATIENCE:
        open_to = [place for place in range(len(stack)) if _fits(chosen, place, most=most, allowed=allowed)]
        if not open_to:
            break
        losses = judge.losses(total, stack[open_to], len(chosen) + 1)
        place = open_to[int(np.argmin(losses))]
        chosen.append(place)
        total = total + stack[place]
        if float(losses.min()) < best - LEAST_GAIN * abs(best if np.isfinite(best) else 0.0):
            best, kept = float(losses.min()), len(chosen)
    counted = {place: chosen[:kept].count(place) / kept for place in chosen[:kept]}
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def _first(judge: Judge, stack: Floats, *, most: int, allowed: Callable[[frozenset[int]], bool]) -> list[int]:
    """The places of the models to begin with, the best first: it alone, where it is better than the mean of them.

    There are none where the metric has no value.
    """
    losses = judge.losses(np.zeros_like(stack[0]), stack, 1)
    bound = float(np.median(losses))
    chosen: list[int] = []
    for place in np.argsort(losses, kind="stable").tolist():
        if len(chosen) == max(1, min(FIRST, most // 2)) or not (losses[place] <= bound and np.isfinite(losses[place])):
            break
        if _fits(chosen, place, most=most, allowed=allowed):
            chosen.append(place)
    if not chosen or judge.loss(stack[chosen].mean(axis=0)) < losses[chosen[0]]:
        return chosen
    return chosen[:1]


def _fits(chosen: Sequence[int], place: int, *, most: int, allowed: Callable[[frozenset[int]], bool]) -> bool:
    together = frozenset(chosen) | {place}
    return len(together) <= most and allowed(together)


def _drawn(judge: Judge, predictions: Sequence[Floats], *, seed: int) -> tuple[Judge, Floats]:
    """The judge and (candidates, rows, …) with as many of the rows as the bound on work allows."""
    rows = len(judge.y)
    affordable = max(FEWEST_ROWS, (WORK if judge.fast else WORK_ONE_BY_ONE) // (MOST_STEPS * len(predictions)))
    if rows <= affordable:
        return judge, np.stack(predictions)
    drawn = np.sort(np.random.default_rng(seed).choice(rows, affordable, replace=False))
    return judge.drawn(drawn), np.stack([each[drawn] for each in predictions])

"""How a fit of our own is followed: each iteration is told with its validation value, and ends the fit in time."""

import math
import time

from workers.matrix.prepared import Prepared
from workers.measures.metrics import lower_is_better, metric_of
from workers.measures.scoring import scores
from workers.trainers.contract import Company, Floats, Fold, Recipe

MIN_DELTA = 1e-5
"""An improvement below this share of the first value is none."""


class Watch:
    """Tells iterations, and knows which was the best and whether to go on.

    Attributes:
        best_at: The iteration with the best validation value; the last one told where there is no such value.
    """

    def __init__(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> None:
        self._task, self._y = data.task, None if fold.validation is None else data.y[fold.validation]
        self._metric = metric_of(recipe.metric, data.task, recipe.objective)
        self._recipe, self._company = recipe, company
        self._best = math.nan
        self._step = 0.0
        self._last = 0
        self.best_at = 0

    def tell(self, iteration: int, answer: Floats | None) -> bool:
        """Tells `iteration`, from 1, with the value of `answer`, what the model says of the validation rows.

        True where none was better before, or where there is nothing to measure.
        """
        value, self._last = self._value(answer), iteration
        score = -value if lower_is_better(self._metric) else value
        if not self.best_at:
            self._step = abs(score) * MIN_DELTA if math.isfinite(score) else 0.0
        better = not score <= self._best + self._step
        if better:
            self._best, self.best_at = score, iteration
        self._company.on_iteration(iteration, value)
        return better

    def _value(self, answer: Floats | None) -> float:
        if answer is None or self._y is None:
            return math.nan
        found = scores(self._task, self._y, answer, names=[self._metric], quantile=self._recipe.quantile)
        value = found[self._metric]["value"]
        return math.nan if value is None else float(value)

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._company.deadline

    @property
    def hopeless(self) -> bool:
        """Whether the value has not become better for as many iterations as the recipe waits."""
        rounds = self._recipe.early_stopping_rounds
        return rounds is not None and self._last - self.best_at >= rounds

"""How a fit of our own is followed: by the rules of boosting, with the search's own metric."""

import math

from trainhouse_loader.models.fitted import Floats
from workers.matrix.prepared import Prepared
from workers.measures.metrics import lower_is_better, metric_of
from workers.measures.scoring import scores
from workers.trainers.boosting import Rounds
from workers.trainers.contract import Company, Fold, Recipe, fold_weights


def rises(data: Prepared, recipe: Recipe) -> bool:
    """Whether the search's own metric is better the higher it is."""
    return not lower_is_better(metric_of(recipe.metric, data.task, recipe.objective))


class Watch(Rounds):
    """Rounds that measure the validation rows themselves, by their weights."""

    def __init__(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> None:
        held = fold.validation
        self.task, self.y = data.task, None if held is None else data.y[held]
        self.weights = None if held is None else fold_weights(data, held)
        self.metric = metric_of(recipe.metric, data.task, recipe.objective)
        super().__init__(company, recipe, higher_is_better=rises(data, recipe))

    def measured(self, answer: Floats | None) -> float:
        """The value of `answer`, what a model says of the validation rows; NaN where there is none."""
        if answer is None or self.y is None:
            return math.nan
        found = scores(
            self.task, self.y, answer, names=[self.metric], quantile=self.recipe.quantile, weights=self.weights
        )
        value = found[self.metric]["value"]
        return math.nan if value is None else float(value)

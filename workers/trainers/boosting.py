"""What boosters share: which measure is watched, when a fit ends and at which round, and what a target must be."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.errors import InvalidData, InvalidSpec
from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.libraries import LARGEST, LOGARITHMIC
from workers.matrix.prepared import Prepared
from workers.measures.metrics import metric_of
from workers.trainers.contract import Company, Fold, Recipe, SaveTo, directions
from workers.trainers.scaling import not_negative

MIN_DELTA = 1e-5
"""An improvement below this share of the first score does not reset the patience of early stopping."""
BOOSTED = frozenset({"lightgbm", "xgboost", "catboost"})
RANKING = frozenset({"roc_auc", "average_precision"})
ORDERED = frozenset({"log_loss", "rmse", "r2", "mae", "mape"})
"""Metrics by which boosters' measures put models in the same order; others are only come near to."""
OF_OBJECTIVE = {"mean_poisson_deviance": "poisson", "mean_pinball_loss": "quantile"}


@dataclass(frozen=True)
class Measure:
    """A measure that a library computes each round: its name there, and which way is better."""

    name: str
    higher_is_better: bool = False


def minimised(data: Prepared, recipe: Recipe) -> str:
    """What a fit minimises: the parameter `loss` where it is named, else the objective, else what is usual for the task.

    Raises:
        InvalidSpec: `loss` is named, and the task is not to predict numbers by the usual objective.
    """
    loss = str(recipe.params.get("loss", "auto"))
    if loss == "auto":
        return data.task if recipe.objective == "auto" else recipe.objective
    if data.task != "regression" or recipe.objective != "auto":
        raise InvalidSpec(
            "The parameter loss is for regression with training.objective auto.", code="invalid_params",
            hint="Leave loss out of training.params and tuning.space.",
        )  # fmt: skip
    return loss


def watched(data: Prepared, fold: Fold, recipe: Recipe, known: Mapping[str, Measure]) -> Measure:
    """Of the measures `known` by the metric that they come nearest to, the one to watch.

    What the library minimises, which `known` holds by the task or the objective, stands for metrics that it lacks and
    for the ranking of rows of one class.
    """
    metric = metric_of(recipe.metric, data.task, recipe.objective)
    own = known[minimised(data, recipe)]
    if metric in RANKING and (data.task != "binary" or _of_one_class(data, fold)):
        return own
    return known.get(metric, own)


def is_ordered_by(metric: str, task: str, objective: str) -> bool:
    """Whether what boosters watch puts fits in the order of `metric`: by others, a curve cannot tell the better fit."""
    if metric in RANKING:
        return task == "binary"
    return metric in ORDERED or OF_OBJECTIVE.get(metric, "") == objective


def _of_one_class(data: Prepared, fold: Fold) -> bool:
    return fold.validation is not None and len(np.unique(data.y[fold.validation])) == 1


def target_of(data: Prepared, fold: Fold, recipe: Recipe) -> Floats:
    """(train rows,) The numbers to learn.

    Raises:
        InvalidData: some are none that the objective, or a library that computes with 32 bits, can learn.
    """
    y = data.y[fold.train]
    if (kind := minimised(data, recipe)) in LOGARITHMIC:
        not_negative(y, kind)
    if np.abs(y).max() > LARGEST:
        raise InvalidData(
            "The target has numbers beyond 3.4e38, which boosters cannot learn.", code="target_too_large",
            hint="Train on a smaller unit of the target.",
        )  # fmt: skip
    return y


def huber_turn(y: Floats, recipe: Recipe) -> float:
    """Where Huber's loss turns, in units of the target `y`."""
    return recipe.huber_delta * (float(np.std(y)) or 1.0)


def held_directions(data: Prepared, recipe: Recipe) -> list[int]:
    """See `directions`, for libraries that set leaves anew to a quantile and forget which way they may go.

    Raises:
        InvalidSpec: a quantile is to be monotone, or what `directions` raises.
    """
    if recipe.objective == "quantile":
        raise InvalidSpec(
            "LightGBM and XGBoost cannot hold a quantile monotone.", code="not_monotone",
            hint="Train catboost, linear, random_forest or extra_trees, or leave training.monotone out.",
        )  # fmt: skip
    return directions(data, recipe)


class Rounds:
    """Follows a fit round by round: tells each value, offers the model, and says when to stop and what to keep."""

    def __init__(self, company: Company, recipe: Recipe, *, higher_is_better: bool) -> None:
        self.company = company
        self.recipe = recipe
        self.sign = 1.0 if higher_is_better else -1.0
        self.done = 0
        self.best, self.at, self.step = -math.inf, 0, 0.0
        self.timed_out = False

    def go_on(self, done: int, value: float, offered: tuple[int, SaveTo] | None) -> bool:
        """Notes the validation value after `done` rounds, NaN without one; False where the fit should end.

        Args:
            offered: How to write the model of so many rounds, where it can be written now.

        Raises:
            Exception: whatever the company raises.
        """
        self.note(done, value)
        self.company.on_iteration(done, value)
        if offered is not None:
            self.company.offer(*offered)
        self.timed_out = time.monotonic() >= self.company.deadline
        patience = self.recipe.early_stopping_rounds
        weary = patience is not None and 0 < self.at <= done - patience
        return not (self.timed_out or weary)

    def note(self, done: int, value: float) -> None:
        """Remembers the validation value after `done` rounds."""
        self.done, score = done, self.sign * value
        if self.at == 0 and math.isfinite(score):
            self.step = abs(score) * MIN_DELTA
        if score > self.best + self.step:
            self.best, self.at = score, done

    @property
    def kept(self) -> int:
        """The rounds that the model should hold: those of the best value, or all without one or without patience."""
        stops = self.recipe.early_stopping_rounds is not None or self.timed_out
        return self.at if stops and self.at > 0 else self.done

    def written(self) -> str:
        """What `restore` reads."""
        return json.dumps([self.done, self.best if self.at else None, self.at, self.step])

    def restore(self, written: str) -> None:
        """Goes on from where `written` was written."""
        self.done, best, self.at, self.step = json.loads(written)
        self.best = -math.inf if best is None else best

"""Linear models: logistic regression for classes, ridge or elastic net, counts, quantiles and Huber's loss for numbers.

All are one problem: the weighted mean of a loss of sums over the design, plus l1_ratio × |w| + (1 - l1_ratio) / 2 × w²
times the strength over the weights' sum, so that `C` and `alpha` mean what they mean in scikit-learn's logistic
regression and ridge; numbers, the target among them, are standardised before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.spec.algorithms import LinearParams
from app.spec.modelling import Dimension
from app.spec.spaces import default_space
from trainhouse_loader.models.design import Design
from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.linear import LinearFitted, LinearFormat
from trainhouse_loader.terms import TaskType
from workers.matrix.prepared import Prepared
from workers.trainers.contract import Company, Fold, Recipe, directions, train_weights
from workers.trainers.losses import losses
from workers.trainers.scaling import class_shares, counted_target, standard_target
from workers.trainers.shared import MOST_FLOATS, Kept
from workers.trainers.solving import MOST_STEPS, Enough, Problem, solve
from workers.trainers.watching import Watch, rises

TOLD_EVERY = 5
"""Steps between two looks at the validation rows."""


class LinearTrainer(LinearFormat):
    """See `Trainer`."""

    objectives = frozenset({"auto", "poisson", "quantile", "huber"})

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:
        """See `Trainer.space`."""
        return default_space("linear", task, rows)

    def rises(self, data: Prepared, fold: Fold, recipe: Recipe) -> bool:  # noqa: ARG002  # of every fold
        """See `Trainer.rises`."""
        return rises(data, recipe)

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> LinearFitted:
        """See `Trainer.fit`."""
        read = _read(data, fold)
        begun, y = _begun(data, fold, recipe, read.design)
        if company.resume is not None and not recipe.deterministic:  # the solver goes another way from there
            begun = self.load(company.resume)
        problem = _problem(data, fold, recipe, begun, y, matrix=read.train)
        course = _Course(begun, problem, read.held, Watch(data, fold, recipe, company))
        start = problem.vector(begun.coefficients, begun.intercepts)
        solve(problem, start, taken=begun.iterations, most=min(recipe.max_iterations, MOST_STEPS), step=course)
        found = course.ended()
        return _on_quantile(found, problem, recipe) if recipe.objective == "quantile" else found


@dataclass(frozen=True)
class _Read:
    """A fold as a design reads it: (train rows, width) and (validation rows, width), or None; see `Design.matrix`."""

    design: Design
    train: Any
    held: Any

    @property
    def cells(self) -> int:
        """Of both; zeros that a sparse one leaves out do not count."""
        return int(self.train.size) + (0 if self.held is None else int(self.held.size))


_READ: Kept[_Read] = Kept(MOST_FLOATS, size=lambda read: read.cells)


def _read(data: Prepared, fold: Fold) -> _Read:
    def make() -> _Read:
        design = Design.learn(data.x, fold.train, data.categorical)
        held = None if fold.validation is None else design.matrix(data.x, fold.validation)
        return _Read(design, design.matrix(data.x, fold.train), held)

    return _READ.get(data, (fold.name,), make)


def _begun(data: Prepared, fold: Fold, recipe: Recipe, design: Design) -> tuple[LinearFitted, Floats]:
    """The model before the first step, which knows the target alone, and the (train rows,) target as it is learned."""
    y, weight, classes = data.y[fold.train], train_weights(data, fold, recipe.class_weight), len(data.classes)
    if classes:
        logs = np.log(class_shares(y, weight, classes))
        return _empty(design, logs[1:] - logs[:1] if classes == 2 else logs, classes=classes), y
    if recipe.objective == "poisson":
        counts, mean = counted_target(y, weight)
        return _empty(design, np.zeros(1), classes=0, counts=True, scale=mean), counts
    standard, centre, scale = standard_target(y, weight)
    return _empty(design, np.zeros(1), classes=0, centre=centre, scale=scale), standard


def _empty(design: Design, intercepts: Floats, **about: Any) -> LinearFitted:
    coefficients = np.zeros((len(intercepts), design.width))
    return LinearFitted(iterations=0, design=design, coefficients=coefficients, intercepts=intercepts, **about)


def _problem(
    data: Prepared, fold: Fold, recipe: Recipe, begun: LinearFitted, y: Floats, *, matrix: Any
) -> Problem:  # fmt: skip
    chosen = LinearParams(**recipe.params)
    weight = train_weights(data, fold, recipe.class_weight)
    total = float(len(y) if weight is None else weight.sum())
    strength = (chosen.alpha if data.task == "regression" else 1.0 / chosen.C) / total
    ways = np.array(directions(data, recipe), dtype=np.float64)
    numbers = begun.design.numbers.places
    signs = np.zeros(begun.design.width)
    signs[: len(numbers)] = ways[numbers]
    return Problem(
        matrix=matrix, y=y, outputs=len(begun.intercepts),
        weight=np.full(len(y), 1.0 / total) if weight is None else weight / total, losses=losses(data.task, recipe),
        l1=strength * chosen.l1_ratio, l2=strength * (1.0 - chosen.l1_ratio), signs=signs,
    )  # fmt: skip


class _Course:
    """Follows the solver step by step, and keeps the model that is to be taken."""

    def __init__(self, begun: LinearFitted, problem: Problem, held: Any, watch: Watch) -> None:
        self.problem, self.held, self.watch = problem, held, watch
        self.kept = self.last = begun
        self.measured = False
        if begun.iterations:
            self.look(measure=True)

    def __call__(self, step: int, theta: Floats) -> None:
        coefficients, intercepts = self.problem.split(theta)
        self.last = replace(self.last, coefficients=coefficients, intercepts=intercepts, iterations=step)
        if not self.look(measure=step % TOLD_EVERY == 1):
            raise Enough

    def look(self, *, measure: bool) -> bool:
        """Tells the last model, and keeps it where it is the one to take; False where the fit should end."""
        now, self.measured = self.last, measure
        asked = measure and self.held is not None
        answer = now.answer(self.held @ now.coefficients.T + now.intercepts) if asked else None
        go_on = self.watch.go_on(now.iterations, self.watch.measured(answer), (now.iterations, now.save))
        if self.watch.kept == now.iterations:
            self.kept = now
        return go_on

    def ended(self) -> LinearFitted:
        """The model to take."""
        timed_out = self.watch.timed_out
        if not self.measured:
            self.last = replace(self.last, iterations=max(1, self.last.iterations))
            self.look(measure=True)
        return replace(self.kept, timed_out=timed_out)


def _on_quantile(fitted: LinearFitted, problem: Problem, recipe: Recipe) -> LinearFitted:
    """The model moved by a constant, so that just the share `recipe.quantile` of the training weight lies below it."""
    left = problem.y - problem.matrix @ fitted.coefficients[0]
    order = np.argsort(left, kind="stable")
    reached = np.searchsorted(np.cumsum(problem.weight[order]), recipe.quantile)
    return replace(fitted, intercepts=left[order[[min(int(reached), len(order) - 1)]]])

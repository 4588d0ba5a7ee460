"""Forests of scikit-learn's trees: random forests (Breiman 2001) and extremely randomised trees (Geurts et al. 2006).

Each tree is grown by itself from the seed and its number, so that a fit may end, or go on, after any of them, and the
number of threads changes nothing. Where classes or counts are predicted, one more tree answers that knows the shares of
the classes, or the mean, alone: no answer is quite impossible then.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from app.spec.algorithms import ForestParams
from app.spec.modelling import Dimension
from app.spec.spaces import default_space
from trainhouse_loader.models import grove
from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.forest import ForestFitted, ForestFormat
from trainhouse_loader.terms import TaskType
from workers.matrix.prepared import Prepared
from workers.trainers.contract import Company, Fold, Recipe
from workers.trainers.growing import Grower, Kind
from workers.trainers.watching import Watch, rises

SMALL_ROWS = 50_000
TREES_AT_A_TIME, LOOK_SECONDS = 8, 0.5
"""Trees of each thread between two looks at the clock where rows are few, as long as they take no longer than this."""


@dataclass(frozen=True)
class ForestTrainer(ForestFormat):
    """See `Trainer`; `kind` is how its trees are grown."""

    kind: Kind
    objectives = frozenset({"auto", "poisson", "quantile", "huber"})

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:
        """See `Trainer.space`."""
        return default_space(self.kind, task, rows)

    def rises(self, data: Prepared, fold: Fold, recipe: Recipe) -> bool:  # noqa: ARG002  # of every fold
        """See `Trainer.rises`."""
        return rises(data, recipe)

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> ForestFitted:
        """See `Trainer.fit`."""
        grower = Grower.prepare(data, fold, recipe, self.kind)
        most = min(ForestParams(**recipe.params).n_estimators, recipe.max_iterations)
        forest = _Forest(grower, Watch(data, fold, recipe, company))
        if company.resume is not None:
            forest.resume(self.load(company.resume))
        forest.grow(most, leaves=grower.most_leaves(most))
        return forest.fitted(forest.watch.kept)


class _Forest:
    """The trees so far, and what they say of the validation rows."""

    def __init__(self, grower: Grower, watch: Watch) -> None:
        self.grower, self.held, self.watch, self.threads = grower, grower.read.held, watch, watch.company.threads
        self.trees: list[grove.Grown] = []
        self.gains: list[Floats] = []
        self.said = np.zeros((0 if self.held is None else len(self.held), grower.outputs))
        self.ended = False

    def resume(self, before: ForestFitted) -> None:
        """Takes the trees of `before`."""
        self.trees, self.gains = list(before.trees), list(before.gains)
        if self.held is not None:
            self.said = grove.total(self.trees, self.held, outputs=self.grower.outputs, threads=self.threads)
        self._tell()

    def grow(self, most: int, *, leaves: int | None) -> None:
        """Grows until there are `most` trees, or patience or time is over.

        Several trees of each thread at a time spare the threads the wait for each other. How long one takes shows only
        once there is one: rows may be few and wide.
        """
        deadline, largest = self.watch.company.deadline, TREES_AT_A_TIME if len(self.grower.x) < SMALL_ROWS else 1
        each, took = 1, 0.0
        with ThreadPoolExecutor(self.threads) as pool:
            while len(self.trees) < most and not self.ended:
                began = time.monotonic()
                if self.trees and began + took >= deadline:
                    self.watch.timed_out = True
                    return
                numbers = range(len(self.trees), min(most, len(self.trees) + each * self.threads))
                for tree, gains in list(pool.map(lambda number: self.grower.tree(number, leaves), numbers)):
                    self._add(tree, gains)
                    if self.ended:
                        return
                now = time.monotonic()
                took = max(now - began, 1e-9) / each
                each = max(1, int(min(largest, LOOK_SECONDS / took, (deadline - now) / took)))

    def _add(self, tree: grove.Grown, gains: Floats) -> None:
        self.trees.append(tree)
        self.gains.append(gains)
        if self.held is not None:
            self.said += tree.answers(self.held)
        self._tell()

    def _tell(self) -> None:
        count = len(self.trees)
        value = self.watch.measured(None if self.held is None else self.grower.about.answer(self.said, count))
        self.ended = not self.watch.go_on(count, value, (count, lambda path: self.fitted(count).save(path)))

    def fitted(self, count: int) -> ForestFitted:
        """The forest of the first `count` trees."""
        return ForestFitted(
            iterations=count, timed_out=self.watch.timed_out, reading=self.grower.read.reading,
            trees=self.trees[:count], gains=np.array(self.gains[:count]), about=self.grower.about, threads=self.threads,
        )  # fmt: skip

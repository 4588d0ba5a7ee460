"""How one tree of a forest is grown, bounded in rows and in leaves."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from app.spec.algorithms import ForestParams
from trainhouse_loader.models import grove
from trainhouse_loader.models.fitted import Floats, Indices
from trainhouse_loader.models.forest import Answers
from trainhouse_loader.models.ordering import Reading, Singles
from workers.matrix.prepared import Prepared
from workers.trainers import leaves
from workers.trainers.contract import Fold, Recipe, broken, directions, train_weights
from workers.trainers.scaling import class_shares, counted_target, standard_target
from workers.trainers.shared import MOST_FLOATS, Kept

Kind = Literal["random_forest", "extra_trees"]
MOST_ROWS = 200_000
"""Rows that one tree sees; more are drawn for each tree anew."""
MOST_BYTES = 80_000_000
"""What a forest's leaves, with the nodes above them, may take in a file."""
MOST_LEAVES = 1_200_000
"""Leaves of a whole forest: more take too much memory where they are walked through."""
LEAF_BYTES, OUTPUT_BYTES = 32, 4
FEWEST_LEAVES = 32
LEAST_ROWS = {"probability": 5, "quantile": 20, "huber": 20}
"""Rows of a leaf, left open, by what is found from them; means have 1.

Five is what ranger's ten rows a split for probability forests come to (Malley et al. 2012,
https://doi.org/10.3414/ME00-01-0052).
"""
SHARE_OF_ROWS = 20
"""A leaf, left open, takes no more than one of so many rows."""


@dataclass(frozen=True)
class Read:
    """A fold as a reading reads it: (train rows, features) and (validation rows, features), or None."""

    reading: Reading
    train: Singles
    held: Singles | None

    @property
    def cells(self) -> int:
        """Of both."""
        return self.train.size + (0 if self.held is None else self.held.size)


_READ: Kept[Read] = Kept(MOST_FLOATS, size=lambda read: read.cells)


@dataclass(frozen=True, kw_only=True)
class Grower:
    """What every tree of a fit is grown from.

    Attributes:
        read: The rows, which fits of either kind share.
        y: (train rows,) class index, or the target in standard deviations; in means where counts are predicted.
        weight: (train rows,) Weights.
        about: What the trees' sums will mean.
        ways: (features,) 1, -1 or 0.
    """

    read: Read
    y: Floats
    weight: Floats
    about: Answers
    ways: Indices
    params: ForestParams
    recipe: Recipe
    kind: Kind

    @classmethod
    def prepare(cls, data: Prepared, fold: Fold, recipe: Recipe, kind: Kind) -> "Grower":
        """From the train rows of `fold`.

        Raises:
            InvalidData: a count is below 0.
            InvalidSpec: what must be monotone cannot be.
        """
        given = train_weights(data, fold, recipe.class_weight)
        y, about = _target(data, fold, recipe, given)
        weight = np.ones(len(y)) if given is None else given
        read = _READ.get(
            data, (fold.name, recipe.class_weight, recipe.objective),
            lambda: _read(data, fold, y, weight, classes=about.classes),
        )  # fmt: skip
        return cls(
            read=read, y=y, weight=weight, about=about,
            ways=np.array(directions(data, recipe)), params=_params(recipe, rows=len(y), classes=about.classes),
            recipe=recipe, kind=kind,
        )  # fmt: skip

    @property
    def x(self) -> Singles:
        """(train rows, features) as the reading reads them."""
        return self.read.train

    @property
    def outputs(self) -> int:
        """How many numbers a leaf holds."""
        return self.about.classes if self.about.classes > 2 else 1

    def most_leaves(self, trees: int) -> int | None:
        """Leaves of one of `trees` trees; None where its rows cannot make more than are allowed."""
        if self.params.max_leaf_nodes is not None:
            return self.params.max_leaf_nodes
        whole = min(MOST_LEAVES, MOST_BYTES // (LEAF_BYTES + OUTPUT_BYTES * self.outputs))
        most = max(FEWEST_LEAVES, whole // trees)
        least = self.params.min_samples_leaf or 1
        return most if min(len(self.y), MOST_ROWS) // least > most else None

    def tree(self, number: int, most_leaves: int | None) -> tuple[grove.Grown, Floats]:
        """(the tree of that number, (features,) each feature's share of the impurity that it takes away).

        Raises:
            TrainerFailed: scikit-learn failed.
        """
        random = np.random.default_rng([self.recipe.seed, number])
        rows, weight = self._drawn(random)
        estimator = self._estimator(int(random.integers(2**31)), most_leaves, positive=bool(self.y[rows].any()))
        try:
            estimator.fit(self.x[rows], self.y[rows], sample_weight=weight)
        except (ValueError, MemoryError) as error:
            raise broken("scikit-learn", error) from error
        tree = estimator.tree_
        grown = grove.of_sklearn(tree, self._values(estimator, rows, weight), self.x.shape[1])
        return grown, tree.compute_feature_importances()

    def _drawn(self, random: np.random.Generator) -> tuple[Indices | slice, Floats]:
        """(the rows that a tree sees, their weights)."""
        count, size = len(self.y), min(len(self.y), MOST_ROWS)
        bootstrap = self.kind == "random_forest" if self.params.bootstrap is None else self.params.bootstrap
        if bootstrap:
            times = np.bincount(random.integers(0, count, size), minlength=count)
            rows: Indices = np.flatnonzero(times)
            return rows, self.weight[rows] * times[rows]
        if size == count:
            return slice(None), self.weight
        rows = np.sort(random.choice(count, size, replace=False))
        return rows, self.weight[rows]

    def _estimator(self, seed: int, most_leaves: int | None, *, positive: bool) -> Any:
        params = self.params
        about: dict[str, Any] = {
            "splitter": "best" if self.kind == "random_forest" else "random", "random_state": seed,
            "max_depth": params.max_depth, "min_samples_leaf": params.min_samples_leaf, "max_leaf_nodes": most_leaves,
            "min_samples_split": params.min_samples_split, "max_features": params.max_features,
            "monotonic_cst": self.ways if self.ways.any() else None,
        }  # fmt: skip
        if self.about.classes:
            return DecisionTreeClassifier(**about)
        # A draw without any event has no deviance to lessen.
        counts = self.recipe.objective == "poisson" and positive
        return DecisionTreeRegressor(criterion="poisson" if counts else "squared_error", **about)

    def _values(self, estimator: Any, rows: Indices | slice, weight: Floats) -> Floats:
        """(nodes, outputs) What the nodes answer; only leaves count."""
        tree = estimator.tree_
        own: Floats = tree.value[:, 0, :]
        if self.about.classes:
            every = np.zeros((len(own), self.about.classes))
            every[:, estimator.classes_.astype(np.int64)] = own
            return every[:, 1:] if self.about.classes == 2 else every
        if self.recipe.objective not in {"quantile", "huber"}:
            return own
        found = leaves.again(tree.apply(self.x[rows]), self.y[rows], weight, nodes=len(own), recipe=self.recipe)
        return (leaves.bounded(tree, found, self.ways) if self.ways.any() else found)[:, None]


def _read(data: Prepared, fold: Fold, y: Floats, weight: Floats, *, classes: int) -> Read:
    targets = (y[:, None] == np.arange(classes)).astype(np.float64) if classes > 2 else y[:, None]
    reading = Reading.learn(data.x, fold.train, data.categorical, targets, weight)
    held = None if fold.validation is None else reading.read_rows(data.x, fold.validation)
    return Read(reading, reading.read_rows(data.x, fold.train), held)


def _target(data: Prepared, fold: Fold, recipe: Recipe, weight: Floats | None) -> tuple[Floats, Answers]:
    """((train rows,) what the trees learn, what their sums will mean)."""
    y, classes = data.y[fold.train], len(data.classes)
    if classes:
        return y, Answers(class_shares(y, weight, classes)[1 if classes == 2 else 0 :], classes)
    if recipe.objective == "poisson":
        counts, mean = counted_target(y, weight)
        return counts, Answers(np.ones(1), scale=mean)
    standard, centre, scale = standard_target(y, weight)
    return standard, Answers(np.empty(0), 0, centre, scale)


def _params(recipe: Recipe, *, rows: int, classes: int) -> ForestParams:
    """The parameters, with what was left open chosen."""
    found = ForestParams(**recipe.params)
    least = LEAST_ROWS.get("probability" if classes else recipe.objective, 1)
    chosen = found.min_samples_leaf or max(1, min(least, rows // SHARE_OF_ROWS))
    return found.model_copy(update={"min_samples_leaf": chosen})

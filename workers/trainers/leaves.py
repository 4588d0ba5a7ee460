"""Values of leaves found again after a tree has grown, for losses that no tree of scikit-learn grows by.

As gradient boosting does (Friedman 2001, algorithms 3 and 4, https://doi.org/10.1214/aos/1013203451): the tree divides
the rows by squared errors, then each leaf takes the value that is best for the loss on its own rows.
"""

import math
from typing import Any

import numpy as np

from trainhouse_loader.models.fitted import Floats, Indices
from workers.trainers.contract import Recipe


def again(node: Indices, y: Floats, weight: Floats, *, nodes: int, recipe: Recipe) -> Floats:
    """(nodes,) The quantile, or the minimum of Huber's loss by one step from the median, of the rows of each leaf.

    Args:
        node: (rows,) Which leaf each row is in.
        y: (rows,) Targets in standard deviations.
        weight: (rows,) Weights.
        nodes: How many nodes there are; those that are no leaf get 0.
        recipe: Says the objective.
    """
    if recipe.objective == "quantile":
        return _quantiles(node, y, weight, nodes=nodes, share=recipe.quantile)
    middle = _quantiles(node, y, weight, nodes=nodes, share=0.5)
    left = np.clip(y - middle[node], -recipe.huber_delta, recipe.huber_delta)
    size = np.bincount(node, weight, minlength=nodes)
    moved = np.bincount(node, weight * left, minlength=nodes)
    return middle + np.divide(moved, size, out=np.zeros(nodes), where=size > 0)


def _quantiles(node: Indices, y: Floats, weight: Floats, *, nodes: int, share: float) -> Floats:
    order = np.lexsort((y, node))
    reached = np.cumsum(weight[order])
    counts = np.bincount(node, minlength=nodes)
    leaf = np.flatnonzero(counts)
    last = np.cumsum(counts)[leaf] - 1
    first = last + 1 - counts[leaf]
    before = np.r_[0.0, reached[last[:-1]]]
    found = np.searchsorted(reached, before + share * (reached[last] - before))
    values = np.zeros(nodes)
    values[leaf] = y[order][np.clip(found, first, last)]
    return values


def bounded(tree: Any, values: Floats, ways: Indices) -> Floats:
    """(nodes,) `values` of leaves held within what a tree that must be monotone allows.

    At each split on such a feature the middle between both sides bounds the leaves of either.

    Args:
        tree: Of scikit-learn; children come after their parents.
        values: (nodes,) Of which only those of leaves count.
        ways: (features,) 1, -1 or 0.
    """
    left, right, feature = tree.children_left.tolist(), tree.children_right.tolist(), tree.feature.tolist()
    means, size = values.tolist(), tree.weighted_n_node_samples.tolist()
    inner = [node for node, child in enumerate(left) if child >= 0]
    for node in reversed(inner):
        one, other = left[node], right[node]
        share = size[one] / (size[one] + size[other])
        means[node] = share * means[one] + (1.0 - share) * means[other]
    low, high = [-math.inf] * len(left), [math.inf] * len(left)
    for node in inner:
        sides = (left[node], right[node]) if ways[feature[node]] >= 0 else (right[node], left[node])
        for side in sides:
            low[side], high[side] = low[node], high[node]
        if ways[feature[node]]:
            middle = sum(min(max(means[side], low[node]), high[node]) for side in sides) / 2
            high[sides[0]] = low[sides[1]] = middle
    return np.clip(values, low, high)

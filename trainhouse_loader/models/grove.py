"""Grown trees as plain arrays: small in a file, safe to read, walked through by scikit-learn."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.tree._tree import NODE_DTYPE, Tree

from trainhouse_loader.models.fitted import Floats, Indices
from trainhouse_loader.models.ordering import Singles

Array = npt.NDArray[Any]
ROWS_AT_A_TIME = 16_384


@dataclass(frozen=True)
class Grown:
    """One tree.

    Attributes:
        left: (nodes,) int32, the child for values up to the threshold, always after its parent; -1 for leaves.
        right: (nodes,) int32, the other child.
        feature: (nodes,) int32, what is asked for; 0 for leaves.
        threshold: (nodes,) float32; 0 for leaves.
        leaf: (nodes,) How many leaves stand before each node: its place in `values`, if it is one.
        values: (leaves, outputs) float32, in order of nodes.
        walker: The same tree as scikit-learn walks through it.
    """

    left: Array
    right: Array
    feature: Array
    threshold: Singles
    leaf: Indices
    values: Singles
    walker: Any

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Array], values: Singles, features: int) -> "Grown":
        """The tree of NODES arrays and the values of its leaves.

        Raises:
            ValueError: they are no tree over `features` features.
        """
        left, right, feature = arrays["left"], arrays["right"], arrays["feature"]
        count, inner = len(left), left >= 0
        here = np.arange(count)
        sound = (
            count > 0
            and bool(np.all((left[inner] > here[inner]) & (right[inner] > here[inner])))
            and bool(np.all((left < count) & (right < count) & (inner == (right >= 0))))
            and bool(np.all((feature >= 0) & (feature < features)))
            and int((~inner).sum()) == len(values)
            and bool(np.isfinite(values).all() and np.isfinite(arrays["threshold"]).all())
        )
        if not sound:
            raise ValueError("the arrays are no tree")
        leaf, walker = np.cumsum(~inner) - 1, _walker(arrays, features)
        return cls(left, right, feature, arrays["threshold"], leaf, values, walker)

    def answers(self, x: Singles) -> Floats:
        """(rows, outputs) of `x` (rows, features)."""
        found: Floats = self.values[self.leaf[self.walker.apply(x)]].astype(np.float64)
        return found


NODES = {
    "left": np.int32, "right": np.int32, "feature": np.int32, "threshold": np.float32,
}  # fmt: skip


def of_sklearn(tree: Any, values: Floats, features: int) -> Grown:
    """A grown tree of scikit-learn with (nodes, outputs) `values`, of which those of leaves are kept.

    Features are float32, so a threshold that is rounded down to float32 divides them as before.
    """
    inner = tree.children_left >= 0
    threshold = tree.threshold.astype(np.float32)
    threshold = np.where(threshold > tree.threshold, np.nextafter(threshold, np.float32(-np.inf)), threshold)
    arrays = {
        "left": tree.children_left, "right": tree.children_right, "feature": np.where(inner, tree.feature, 0),
        "threshold": np.where(inner, threshold, 0.0),
    }  # fmt: skip
    typed = {name: array.astype(NODES[name]) for name, array in arrays.items()}
    return Grown.of_arrays(typed, values[~inner].astype(np.float32), features)


def _walker(arrays: Mapping[str, Array], features: int) -> Any:
    nodes = np.zeros(len(arrays["left"]), dtype=NODE_DTYPE)
    names = {"left": "left_child", "right": "right_child"}
    for name, array in arrays.items():
        nodes[names.get(name, name)] = array
    walker = Tree(features, np.array([1], dtype=np.intp), 1)
    state = {"max_depth": len(nodes), "node_count": len(nodes), "nodes": nodes, "values": np.zeros((len(nodes), 1, 1))}
    walker.__setstate__(state)
    return walker


def packed(trees: Sequence[Grown]) -> dict[str, Array]:
    """All trees as a few long arrays."""
    ends = {"nodes": [len(tree.left) for tree in trees], "leaves": [len(tree.values) for tree in trees]}
    whole = {name: np.concatenate([vars(tree)[name] for tree in trees]) for name in (*NODES, "values")}
    return {**{name: np.array(counts, dtype=np.int64) for name, counts in ends.items()}, **whole}


def unpacked(whole: Mapping[str, Array], features: int) -> list[Grown]:
    """The trees that `packed` wrote.

    Raises:
        KeyError, ValueError, IndexError: they are none.
    """
    if whole["values"].ndim != 2 or any(
        whole[name].dtype != kind or whole[name].ndim != 1 for name, kind in NODES.items()
    ):
        raise ValueError("the arrays are no trees")
    nodes, leaves = np.r_[0, np.cumsum(whole["nodes"])], np.r_[0, np.cumsum(whole["leaves"])]
    if {len(whole[name]) for name in NODES} != {int(nodes[-1])} or len(leaves) != len(nodes):
        raise ValueError("the arrays differ in length")
    trees = []
    for place in range(len(nodes) - 1):
        own = slice(int(nodes[place]), int(nodes[place + 1]))
        values = whole["values"][int(leaves[place]) : int(leaves[place + 1])]
        trees.append(Grown.of_arrays({name: whole[name][own] for name in NODES}, values, features))
    return trees


def total(trees: Sequence[Grown], x: Singles, *, outputs: int, threads: int) -> Floats:
    """(rows, outputs) sums of the trees' answers; a row's sum is the same whatever else is asked."""
    out = np.zeros((len(x), outputs))

    def add(start: int) -> None:
        rows = slice(start, start + ROWS_AT_A_TIME)
        block = np.ascontiguousarray(x[rows])
        for tree in trees:
            out[rows] += tree.answers(block)

    starts = range(0, len(x), ROWS_AT_A_TIME)
    if threads == 1 or len(starts) < 2:
        for start in starts:
            add(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(add, starts))
    return out

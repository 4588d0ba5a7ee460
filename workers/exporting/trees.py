"""Trees as one operator, `TreeEnsemble` of ai.onnx.ml 5, in numbers of 64 bits as the libraries' own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from workers.exporting.graph import Graph

Floats = npt.NDArray[np.float64]
AT_MOST, BELOW, AMONG = 0, 1, 6
"""How a node asks: whether a value is at most its number, is below it, or is among its members."""
SUM = 1


@dataclass(frozen=True)
class Ask:
    """A node that asks.

    Attributes:
        feature: Of the matrix.
        mode: AT_MOST, BELOW or AMONG.
        number: What the value is compared with; nothing where it asks for members.
        yes: Where rows go whose answer is yes: the place of another node, or of a leaf as `~place`.
        no: Where the others go.
        missing_yes: Whether a missing value goes where yes goes.
        members: What the value may be, where it asks for that.
    """

    feature: int
    mode: int
    number: float
    yes: int
    no: int
    missing_yes: bool
    members: tuple[float, ...] = ()


@dataclass(frozen=True)
class Tree:
    """Nodes, the first of them the root, and (leaves, outputs) values; without nodes the one leaf answers."""

    nodes: Sequence[Ask]
    values: Floats


@dataclass
class _Flat:
    """The attributes of the operator, filled tree by tree."""

    feature: list[int] = field(default_factory=list)
    mode: list[int] = field(default_factory=list)
    number: list[float] = field(default_factory=list)
    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)
    yes_leaf: list[int] = field(default_factory=list)
    no_leaf: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)

    def add(self, tree: Tree, targets: Sequence[int], weights: Sequence[float]) -> None:
        """Adds a tree that asks; each of its leaves adds its weight to its target."""
        first, leaves = len(self.feature), len(self.target)
        self.roots.append(first)
        for node in tree.nodes:
            self.feature.append(node.feature)
            self.mode.append(node.mode)
            self.number.append(node.number)
            self.missing.append(int(node.missing_yes))
            for to, places, is_leaf in ((node.yes, self.yes, self.yes_leaf), (node.no, self.no, self.no_leaf)):
                is_leaf.append(int(to < 0))
                places.append(leaves + ~to if to < 0 else first + to)
            if node.mode == AMONG:
                self.members += [*node.members, float("nan")]
        self.target += targets
        self.weight += weights

    def op(self, graph: Graph, x: str, targets: int) -> str:
        """(rows, targets) The sums of all trees for `x` (rows, features)."""
        more = {"membership_values": graph.tensor(np.array(self.members, np.float64))} if self.members else {}
        return graph.op(
            "TreeEnsemble", x, domain="ai.onnx.ml", aggregate_function=SUM, post_transform=0, n_targets=targets,
            tree_roots=self.roots, nodes_featureids=self.feature,
            nodes_modes=graph.tensor(np.array(self.mode, np.uint8)),
            nodes_splits=graph.tensor(np.array(self.number, np.float64)), nodes_truenodeids=self.yes,
            nodes_falsenodeids=self.no, nodes_trueleafs=self.yes_leaf, nodes_falseleafs=self.no_leaf,
            nodes_missing_value_tracks_true=self.missing, leaf_targetids=self.target,
            leaf_weights=graph.tensor(np.array(self.weight, np.float64)), **more,
        )  # fmt: skip


def summed(graph: Graph, x: str, trees: Sequence[Tree], outputs: Sequence[int], *, size: int) -> str:
    """(rows, size) sums of `trees` for `x` (rows, features), each of which answers one number for its output."""
    flat, base = _Flat(), np.zeros(size)
    for tree, output in zip(trees, outputs, strict=True):
        values = tree.values[:, 0]
        if tree.nodes:
            flat.add(tree, [output] * len(values), values.tolist())
        else:
            base[output] += values[0]
    asked = flat.op(graph, x, size) if flat.roots else _nothing(graph, x)
    return graph.op("Add", asked, base[None, :])


def looked_up(graph: Graph, x: str, trees: Sequence[Tree]) -> str:
    """(rows, outputs) sums of `trees` for `x` (rows, features), each of whose leaves answers several numbers.

    The operator finds the leaf of each tree, and a table has what the leaf says.
    """
    asking = [tree for tree in trees if tree.nodes]
    base = sum((tree.values[0] for tree in trees if not tree.nodes), np.zeros(trees[0].values.shape[1]))
    if not asking:
        return graph.op("Add", _nothing(graph, x), base[None, :])
    flat, start = _Flat(), 0
    for place, tree in enumerate(asking):
        count = len(tree.values)
        flat.add(tree, [place] * count, [float(start + leaf) for leaf in range(count)])
        start += count
    at = graph.cast(flat.op(graph, x, len(asking)), TensorProto.INT64)
    table = graph.constant(np.concatenate([tree.values for tree in asking]))
    each = graph.op("Gather", table, at, axis=0)
    return graph.op("Add", graph.op("ReduceSum", each, np.array([1], np.int64), keepdims=0), base[None, :])


def _nothing(graph: Graph, x: str) -> str:
    """(rows, 1) zeros."""
    first = graph.op("Gather", x, np.array([0], np.int64), axis=1)
    return graph.op("Mul", graph.where_nan(first, np.float64(0.0), first), np.float64(0.0))

"""The trees of boosting libraries, out of what each of them writes of itself."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainhouse_loader.models.catboost import CatboostFitted
from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.lightgbm import LightgbmFitted
from trainhouse_loader.models.xgboost import XgboostFitted
from workers.exporting.trees import AMONG, AT_MOST, BELOW, Ask, Tree


def of_lightgbm(fitted: LightgbmFitted) -> list[Tree]:
    """The trees of a booster, round by round and in each round class by class."""
    document = fitted.booster.dump_model(num_iteration=fitted.iterations)
    return [_lightgbm_tree(each["tree_structure"]) for each in document["tree_info"]]


def _lightgbm_tree(root: dict[str, Any]) -> Tree:
    nodes: list[Ask | None] = []
    values: list[float] = []

    def placed(part: dict[str, Any]) -> int:
        if "split_index" not in part:
            values.append(float(part["leaf_value"]))
            return ~(len(values) - 1)
        place = len(nodes)
        nodes.append(None)
        waiting.append((place, part))
        return place

    waiting: list[tuple[int, dict[str, Any]]] = []
    placed(root)
    while waiting:
        place, part = waiting.pop()
        nodes[place] = _lightgbm_ask(part, placed(part["left_child"]), placed(part["right_child"]))
    return Tree([node for node in nodes if node is not None], np.array(values)[:, None])


def _lightgbm_ask(part: dict[str, Any], left: int, right: int) -> Ask:
    if part["decision_type"] == "==":
        members = tuple(float(code) for code in str(part["threshold"]).split("||"))
        return Ask(part["split_feature"], AMONG, 0.0, left, right, missing_yes=False, members=members)
    number = float(part["threshold"])
    # Where none was missing in training, LightGBM takes a missing value for 0.
    missing = bool(part["default_left"]) if part["missing_type"] == "NaN" else number >= 0.0
    return Ask(part["split_feature"], AT_MOST, number, left, right, missing_yes=missing)


def of_xgboost(fitted: XgboostFitted) -> tuple[list[Tree], list[int], Floats]:
    """(the trees, the class of each, what is added to the sums of each class)."""
    document = json.loads(fitted.booster.save_raw("json"))["learner"]
    model = document["gradient_booster"]["model"]
    trees = [_xgboost_tree(each) for each in model["trees"]]
    outputs = [int(each) for each in model["tree_info"]]
    size = raw_size(fitted.classes)
    row = np.full((1, fitted.booster.num_features()), np.nan, np.float32)
    margin = np.asarray(fitted.booster.inplace_predict(row, predict_type="margin", validate_features=False), np.float64)
    base = margin.reshape(size)
    for tree, output in zip(trees, outputs, strict=True):
        base[output] -= _all_missing(tree)
    return trees, outputs, base


def _xgboost_tree(part: dict[str, Any]) -> Tree:
    left, right, numbers = part["left_children"], part["right_children"], part["split_conditions"]
    inner = [node for node, child in enumerate(left) if child >= 0]
    leaves = [node for node, child in enumerate(left) if child < 0]
    place = {**{node: at for at, node in enumerate(inner)}, **{node: ~at for at, node in enumerate(leaves)}}
    starts = dict(zip(part["categories_nodes"], part["categories_segments"], strict=True))
    sizes = dict(zip(part["categories_nodes"], part["categories_sizes"], strict=True))
    nodes = []
    for node in inner:
        feature, default_left = part["split_indices"][node], bool(part["default_left"][node])
        low, high = place[left[node]], place[right[node]]
        if part["split_type"][node] == 1:
            members = part["categories"][starts[node] : starts[node] + sizes[node]]
            nodes.append(Ask(feature, AMONG, 0.0, high, low, missing_yes=not default_left,
                             members=tuple(float(code) for code in members)))  # fmt: skip
        else:
            nodes.append(Ask(feature, BELOW, _single(numbers[node]), low, high, missing_yes=default_left))
    return Tree(nodes, np.array([[_single(numbers[node])] for node in leaves]))


def _single(number: float) -> float:
    return float(np.float32(number))


def _all_missing(tree: Tree) -> float:
    """What a tree says of a row without a value."""
    at = 0 if tree.nodes else ~0
    while at >= 0:
        node = tree.nodes[at]
        at = node.yes if node.missing_yes else node.no
    return float(tree.values[~at, 0])


def of_catboost(fitted: CatboostFitted) -> tuple[list[Tree], Floats]:
    """(the trees, (outputs,) what is added to their sums).

    Raises:
        ValueError: the model takes columns of categories, whose statistics have no operators.
    """
    if fitted.categorical:
        raise ValueError("the model takes columns of categories")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.json")
        fitted.model.save_model(str(path), format="json")
        document = json.loads(path.read_text(encoding="utf-8"))
    floats = {each["feature_index"]: each for each in document["features_info"].get("float_features", [])}
    scale, bias = document["scale_and_bias"]
    biases = np.asarray(bias, np.float64).reshape(-1)
    outputs = raw_size(fitted.classes)
    trees = [_oblivious(each, floats, outputs, float(scale)) for each in document["oblivious_trees"]]
    return trees, np.resize(biases if len(biases) else np.zeros(1), outputs)


def _oblivious(part: dict[str, Any], floats: dict[int, dict[str, Any]], outputs: int, scale: float) -> Tree:
    """A tree that asks the same of all nodes of a level; the first question says the lowest bit of the leaf's place."""
    splits: Sequence[dict[str, Any]] = part["splits"] or []
    depth = len(splits)
    values = scale * np.array(part["leaf_values"], np.float64).reshape(2**depth, outputs)
    nodes = []
    for level in range(depth):
        split = splits[depth - 1 - level]
        feature = floats[split["float_feature_index"]]
        above = feature.get("nan_value_treatment") == "AsTrue"
        for own in range(2**level):
            below = 2 ** (level + 1) - 1 + 2 * own
            no, yes = (below, below + 1) if level + 1 < depth else (~(2 * own), ~(2 * own + 1))
            # "above the border" is asked as "at most the border", with the sides exchanged
            nodes.append(
                Ask(feature["flat_feature_index"], AT_MOST, _single(split["border"]), no, yes, missing_yes=not above)
            )
    return Tree(nodes, values)


def raw_size(classes: int) -> int:
    """How many numbers a booster sums up: one, or one for each of more than two classes."""
    return classes if classes > 2 else 1

"""Models as operators: from the matrix to numbers, or to probabilities, as `Fitted.predict` gives them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from trainhouse_loader.models import Fitted
from trainhouse_loader.models.catboost import CatboostFitted
from trainhouse_loader.models.design import Design
from trainhouse_loader.models.ensemble import Ensemble
from trainhouse_loader.models.finish import TINY, Finish
from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.forest import ForestFitted
from trainhouse_loader.models.grove import Grown
from trainhouse_loader.models.libraries import LARGEST
from trainhouse_loader.models.lightgbm import LightgbmFitted
from trainhouse_loader.models.linear import MOST_LOG, LinearFitted
from trainhouse_loader.models.ordering import Bins, Order
from trainhouse_loader.models.xgboost import XgboostFitted
from workers.exporting import boosters
from workers.exporting.graph import Graph
from workers.exporting.trees import AT_MOST, Ask, Tree, looked_up, summed

WIDEST = np.float64(LARGEST)


def answer(graph: Graph, x: str, model: Ensemble) -> str:
    """(rows,) numbers, or (rows, classes) probabilities, of `x` (rows, features); see `Ensemble.predict`."""
    each = [MEMBERS[type(member)](graph, x, member) for member in model.members]
    if len(each) == 1:
        return finished(graph, each[0], model.finish)
    parts = [graph.op("Mul", one, np.float64(weight)) for one, weight in zip(each, model.weights, strict=True)]
    return finished(graph, graph.total(parts), model.finish)


def finished(graph: Graph, p: str, finish: Finish) -> str:
    """See `Finish.calibrated`."""
    if finish.method == "none":
        return p
    inside = graph.op("Min", graph.op("Max", p, np.float64(TINY)), np.float64(1.0 - TINY))
    if finish.method == "sigmoid":
        positive = graph.op("Gather", inside, np.array(1), axis=1)
        odds = graph.op("Sub", graph.op("Log", positive), graph.op("Log", graph.op("Sub", np.float64(1.0), positive)))
        line = graph.op("Add", graph.op("Mul", odds, np.float64(finish.slope)), np.float64(finish.shift))
        return _two(graph, graph.op("Sigmoid", line))
    logs = graph.op("Mul", graph.op("Log", graph.op("Max", p, np.float64(TINY))), np.float64(finish.slope))
    return graph.op("Softmax", logs, axis=1)


def _two(graph: Graph, positive: str) -> str:
    """(rows, 2) out of (rows,) probabilities of the second class."""
    both = (graph.op("Sub", np.float64(1.0), positive), positive)
    return graph.op("Concat", *(graph.column(each) for each in both), axis=1)


def _said(graph: Graph, raw: str, classes: int, *, logarithmic: bool = False) -> str:
    """What raw sums (rows, outputs) mean: a number or its logarithm, log odds, or logits."""
    if classes > 2:
        return graph.op("Softmax", raw, axis=1)
    first = graph.op("Gather", raw, np.array(0), axis=1)
    if classes:
        return _two(graph, graph.op("Sigmoid", first))
    return graph.op("Exp", first) if logarithmic else first


def _lightgbm(graph: Graph, x: str, model: LightgbmFitted) -> str:
    trees, size = boosters.of_lightgbm(model), boosters.raw_size(model.classes)
    raw = summed(graph, x, trees, [place % size for place in range(len(trees))], size=size)
    return _said(graph, raw, model.classes, logarithmic=model.logarithmic)


def _singles(graph: Graph, x: str) -> str:
    """See `trainhouse_loader.models.libraries.narrowed`."""
    bounded = graph.op("Min", graph.op("Max", x, -WIDEST), WIDEST)
    return graph.cast(graph.cast(graph.where_nan(x, x, bounded), TensorProto.FLOAT), TensorProto.DOUBLE)


def _xgboost(graph: Graph, x: str, model: XgboostFitted) -> str:
    trees, outputs, base = boosters.of_xgboost(model)
    raw = graph.op("Add", summed(graph, _singles(graph, x), trees, outputs, size=len(base)), base[None, :])
    kind = model.booster.save_config()
    logarithmic = any(f'"{name}"' in kind for name in ("count:poisson", "reg:tweedie", "reg:gamma"))
    return _said(graph, raw, model.classes, logarithmic=logarithmic)


def _catboost(graph: Graph, x: str, model: CatboostFitted) -> str:
    trees, bias = boosters.of_catboost(model)
    sums = graph.op("Add", looked_up(graph, _singles(graph, x), trees), bias[None, :])
    return _said(graph, sums, model.classes, logarithmic=model.logarithmic)


def _forest(graph: Graph, x: str, model: ForestFitted) -> str:
    read = _ranked(graph, x, model)
    bins = {each.place: each for each in model.reading.bins}
    trees = [_grown(each, bins) for each in model.trees]
    total = (looked_up if model.outputs > 1 else _alone)(graph, read, trees)
    about, count = model.about, np.float64(len(trees) + (len(model.about.prior) > 0))
    if len(about.prior):
        total = graph.op("Add", total, about.prior[None, :])
    mean = graph.op("Div", total, count)
    if about.classes > 2:
        return graph.op("Div", mean, graph.op("ReduceSum", mean, np.array([1], np.int64), keepdims=1))
    first = graph.op("Gather", mean, np.array(0), axis=1)
    if about.classes:
        return _two(graph, first)
    return graph.op("Add", graph.op("Mul", first, np.float64(about.scale)), np.float64(about.centre))


def _alone(graph: Graph, x: str, trees: list[Tree]) -> str:
    return summed(graph, x, trees, [0] * len(trees), size=1)


def _ranked(graph: Graph, x: str, model: ForestFitted) -> str:
    """`x` with codes of categories as their places in the order that the forest has learned."""
    if not model.reading.orders:
        return x
    orders = {each.place: each for each in model.reading.orders}
    count = len(orders) + len(model.reading.bins)
    columns = [
        _order(graph, graph.op("Gather", x, np.array(place), axis=1), orders[place])
        if place in orders
        else graph.op("Gather", x, np.array(place), axis=1)
        for place in range(count)
    ]
    return graph.op("Concat", *(graph.column(each) for each in columns), axis=1)


def _order(graph: Graph, codes: str, order: Order) -> str:
    whole = graph.where_nan(codes, np.float64(-1.0), codes)
    return graph.mapped(whole, order.levels.astype(np.float64), order.ranks, other=order.unseen)


def _grown(tree: Grown, bins: dict[int, Bins]) -> Tree:
    """A tree that asks for the numbers themselves, where the forest's own asks for their bins."""
    inner = np.flatnonzero(tree.left >= 0)
    place = np.where(tree.left >= 0, np.cumsum(tree.left >= 0) - 1, ~tree.leaf)
    nodes = []
    for node in inner.tolist():
        feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
        own, missing = bins.get(feature), False
        if own is not None:
            missing, threshold = own.absent <= threshold, _edge(own, threshold)
        low, high = int(place[tree.left[node]]), int(place[tree.right[node]])
        nodes.append(Ask(feature, AT_MOST, threshold, low, high, missing_yes=missing))
    return Tree(nodes, tree.values.astype(np.float64))


def _edge(bins: Bins, threshold: float) -> float:
    """The number up to which values lie in a bin of at most `threshold`."""
    last = math.floor(threshold)
    if last < 0:
        return -math.inf
    return float(bins.edges[last]) if last < len(bins.edges) else math.inf


def _linear(graph: Graph, x: str, model: LinearFitted) -> str:
    raw = graph.op("Add", _sums(graph, x, model.design, model.coefficients), model.intercepts[None, :])
    if model.classes:
        return _said(graph, raw, model.classes)
    number = graph.op("Gather", raw, np.array(0), axis=1)
    if model.counts:
        number = graph.op("Exp", graph.op("Min", graph.op("Max", number, np.float64(-MOST_LOG)), np.float64(MOST_LOG)))
    return graph.op("Add", graph.op("Mul", number, np.float64(model.scale)), np.float64(model.centre))


def _sums(graph: Graph, x: str, design: Design, coefficients: Floats) -> str:
    """See `Design.sums`."""
    numbers, own = design.numbers, len(design.numbers.places)
    parts = []
    if own:
        given = graph.op("Gather", x, numbers.places, axis=1)
        known = graph.where_nan(given, np.float64(0.0), given)
        cut = graph.op("Min", graph.op("Max", graph.op("Div", known, numbers.unit), numbers.low), numbers.high)
        standard = graph.op("Div", graph.op("Sub", cut, numbers.centre), numbers.spread)
        full = graph.where_nan(given, numbers.middle, standard)
        parts.append(graph.op("MatMul", full, coefficients[:, :own].T))
        if numbers.missing.any():
            absent = graph.cast(graph.op("IsNaN", given), TensorProto.DOUBLE)
            places = np.zeros((own, len(coefficients)))
            places[numbers.missing] = coefficients[:, own : design.dense_width].T
            parts.append(graph.op("MatMul", absent, places))
    start = design.dense_width
    for category in design.categories:
        codes = graph.op("Gather", x, np.array(category.place), axis=1)
        table = np.vstack((coefficients[:, start : start + category.width].T, np.zeros(len(coefficients))))
        whole = graph.where_nan(codes, np.float64(-1.0), codes)
        keys, rows = np.append(category.levels, -1).astype(np.float64), np.arange(len(category.levels) + 1)
        # a missing code has the column after the levels, or else the row of zeros that stands there then
        at = graph.mapped(whole, keys, rows, other=category.width)
        parts.append(graph.op("Gather", table, graph.cast(at, TensorProto.INT64), axis=0))
        start += category.width
    return graph.total(parts)


Member = Callable[[Graph, str, Any], str]
MEMBERS: dict[type[Fitted], Member] = {
    LightgbmFitted: _lightgbm, XgboostFitted: _xgboost, CatboostFitted: _catboost, ForestFitted: _forest,
    LinearFitted: _linear,
}  # fmt: skip
"""By the class of a fitted model, the operators that answer as it does."""

"""Imputers and scalers of scikit-learn as operators, each over (rows, features)."""

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from scipy.stats import norm
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler

from workers.exporting.graph import Graph

Floats = npt.NDArray[np.float64]
BOUND = 1e-7
"""What scikit-learn's quantile transformer takes for the ends of its range."""
CENTRAL = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
NEAR = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip
"""Coefficients of algorithm AS 241, PPND16 (Wichura 1988, https://doi.org/10.2307/2347330), lowest power first."""


def after(graph: Graph, numbers: str, block: dict[str, Any]) -> str:
    """`numbers` with missing ones filled and all scaled, as far as the encoder's `block` does."""
    for part in (block["imputer"], block["scaler"]):
        if part is not None:
            numbers = _of(graph, numbers, part)
    return numbers


def _of(graph: Graph, x: str, part: Any) -> str:
    if isinstance(part, SimpleImputer):
        return graph.where_nan(x, np.asarray(part.statistics_, np.float64), x)
    if isinstance(part, StandardScaler):
        return graph.op("Div", graph.op("Sub", x, part.mean_), part.scale_)
    if isinstance(part, RobustScaler):
        return graph.op("Div", graph.op("Sub", x, part.center_), part.scale_)
    if isinstance(part, MinMaxScaler):
        return graph.op("Add", graph.op("Mul", x, part.scale_), part.min_)
    if isinstance(part, QuantileTransformer):
        columns = [
            _quantiles(graph, graph.op("Gather", x, np.array(place), axis=1), values, part.references_)
            for place, values in enumerate(part.quantiles_.T)
        ]
        return graph.op("Concat", *(graph.column(each) for each in columns), axis=1)
    raise TypeError(f"{type(part).__name__} has no operators")


def _quantiles(graph: Graph, x: str, quantiles: Floats, references: Floats) -> str:
    """(rows,) normal scores of `x` (rows,): see `sklearn.preprocessing.QuantileTransformer`."""
    upward = _interpolated(graph, x, quantiles, references)
    downward = _interpolated(graph, graph.op("Neg", x), -quantiles[::-1], -references[::-1])
    share = graph.op("Mul", graph.op("Sub", upward, downward), np.float64(0.5))
    high = graph.op("Greater", graph.op("Add", x, np.float64(BOUND)), np.float64(quantiles[-1]))
    low = graph.op("Less", graph.op("Sub", x, np.float64(BOUND)), np.float64(quantiles[0]))
    share = graph.op("Where", low, np.float64(0.0), graph.op("Where", high, np.float64(1.0), share))
    inside = graph.op("Min", graph.op("Max", share, np.float64(1e-9)), np.float64(1 - 1e-9))
    ends = norm.ppf(BOUND - np.spacing(1)), norm.ppf(1 - (BOUND - np.spacing(1)))
    found = graph.op("Min", graph.op("Max", _normal(graph, inside), np.float64(ends[0])), np.float64(ends[1]))
    return graph.where_nan(x, np.float64(np.nan), found)


def _interpolated(graph: Graph, x: str, known: Floats, values: Floats) -> str:
    """(rows,) `numpy.interp` of `x` (rows,), but for its first value where that stands several times."""
    reached = graph.op("GreaterOrEqual", graph.column(x), known[None, :])
    count = graph.op("ReduceSum", graph.cast(reached, TensorProto.INT64), np.array([1], np.int64), keepdims=0)
    last = np.int64(len(known) - 2)
    at = graph.op("Min", graph.op("Max", graph.op("Sub", count, np.int64(1)), np.int64(0)), last)
    width = np.diff(known)
    slopes = np.divide(np.diff(values), width, out=np.zeros(len(width)), where=width > 0)
    along = graph.op("Mul", graph.op("Sub", x, graph.op("Gather", known, at)), graph.op("Gather", slopes, at))
    found = graph.op("Add", graph.op("Gather", values, at), along)
    found = graph.op("Where", graph.op("GreaterOrEqual", x, known[-1]), values[-1], found)
    return graph.op("Where", graph.op("LessOrEqual", x, known[0]), values[0], found)


def _normal(graph: Graph, share: str) -> str:
    """(rows,) The quantile of the normal distribution at `share` (rows,) inside 0 to 1; see CENTRAL."""
    offset = graph.op("Sub", share, np.float64(0.5))
    inner = graph.op("Sub", np.float64(0.180625), graph.op("Mul", offset, offset))
    middle = graph.op("Mul", offset, _ratio(graph, inner, CENTRAL))
    tail = graph.op("Min", share, graph.op("Sub", np.float64(1.0), share))
    root = graph.op("Sqrt", graph.op("Neg", graph.op("Log", tail)))
    near = _ratio(graph, graph.op("Sub", root, np.float64(1.6)), NEAR)
    far = _ratio(graph, graph.op("Sub", root, np.float64(5.0)), FAR)
    size = graph.op("Where", graph.op("LessOrEqual", root, np.float64(5.0)), near, far)
    outer = graph.op("Mul", size, graph.op("Sign", offset))
    central = graph.op("LessOrEqual", graph.op("Abs", offset), np.float64(0.425))
    return graph.op("Where", central, middle, outer)


def _ratio(graph: Graph, x: str, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> str:
    return graph.op("Div", *(_polynomial(graph, x, each) for each in coefficients))


def _polynomial(graph: Graph, x: str, coefficients: tuple[float, ...]) -> str:
    found = graph.op("Mul", x, np.float64(coefficients[-1]))
    for each in coefficients[-2:0:-1]:
        found = graph.op("Mul", graph.op("Add", found, np.float64(each)), x)
    return graph.op("Add", found, np.float64(coefficients[0]))

"""Times as operators: parts of the calendar out of microseconds since 1970."""

import numpy as np
from onnx import TensorProto

from workers.exporting.graph import Graph

DAY, HOUR, SECOND = 86_400_000_000, 3_600_000_000, 1_000_000


def whole(graph: Graph, micros: str) -> str:
    """(rows,) int64 of `micros` (rows,); 0 where there is no time."""
    return graph.cast(graph.where_nan(micros, np.float64(0.0), micros), TensorProto.INT64)


def floored(graph: Graph, values: str, by: int) -> tuple[str, str]:
    """(rounded down, what is left) of int64 `values` divided by `by`; ONNX rounds towards zero."""
    towards = graph.op("Div", values, np.int64(by))
    left = graph.op("Sub", values, graph.op("Mul", towards, np.int64(by)))
    below = graph.cast(graph.op("Less", left, np.int64(0)), TensorProto.INT64)
    return graph.op("Sub", towards, below), graph.op("Add", left, graph.op("Mul", below, np.int64(by)))


def seconds(graph: Graph, micros: str) -> str:
    """(rows,) Whole seconds as float64, rounded down; NaN where there is no time."""
    found = graph.cast(floored(graph, whole(graph, micros), SECOND)[0], TensorProto.DOUBLE)
    return graph.where_nan(micros, np.float64(np.nan), found)


def parts(graph: Graph, micros: str) -> list[str]:
    """(rows,) each: year, month, day, weekday (Monday 0), hour and seconds since 1970; NaN where there is no time.

    The calendar is Howard Hinnant's `civil_from_days`, https://howardhinnant.github.io/date_algorithms.html.
    """
    days, rest = floored(graph, whole(graph, micros), DAY)
    weekday = graph.op("Mod", graph.op("Add", days, np.int64(3)), np.int64(7))
    found = [*_civil(graph, days), weekday, graph.op("Div", rest, np.int64(HOUR))]
    known = [graph.where_nan(micros, np.float64(np.nan), graph.cast(each, TensorProto.DOUBLE)) for each in found]
    return [*known, graph.op("Div", micros, np.float64(1e6))]


def _civil(graph: Graph, days: str) -> list[str]:
    """(rows,) int64 each: year, month and day of int64 `days` since 1970."""

    def over(value: str, by: int) -> str:
        return graph.op("Div", value, np.int64(by))

    def times(value: str, by: int) -> str:
        return graph.op("Mul", value, np.int64(by))

    era, of_era = floored(graph, graph.op("Add", days, np.int64(719_468)), 146_097)
    leaps = graph.op("Sub", graph.op("Add", graph.op("Sub", of_era, over(of_era, 1_460)), over(of_era, 36_524)),
                     over(of_era, 146_096))  # fmt: skip
    year_of_era = over(leaps, 365)
    before = graph.op("Sub", graph.op("Add", times(year_of_era, 365), over(year_of_era, 4)), over(year_of_era, 100))
    of_year = graph.op("Sub", of_era, before)
    shifted = over(graph.op("Add", times(of_year, 5), np.int64(2)), 153)
    first = over(graph.op("Add", times(shifted, 153), np.int64(2)), 5)
    day = graph.op("Add", graph.op("Sub", of_year, first), np.int64(1))
    early = graph.op("Less", shifted, np.int64(10))
    month = graph.op("Add", shifted, graph.op("Where", early, np.int64(3), np.int64(-9)))
    later = graph.cast(graph.op("LessOrEqual", month, np.int64(2)), TensorProto.INT64)
    year = graph.op("Add", graph.op("Add", year_of_era, times(era, 400)), later)
    return [year, month, day]

"""The encoder as operators: from one input for each column to the matrix that models take."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from trainhouse_loader.encoding.blocks import State
from trainhouse_loader.encoding.encoder import Encoder
from trainhouse_loader.encoding.labels import MISSING, UNKNOWN, restored
from trainhouse_loader.reading.coerce import LARGEST_NUMBER
from workers.exporting import scaling, times
from workers.exporting.graph import Graph

Floats = npt.NDArray[np.float64]
HOLDS = {"number": "number", "boolean": "number", "time": "time", "text": "text"}
"""By what the snapshot holds, what the input of a category holds."""
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def inputs_of(encoder: Encoder) -> dict[str, str]:
    """What each input holds: `number`, `time` (microseconds since 1970) or `text`, by the name of the column."""
    kinds = {}
    for block in encoder.blocks:
        bases = block.get("bases") or [block["kind"]] * len(block["columns"])
        kinds.update({name: HOLDS[base] for name, base in zip(block["columns"], bases, strict=True)})
    return {name: kinds[name] for name in encoder.input_columns}


def matrix(graph: Graph, encoder: Encoder) -> str:
    """(rows, features) float64: see `Encoder.transform`."""
    blocks = [scaling.after(graph, BLOCKS[block["kind"]](graph, block), block) for block in encoder.blocks]
    return blocks[0] if len(blocks) == 1 else graph.op("Concat", *blocks, axis=1)


def _together(graph: Graph, columns: list[str]) -> str:
    return graph.op("Concat", *(graph.column(each) for each in columns), axis=1)


def _bounded(graph: Graph, name: str) -> str:
    """(rows,) The numbers of an input; NaN where one is too large, see `coerce.numbers`."""
    fits = graph.op("LessOrEqual", graph.op("Abs", name), np.float64(LARGEST_NUMBER))
    return graph.op("Add", graph.op("Where", fits, name, np.float64(np.nan)), np.float64(0.0))


def _numbers(graph: Graph, block: State) -> str:
    return _together(graph, [_bounded(graph, name) for name in block["columns"]])


def _times(graph: Graph, block: State) -> str:
    return _together(graph, [part for name in block["columns"] for part in times.parts(graph, name)])


def _places(graph: Graph, block: State) -> str:
    """Codes as numbers; NaN where the label is missing or unknown."""
    found = []
    for place in range(len(block["columns"])):
        count = len(block["labels"][place]["ends"])
        other = float(count) if block["rare"][place] else np.nan
        found.append(_mapped(graph, block, place, np.arange(count, dtype=np.float64), other=other, missing=np.nan))
    return _together(graph, found)


def _one_hot(graph: Graph, block: State) -> str:
    found = []
    for place in range(len(block["columns"])):
        count = len(block["labels"][place]["ends"])
        other = float(count) if block["rare"][place] else -1.0
        missing = float(block["empty"][place])
        own = _mapped(graph, block, place, np.arange(count, dtype=np.float64), other=other, missing=missing)
        width = block["origins"].count(place)
        hit = graph.op("Equal", graph.column(own), np.arange(width, dtype=np.float64)[None, :])
        found.append(graph.cast(hit, TensorProto.DOUBLE))
    return graph.op("Concat", *found, axis=1)


def _target(graph: Graph, block: State) -> str:
    """What each label says of the target, out of a table with a row for every code that there can be."""
    found = []
    for place in range(len(block["columns"])):
        count = len(block["labels"][place]["ends"])
        other = count if block["rare"][place] else UNKNOWN
        table = _table(block, place, [*range(count), other, MISSING])
        at = _mapped(graph, block, place, np.arange(count, dtype=np.float64), other=count, missing=count + 1)
        found.append(graph.op("Gather", table, graph.cast(at, TensorProto.INT64), axis=0))
    return graph.op("Concat", *found, axis=1)


def _table(block: State, place: int, codes: list[int]) -> Floats:
    """(codes, features of the column) What the fitted encoder says of `codes`."""
    rows = np.full((len(codes), len(block["columns"])), UNKNOWN, dtype=np.int64)
    rows[:, place] = codes
    own = [at for at, origin in enumerate(block["origins"]) if origin == place]
    found: Floats = np.asarray(block["encoder"].transform(rows), np.float64)[:, own]
    return found


def _mapped(graph: Graph, block: State, place: int, values: Floats, *, other: float, missing: float) -> str:
    """(rows,) The value of each label of one column; `other` for any that is not known, `missing` where there is none."""
    name, base = block["columns"][place], block["bases"][place]
    words: list[str] = restored(block["labels"][place]).to_pylist()
    if base == "text":
        keys: Any = np.array([*words, ""], dtype=object)
        return graph.mapped(name, keys, np.append(values, missing), other=other)
    given = READ[base](graph, name)
    keys = np.array([*(KEY[base](word) for word in words), np.nan], dtype=np.float64)
    found = graph.mapped(given, keys, np.append(values, missing), other=other)
    return graph.where_nan(given, np.float64(missing), found)


def _truth(graph: Graph, name: str) -> str:
    """(rows,) 1 for what is above 0, else 0, and NaN where there is nothing; see `coerce.labels`."""
    given = _bounded(graph, name)
    above = graph.cast(graph.op("Greater", given, np.float64(0.0)), TensorProto.DOUBLE)
    return graph.where_nan(given, np.float64(np.nan), above)


def _second(word: str) -> float:
    return (dt.datetime.fromisoformat(word).replace(tzinfo=dt.UTC) - EPOCH) // dt.timedelta(seconds=1)


READ: dict[str, Callable[[Graph, str], str]] = {"number": _bounded, "boolean": _truth, "time": times.seconds}
KEY: dict[str, Callable[[str], float]] = {
    "number": float,
    "boolean": lambda word: float(word == "true"),
    "time": _second,
}
"""By what the snapshot holds: how a value, and how the label of one, becomes a number to look up."""
BLOCKS: dict[str, Callable[[Graph, State], str]] = {
    "number": _numbers, "time": _times, "native": _places, "ordinal": _places, "one_hot": _one_hot, "target": _target,
}  # fmt: skip

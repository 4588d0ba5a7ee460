"""A pipeline as bytes of ONNX, the same for the same pipeline, and what it answers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd
from onnx import TensorProto

from app.errors import MachineError
from trainhouse_loader.encoding.encoder import Encoder
from trainhouse_loader.models.ensemble import Ensemble
from trainhouse_loader.reading import coerce
from workers.exporting import columns
from workers.exporting.graph import Graph
from workers.exporting.members import answer
from workers.exporting.unexportable import PREDICTION, PROBABILITIES

Floats = npt.NDArray[np.float64]
FILE = "model.onnx"
MOST_BYTES = 2**31 - 2**20
"""What fits into one file of ONNX."""
FACT = "trainhouse.inputs"


def exported(encoder: Encoder, model: Ensemble, *, classes: Sequence[str]) -> bytes:
    """The pipeline as ONNX: one input for each column, (rows,), and what it predicts.

    Inputs that hold numbers are float64, NaN where there is none; times are float64 microseconds since 1970 in UTC; text
    is a string, empty where there is none. The outputs are `prediction`, (rows,) numbers or names of classes, and for
    classes `probabilities`, (rows, classes) in the order that the metadata says.

    Raises:
        MachineError: `export_too_large`.
    """
    inputs = columns.inputs_of(encoder)
    graph = Graph(inputs)
    found = answer(graph, columns.matrix(graph, encoder), model)
    facts = {FACT: json.dumps(inputs, sort_keys=True), "trainhouse.classes": json.dumps(list(classes))}
    outputs: dict[str, tuple[str, int, int | None]] = {PREDICTION: (found, TensorProto.DOUBLE, None)}
    if classes:
        chosen = graph.op(
            "Gather", np.array(classes, dtype=object), _chosen(graph, found, model.finish.threshold, classes)
        )
        outputs = {PREDICTION: (chosen, TensorProto.STRING, None),
                   PROBABILITIES: (found, TensorProto.DOUBLE, len(classes))}  # fmt: skip
    made: bytes = graph.model(outputs, facts).SerializeToString(deterministic=True)
    if len(made) > MOST_BYTES:
        raise MachineError(
            "The ONNX form of the model is larger than ONNX allows in one file.", code="export_too_large",
            hint="Leave onnx out of registration.exports, or train a smaller model.",
        )  # fmt: skip
    return made


def _chosen(graph: Graph, p: str, threshold: float, classes: Sequence[str]) -> str:
    """(rows,) The place of the class that is predicted; see `trainhouse_loader.answers.chosen_classes`."""
    if len(classes) == 2:
        positive = graph.op("Gather", p, np.array(1), axis=1)
        return graph.cast(graph.op("GreaterOrEqual", positive, np.float64(threshold)), TensorProto.INT64)
    return graph.op("ArgMax", p, axis=1, keepdims=0)


def feeds(frame: pd.DataFrame, inputs: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """(rows,) What a graph with `inputs` takes, out of rows as the encoder takes them."""
    read = {"number": coerce.numbers, "time": coerce.times}
    return {
        name: np.array(coerce.texts(frame[name]), dtype=object) if kind == "text" else read[kind](frame[name])
        for name, kind in inputs.items()
    }


def session(content: bytes | Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """The graph, ready to run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    given = content if isinstance(content, bytes) else str(content)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def answers(content: bytes, frame: pd.DataFrame) -> Floats:
    """What the graph `content` predicts for rows as the encoder takes them: as `Bundle.raw`."""
    opened = session(content)
    inputs = json.loads(opened.get_modelmeta().custom_metadata_map[FACT])
    names = [each.name for each in opened.get_outputs()]
    (found,) = opened.run([names[-1]], feeds(frame, inputs))
    return np.asarray(found, dtype=np.float64)

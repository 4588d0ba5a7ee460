"""An ONNX graph under construction: operators are added one by one, equal constants are kept once."""

import hashlib
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = {"": 21, "ai.onnx.ml": 5}
IR_VERSION = 10
KINDS = {"number": TensorProto.DOUBLE, "time": TensorProto.DOUBLE, "text": TensorProto.STRING}
"""By what an input holds, its type."""
ROWS = "rows"


class Graph:
    """Operators in the order in which they run; every value is known by a name that this class makes."""

    def __init__(self, inputs: dict[str, str]) -> None:
        """Takes `inputs`, what each holds by its name: a key of KINDS; each is (rows,)."""
        self.inputs = inputs
        self._prefix = "·"
        while any(name.startswith(self._prefix) for name in inputs):
            self._prefix += "·"
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._made = 0

    @staticmethod
    def tensor(value: npt.ArrayLike) -> onnx.TensorProto:
        """`value` as ONNX holds it: numbers keep their type, texts become strings."""
        array = np.asarray(value)
        if array.dtype.kind in "OU":
            words = [str(word).encode() for word in array.ravel().tolist()]
            return TensorProto(data_type=TensorProto.STRING, dims=array.shape, string_data=words)
        return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape))

    def constant(self, value: npt.ArrayLike) -> str:
        """The name of a constant."""
        tensor = self.tensor(value)
        name = self._prefix + "c" + hashlib.sha256(tensor.SerializeToString(deterministic=True)).hexdigest()[:24]
        if name not in self._constants:
            tensor.name = name
            self._constants[name] = tensor
        return name

    def op(self, kind: str, *inputs: str | npt.ArrayLike, domain: str = "", **attributes: Any) -> str:
        """The output of a new operator `kind`; what is no name among its inputs becomes a constant."""
        self._made += 1
        name = f"{self._prefix}{self._made}"
        given = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self._nodes.append(helper.make_node(kind, given, [name], domain=domain, **attributes))
        return name

    def mapped(self, values: str, keys: npt.ArrayLike, to: npt.ArrayLike, *, other: float) -> str:
        """(rows,) float64: for each of `values` that is among `keys` what stands at its place in `to`, else `other`."""
        return self.op(
            "LabelEncoder", values, domain="ai.onnx.ml", keys_tensor=self.tensor(keys),
            values_tensor=self.tensor(np.asarray(to, np.float64)),
            default_tensor=self.tensor(np.array([other], np.float64)),
        )  # fmt: skip

    def total(self, parts: Sequence[str]) -> str:
        """The sum of `parts`, added up in order."""
        return reduce(lambda one, other: self.op("Add", one, other), parts)

    def column(self, values: str) -> str:
        """(rows, 1) of (rows,) `values`."""
        return self.op("Unsqueeze", values, np.array([1], np.int64))

    def where_nan(self, tested: str, then: str | npt.ArrayLike, other: str) -> str:
        """`then` where `tested` is NaN, and `other` elsewhere."""
        return self.op("Where", self.op("IsNaN", tested), then, other)

    def cast(self, values: str, kind: int) -> str:
        """`values` as a type of TensorProto."""
        return self.op("Cast", values, to=kind)

    def model(self, outputs: dict[str, tuple[str, int, int | None]], facts: dict[str, str]) -> onnx.ModelProto:
        """The whole model.

        Args:
            outputs: By name, the value, its type, and its second dimension where it has one.
            facts: What its metadata says.

        Raises:
            onnx.checker.ValidationError: the graph is none that ONNX knows.
        """
        results = []
        for name, (value, kind, width) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))
            results.append(helper.make_tensor_value_info(name, kind, [ROWS] if width is None else [ROWS, width]))
        given = [helper.make_tensor_value_info(name, KINDS[kind], [ROWS]) for name, kind in self.inputs.items()]
        constants = [self._constants[name] for name in sorted(self._constants)]
        graph = helper.make_graph(self._nodes, "pipeline", given, results, constants)
        imports = [helper.make_opsetid(domain, version) for domain, version in sorted(OPSETS.items())]
        found = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="trainhouse")
        helper.set_model_props(found, dict(sorted(facts.items())))
        onnx.checker.check_model(found, full_check=True)
        return found

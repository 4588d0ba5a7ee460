"""`MLmodel`: what MLflow needs to open a bundle's folder by `mlflow.pyfunc.load_model`.

It is YAML, of which JSON is a part. The loader is that of the installed package trainhouse-loader: MLflow's own flavours
would want the model a second time, in a file of theirs, and would check nothing.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from typing import Any

from trainhouse_loader.archive import canonical_json
from trainhouse_loader.bundle import EXAMPLE

FILE = "MLmodel"
MLFLOW = "3.17.2"
"""The version whose reading of this file is tested."""
LOADER = "trainhouse_loader.pyfunc"
TIME = "1980-01-01 00:00:00.000000"
"""Equal models are equal bytes, so the file tells no time."""
OUTPUTS = {"numeric": "double", "text": "string"}


def document(metadata: Mapping[str, Any], signature: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the file, for a bundle with `metadata` and `signature`.

    Inputs may be of any type: MLflow refuses whole numbers for a column of floats, and floats for one of whole numbers,
    so that a gap in a column would decide. A bundle reads values itself; `signature.json` says what they are.
    """
    inputs = [{"name": each["name"], "type": "any", "required": True} for each in signature["inputs"]]
    outputs = [{"name": each["name"], "type": OUTPUTS[each["type"]], "required": True} for each in signature["outputs"]]
    sides = {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}
    return {
        "flavors": {"python_function": {"loader_module": LOADER, "python_version": platform.python_version()}},
        "mlflow_version": MLFLOW,
        "model_uuid": hashlib.sha256(canonical_json(metadata)).hexdigest()[:32],
        "saved_input_example_info": {
            "artifact_path": EXAMPLE,
            "pandas_orient": "split",
            "type": "dataframe",
        },
        "signature": {**sides, "params": None},
        "utc_time_created": TIME,
    }

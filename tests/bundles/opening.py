"""What runs in a clean environment: opens bundles there, and writes down what they predict. It knows no Trainhouse.

python -I opening.py slim|mlflow|onnx FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np


def slim(folder):
    import pandas as pd

    from trainhouse_loader import open_bundle

    bundle = open_bundle(folder / "bundle.zip")
    assert len(bundle.predict(bundle.example)) == 3
    return bundle.predict(pd.read_parquet(folder / "rows.parquet"))


def mlflow(folder):
    import pandas as pd
    from mlflow import pyfunc

    model = pyfunc.load_model(str(folder / "unpacked"))
    assert len(model.input_example) == 3
    return model.predict(pd.read_parquet(folder / "rows.parquet"))


def onnx(folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "unpacked" / "model.onnx"), providers=["CPUExecutionProvider"])
    given = json.loads((folder / "rows.json").read_text())
    feeds = {name: np.array(values["values"], dtype=values["kind"]) for name, values in given.items()}
    outputs = [each.name for each in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, feeds), strict=True))


def written(found, path):
    """As JSON, floats digit for digit."""
    if isinstance(found, dict):
        answer = {name: values.tolist() for name, values in found.items()}
    else:
        answer = {name: found[name].tolist() for name in found.columns}
    path.write_text(json.dumps(answer))


if __name__ == "__main__":
    how, folder = sys.argv[1], Path(sys.argv[2])
    for each in sorted(path for path in folder.iterdir() if path.is_dir()):
        written(globals()[how](each), each / f"{how}.json")
    loaded = sorted(
        {name.split(".")[0] for name in sys.modules} & {"app", "workers", "sqlalchemy", "celery", "fastapi", "pydantic"}
    )
    if how == "slim":
        assert not loaded, loaded

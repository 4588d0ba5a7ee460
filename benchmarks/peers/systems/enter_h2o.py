"""H2O AutoML as its documentation calls it, on a server of its own; moving the frame there is part of the fit."""

import socket
import tempfile
import time

import h2o
import numpy as np
import pandas as pd
from entrant import CPUS, Made, Task, enter
from h2o.automl import H2OAutoML

METRICS = {"roc_auc": "AUC", "log_loss": "logloss", "rmse": "RMSE"}
FOLD, FOLDS = "fold__", 5


def start() -> None:
    """Starts the server, with the heap that H2O itself chooses, before any clock runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    h2o.init(
        nthreads=CPUS, port=port, name=f"peer-{port}", bind_to_localhost=True, ice_root=tempfile.mkdtemp(),
        verbose=False,
    )  # fmt: skip
    h2o.no_progress()


def fit(task: Task) -> Made:
    """Cross-validates in five folds, as H2O does; in contiguous blocks where rows are in the order of time."""
    began = time.perf_counter()
    given = task.known
    if task.in_time:
        given = given.assign(**{FOLD: np.arange(len(given)) * FOLDS // len(given)})
    frame = h2o.H2OFrame(given)
    if task.kind != "regression":
        frame[task.target] = frame[task.target].asfactor()
    types = {name: kind for name, kind in frame.types.items() if name in task.test.columns}
    left = max(1, int(task.seconds - (time.perf_counter() - began)))
    automl = H2OAutoML(max_runtime_secs=left, seed=task.seed, sort_metric=METRICS[task.metric])
    folds = {"fold_column": FOLD} if task.in_time else {}
    automl.train(x=list(task.test.columns), y=task.target, training_frame=frame, **folds)

    def predict(rows: pd.DataFrame) -> np.ndarray:
        answer = automl.leader.predict(h2o.H2OFrame(rows, column_types=types)).as_data_frame()
        return answer.iloc[:, 0 if task.kind == "regression" else 1 :].to_numpy()

    labels = () if task.kind == "regression" else tuple(frame[task.target].levels()[0])
    return Made(predict, labels, str(automl.leader.algo))


if __name__ == "__main__":
    start()
    try:
        enter("h2o", fit)
    finally:
        h2o.cluster().shutdown()

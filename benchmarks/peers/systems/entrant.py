"""What every system's script does alike: read the task, time the fit, keep the predictions of the test rows.

    python SCRIPT CONTEST.json --seed 0 --seconds 60 --out FOLDER

It runs in the system's own environment, so it knows nothing of Trainhouse. The clock runs from the fit's call, with the
data in memory as a pandas frame and the system's libraries imported, to the model being ready to predict.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CPUS = 2


@dataclass(frozen=True)
class Task:
    """What a system is given.

    Attributes:
        known: Features and target of the rows that are not test, train before validation; labels are text.
        train_rows: How many of `known` are train.
        test: Features of the test rows.
        classes: Labels in the order that predictions are kept in; empty for regression.
        in_time: Rows are in the order of time.
        seconds: The budget of the fit.
    """

    known: pd.DataFrame
    train_rows: int
    test: pd.DataFrame
    target: str
    kind: str
    metric: str
    classes: tuple[str, ...]
    in_time: bool
    seed: int
    seconds: float

    @property
    def features(self) -> pd.DataFrame:
        """The known rows without their target."""
        return self.known.drop(columns=[self.target])


@dataclass(frozen=True)
class Made:
    """A model that is ready.

    Attributes:
        predict: From a frame of features: (rows,) numbers, or (rows, classes) probabilities in the order of `labels`.
        labels: The model's own order of classes.
        about: What the model is, in a few words.
    """

    predict: Callable[[pd.DataFrame], Any]
    labels: tuple[str, ...]
    about: str


def enter(package: str, fit: Callable[[Task], Made]) -> None:
    """Fits and predicts; puts `predictions.npy` and `told.json` into the folder that was named."""
    task, out = _asked()
    started = time.perf_counter()
    made = fit(task)
    ready = time.perf_counter()
    predicted = np.asarray(made.predict(task.test), dtype=np.float64)
    ended = time.perf_counter()
    np.save(out / "predictions.npy", _in_order(predicted, made.labels, task))
    told = {
        "fit_seconds": round(ready - started, 2), "predict_seconds": round(ended - ready, 2),
        "version": version(package), "about": made.about,
    }  # fmt: skip
    (out / "told.json").write_text(json.dumps(told), encoding="utf-8")


def _in_order(predicted: Any, labels: tuple[str, ...], task: Task) -> Any:
    if task.kind == "regression":
        return predicted.reshape(-1)
    return predicted[:, [labels.index(name) for name in task.classes]]


def _asked() -> tuple[Task, Path]:
    parser = argparse.ArgumentParser()
    parser.add_argument("contest", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    told = json.loads(given.contest.read_text(encoding="utf-8"))
    frame, target = pd.read_parquet(given.contest.parent / told["path"]), told["target"]
    if told["task"] != "regression":
        frame[target] = frame[target].astype(str)
    part = frame.pop("part")
    known = pd.concat([frame[part == "train"], frame[part == "validation"]], ignore_index=True)
    test = frame[part == "test"].drop(columns=[target]).reset_index(drop=True)
    task = Task(
        known=known, train_rows=int((part == "train").sum()), test=test, target=target, kind=told["task"],
        metric=told["metric"], classes=tuple(told["classes"]), in_time=told["in_time"], seed=given.seed,
        seconds=given.seconds,
    )  # fmt: skip
    return task, given.out

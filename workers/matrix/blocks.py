"""Kinds of encoding: each learns a small state from training rows, and turns columns into numbers with it."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import TargetEncoder

from trainhouse_loader.encoding.blocks import DAY_PARTS, State, codes
from trainhouse_loader.encoding.labels import restored
from workers.matrix import labels, saying, texts

Floats = npt.NDArray[np.float64]

FOLDS = 5
MOST_TARGET_CLASSES = 10
"""Classes for which what is learned of the target, one feature for each, is still small."""


@dataclass(frozen=True)
class Lesson:
    """What a block may learn from.

    Attributes:
        frame: (rows, …) the training rows.
        y: (rows,) class index or number.
        bases: by column, what the snapshot holds: `number`, `boolean`, `time` or `text`.
        classes: number of classes; 0 for a number to predict.
        seed: of every random choice.
    """

    frame: pd.DataFrame
    y: Floats
    bases: Mapping[str, str]
    classes: int
    seed: int


def _fit_numbers(columns: list[str], _options: Mapping[str, Any], _lesson: Lesson) -> State:
    return {"names": columns, "origins": _each(columns, 1)}


def _each(columns: list[str], names: int) -> list[int]:
    """For `names` features of each column, the place of the column."""
    return [place for place in range(len(columns)) for _ in range(names)]


def _fit_times(columns: list[str], _options: Mapping[str, Any], _lesson: Lesson) -> State:
    names = [f"{name}.{part}" for name in columns for part in DAY_PARTS]
    return {"names": names, "origins": _each(columns, len(DAY_PARTS))}


def _fit_categories(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    """The frequent labels of each column, sorted; codes are places in that list, and one more for the others."""
    found = [
        labels.counted(
            lesson.frame[name], lesson.bases[name], min_frequency=options["min_frequency"], most=options.get("most")
        )
        for name in columns
    ]
    return {
        "names": columns, "origins": _each(columns, 1), "labels": [labels.stored(one.labels) for one in found],
        "bases": [lesson.bases[name] for name in columns], "rare": [one.rare > 0 for one in found],
        "missing": [one.missing for one in found],
    }  # fmt: skip


def _fit_one_hot(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    """One feature for each frequent label, one for the others where there are any, one for missing ones if frequent."""
    state = _fit_categories(columns, {**options, "most": options["max_categories"]}, lesson)
    least = min(options["min_frequency"], max(1, len(lesson.frame) // labels.LEAST_SHARE))
    names, origins, empty = [], [], []
    for place, name in enumerate(columns):
        own = [f"{name}={label}" for label in restored(state["labels"][place]).to_pylist()]
        apart = state["missing"][place] >= least
        shared = state["rare"][place] or 0 < state["missing"][place] < least
        state["rare"][place] = bool(shared)
        own += [f"{name}=(infrequent)"] * shared + [f"{name}=(missing)"] * apart
        empty.append(len(own) - 1 if apart else len(own) - 1 if shared else -1)
        names += own
        origins += [place] * len(own)
    return {**state, "names": names, "origins": origins, "empty": empty}


def _fit_target(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    state = _fit_categories(columns, options, lesson)
    seen = np.unique(lesson.y, return_counts=True)[1] if lesson.classes else np.empty(0, dtype=np.int64)
    kind = "continuous" if not lesson.classes else "binary" if len(seen) <= 2 else "multiclass"
    y = lesson.y if kind == "continuous" else lesson.y.astype(np.int64)
    found = codes(lesson.frame, {**state, "columns": columns})
    encoder = TargetEncoder(target_type=kind, cv=_divider(len(y), seen, lesson.seed))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # classes with fewer rows than folds
        crossed = encoder.fit_transform(found, y)
    encoder.set_params(cv=FOLDS)  # only fitting needs folds; they are no part of the state
    names = [f"{name}.target" for name in columns]
    if kind == "multiclass":
        names = [f"{name}.target_{index}" for name in columns for index in encoder.classes_]
    origins = _each(columns, len(names) // len(columns))
    return {**state, "names": names, "origins": origins, "encoder": encoder, "crossed": crossed}


def _divider(rows: int, seen: npt.NDArray[np.int64], seed: int) -> KFold | StratifiedKFold:
    """How rows are divided into folds: by class where one has rows enough; `seen` holds the rows of each class."""
    most = int(seen.max(initial=0))
    if most < 2:
        return KFold(max(2, min(FOLDS, rows)), shuffle=True, random_state=seed)
    return StratifiedKFold(min(FOLDS, most), shuffle=True, random_state=seed)


def _fit_embedding(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    (name,) = columns
    base = "text" if options["text"] else lesson.bases[name]
    scored = options["scores"] and lesson.classes <= MOST_TARGET_CLASSES
    most = texts.MAX_DRAWN_TEXTS if scored else texts.MAX_LEARNED_TEXTS
    drawn = texts.draw(lesson.frame[name], base, most=most, seed=lesson.seed)
    learned = texts.learn(drawn, dimensions=options["dimensions"], seed=lesson.seed)
    names = [f"{name}[{index}]" for index in range(learned["components"].shape[1])]
    state: State = {"base": base, "learned": learned}
    if scored:
        state["says"], state["crossed"] = saying.learn(drawn, lesson.y, classes=lesson.classes, seed=lesson.seed)
        size = state["crossed"].shape[1]
        names += [f"{name}.says_{index}" for index in range(size)] if size > 1 else [f"{name}.says"]
    return {**state, "names": names, "origins": [0] * len(names)}


Fit = Callable[[list[str], Mapping[str, Any], Lesson], State]

BLOCKS: dict[str, Fit] = {
    "number": _fit_numbers, "time": _fit_times, "native": _fit_categories, "ordinal": _fit_categories,
    "one_hot": _fit_one_hot, "target": _fit_target, "embedding": _fit_embedding,
}  # fmt: skip
"""By kind of block, what learns its state; what it does with that is in `trainhouse_loader.encoding.blocks`."""

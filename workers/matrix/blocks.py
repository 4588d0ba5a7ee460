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

from workers.matrix import labels, saying, texts
from workers.matrix.labels import MISSING
from workers.table import coerce

Floats = npt.NDArray[np.float64]
State = dict[str, Any]

DAY_PARTS = ("year", "month", "day", "weekday", "hour", "epoch_seconds")
ROWS_AT_A_TIME = 4_096
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


def _numbers(frame: pd.DataFrame, block: State, out: Floats) -> None:
    _fill(out, [coerce.numbers(frame[name]) for name in block["columns"]])


def _fill(out: Floats, columns: list[Floats]) -> None:
    """Writes columns into rows; a few rows at a time, because whole columns would miss the cache at every value."""
    for start in range(0, len(out), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        for index, column in enumerate(columns):
            out[rows, index] = column[rows]


def _fit_times(columns: list[str], _options: Mapping[str, Any], _lesson: Lesson) -> State:
    names = [f"{name}.{part}" for name in columns for part in DAY_PARTS]
    return {"names": names, "origins": _each(columns, len(DAY_PARTS))}


def _times(frame: pd.DataFrame, block: State, out: Floats) -> None:
    _fill(out, [part for name in block["columns"] for part in _parts(coerce.times(frame[name]))])


def _parts(micros: Floats) -> list[Floats]:
    """Year, month, day, weekday (Monday 0), hour and seconds since 1970; NaN where there is no time."""
    known = ~np.isnan(micros)
    stamps = pd.DatetimeIndex(np.where(known, micros, 0).astype(np.int64).astype("datetime64[us]"))
    parts = [stamps.year, stamps.month, stamps.day, stamps.day_of_week, stamps.hour]
    return [*(np.where(known, np.asarray(part, np.float64), np.nan) for part in parts), micros / 1e6]


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


def _codes(frame: pd.DataFrame, block: State) -> npt.NDArray[np.int64]:
    """(rows, columns) Place of each label, that of rare ones, MISSING, or UNKNOWN."""
    learned = zip(block["columns"], block["labels"], block["bases"], block["rare"], strict=True)
    found = [labels.codes(frame[name], base, labels.restored(known), rare=rare) for name, known, base, rare in learned]
    return np.column_stack(found)


def _places(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """Codes as numbers; NaN where the label is missing or unknown."""
    learned = zip(block["columns"], block["labels"], block["bases"], block["rare"], strict=True)
    columns = []
    for name, known, base, rare in learned:
        codes = labels.codes(frame[name], base, labels.restored(known), rare=rare)
        column = codes.astype(np.float64)
        column[codes < 0] = np.nan
        columns.append(column)
    _fill(out, columns)


def _fit_one_hot(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    """One feature for each frequent label, one for the others where there are any, one for missing ones if frequent."""
    state = _fit_categories(columns, {**options, "most": options["max_categories"]}, lesson)
    least = min(options["min_frequency"], max(1, len(lesson.frame) // labels.LEAST_SHARE))
    names, origins, empty = [], [], []
    for place, name in enumerate(columns):
        own = [f"{name}={label}" for label in labels.restored(state["labels"][place]).to_pylist()]
        apart = state["missing"][place] >= least
        shared = state["rare"][place] or 0 < state["missing"][place] < least
        state["rare"][place] = bool(shared)
        own += [f"{name}=(infrequent)"] * shared + [f"{name}=(missing)"] * apart
        empty.append(len(own) - 1 if apart else len(own) - 1 if shared else -1)
        names += own
        origins += [place] * len(own)
    return {**state, "names": names, "origins": origins, "empty": empty}


def _one_hot(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """A one for the label; for what is neither known nor has a feature for the others, no one at all."""
    out[:] = 0.0
    codes, start = _codes(frame, block), 0
    for place, empty in enumerate(block["empty"]):
        own = np.where(codes[:, place] == MISSING, empty, codes[:, place])
        rows = np.flatnonzero(own >= 0)
        out[rows, start + own[rows]] = 1.0
        start += block["origins"].count(place)


def _fit_target(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    state = _fit_categories(columns, options, lesson)
    kind = {0: "continuous", 2: "binary"}.get(lesson.classes, "multiclass")
    y = lesson.y if kind == "continuous" else lesson.y.astype(np.int64)
    codes = _codes(lesson.frame, {**state, "columns": columns})
    folds = (KFold if kind == "continuous" else StratifiedKFold)(FOLDS, shuffle=True, random_state=lesson.seed)
    encoder = TargetEncoder(target_type=kind, cv=folds)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # classes with fewer rows than folds
        crossed = encoder.fit_transform(codes, y)
    encoder.set_params(cv=FOLDS)  # only fitting needs folds; they are no part of the state
    names = [f"{name}.target" for name in columns]
    if kind == "multiclass":
        names = [f"{name}.target_{index}" for name in columns for index in encoder.classes_]
    origins = _each(columns, len(names) // len(columns))
    return {**state, "names": names, "origins": origins, "encoder": encoder, "crossed": crossed}


def _target(frame: pd.DataFrame, block: State, out: Floats) -> None:
    out[:] = block["encoder"].transform(_codes(frame, block))


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


def _embedding(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """The directions of a text, and what it says of the target where that was learned."""

    def numbers(counts: Any) -> Floats:
        found = texts.directions(counts, block["learned"])
        return np.hstack([found, saying.scores(counts, block["says"])]) if "says" in block else found

    by_words = block["learned"]["by_words"]
    texts.embed(frame[block["columns"][0]], block["base"], numbers, out, by_words=by_words)


Fit = Callable[[list[str], Mapping[str, Any], Lesson], State]
Apply = Callable[[pd.DataFrame, State, Floats], None]

BLOCKS: dict[str, tuple[Fit, Apply]] = {
    "number": (_fit_numbers, _numbers), "time": (_fit_times, _times), "native": (_fit_categories, _places),
    "ordinal": (_fit_categories, _places), "one_hot": (_fit_one_hot, _one_hot), "target": (_fit_target, _target),
    "embedding": (_fit_embedding, _embedding),
}  # fmt: skip

"""Kinds of encoding: each learns a small state from training rows, and turns columns into numbers with it."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

from workers import coerce

Floats = npt.NDArray[np.float64]
State = dict[str, Any]

MISSING, UNKNOWN = -1, -2
DAY_PARTS = ("year", "month", "day", "weekday", "hour", "epoch_seconds")
HASH_FEATURES = 2**15
MAX_LEARNED_TEXTS = 10_000
ROWS_AT_A_TIME = 4_096
SENTENCE_WORDS = 6.0


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
    return {"names": columns}


def _numbers(frame: pd.DataFrame, block: State, out: Floats) -> None:
    _fill(out, [coerce.numbers(frame[name]) for name in block["columns"]])


def _fill(out: Floats, columns: list[Floats]) -> None:
    """Writes columns into rows; a few rows at a time, because whole columns would miss the cache at every value."""
    for start in range(0, len(out), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        for index, column in enumerate(columns):
            out[rows, index] = column[rows]


def _fit_times(columns: list[str], _options: Mapping[str, Any], _lesson: Lesson) -> State:
    return {"names": [f"{name}.{part}" for name in columns for part in DAY_PARTS]}


def _times(frame: pd.DataFrame, block: State, out: Floats) -> None:
    _fill(out, [part for name in block["columns"] for part in _parts(coerce.times(frame[name]))])


def _parts(micros: Floats) -> list[Floats]:
    """Year, month, day, weekday (Monday 0), hour and seconds since 1970; NaN where there is no time."""
    known = ~np.isnan(micros)
    stamps = pd.DatetimeIndex(np.where(known, micros, 0).astype(np.int64).astype("datetime64[us]"))
    parts = [stamps.year, stamps.month, stamps.day, stamps.day_of_week, stamps.hour]
    return [*(np.where(known, np.asarray(part, np.float64), np.nan) for part in parts), micros / 1e6]


def _fit_categories(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    """The labels of each column that stand in at least `min_frequency` rows, sorted; codes are places in that list."""
    kept = []
    for name in columns:
        counted = coerce.labels(lesson.frame[name], lesson.bases[name]).value_counts()
        frequent = counted[counted >= options["min_frequency"]] if options["min_frequency"] > 1 else counted
        kept.append(np.array(sorted(str(label) for label in frequent.index), dtype=np.str_))
    return {"names": columns, "labels": kept, "bases": [lesson.bases[name] for name in columns]}


def _codes(frame: pd.DataFrame, block: State) -> npt.NDArray[np.int64]:
    """(rows, columns) Place of each label, or MISSING, or UNKNOWN."""
    columns = []
    for name, known, base in zip(block["columns"], block["labels"], block["bases"], strict=True):
        labels = coerce.labels(frame[name], base)
        codes = pd.Index(known, dtype="str").get_indexer(pd.Index(labels))
        codes = np.where(codes >= 0, codes, UNKNOWN)
        columns.append(np.where(labels.isna().to_numpy(), MISSING, codes))
    return np.column_stack(columns).astype(np.int64)


def _places(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """Codes as numbers; NaN where the label is missing or unknown."""
    codes = _codes(frame, block)
    out[:] = np.where(codes >= 0, codes, np.nan)


def _fit_one_hot(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    state = _fit_categories(columns, {"min_frequency": 1}, lesson)
    rows = len(lesson.frame)
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", sparse_output=False, dtype=np.float64,
        min_frequency=min(options["min_frequency"], max(1, rows // 20)), max_categories=options["max_categories"],
    ).fit(_codes(lesson.frame, {**state, "columns": columns}))  # fmt: skip
    names = []
    for name, labels, held, rare in zip(
        columns, state["labels"], encoder.categories_, encoder.infrequent_categories_, strict=True
    ):
        gone = set() if rare is None else set(rare.tolist())
        names += [f"{name}={_shown(labels, code)}" for code in held.tolist() if code not in gone]
        names += [f"{name}=(infrequent)"] if gone else []
    return {**state, "names": names, "encoder": encoder}


def _shown(labels: npt.NDArray[np.str_], code: int) -> str:
    return "(missing)" if code == MISSING else str(labels[code])


def _one_hot(frame: pd.DataFrame, block: State, out: Floats) -> None:
    out[:] = block["encoder"].transform(_codes(frame, block))


def _fit_target(columns: list[str], _options: Mapping[str, Any], lesson: Lesson) -> State:
    state = _fit_categories(columns, {"min_frequency": 1}, lesson)
    kind = {0: "continuous", 2: "binary"}.get(lesson.classes, "multiclass")
    y = lesson.y if kind == "continuous" else lesson.y.astype(np.int64)
    codes = _codes(lesson.frame, {**state, "columns": columns})
    folds = (KFold if kind == "continuous" else StratifiedKFold)(5, shuffle=True, random_state=lesson.seed)
    encoder = TargetEncoder(target_type=kind, cv=folds)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # classes with fewer rows than folds
        crossed = encoder.fit_transform(codes, y)
    encoder.set_params(cv=5)  # only fitting needs folds; they are no part of the state
    names = [f"{name}.target" for name in columns]
    if kind == "multiclass":
        names = [f"{name}.target_{index}" for name in columns for index in encoder.classes_]
    return {**state, "names": names, "encoder": encoder, "crossed": crossed}


def _target(frame: pd.DataFrame, block: State, out: Floats) -> None:
    out[:] = block["encoder"].transform(_codes(frame, block))


def _fit_embedding(columns: list[str], options: Mapping[str, Any], lesson: Lesson) -> State:
    """Hashed n-grams, weighed by rarity and reduced to a few directions; of words in sentences, else of characters."""
    (name,) = columns
    state: State = {"columns": columns, "base": "text" if options["text"] else lesson.bases[name]}
    distinct = np.asarray(pd.unique(coerce.labels(lesson.frame[name], state["base"]).dropna()), dtype=object)
    if len(distinct) > MAX_LEARNED_TEXTS:
        distinct = np.random.default_rng(lesson.seed).choice(distinct, MAX_LEARNED_TEXTS, replace=False)
    written = [str(text) for text in distinct] or [""]
    words = np.mean([text.count(" ") + 1 for text in written])
    state["analyzer"] = "word" if words >= SENTENCE_WORDS else "char_wb"
    hashed = _hashed(written, state["analyzer"])
    idf = TfidfTransformer(sublinear_tf=True).fit(hashed)
    size = max(1, min(options["dimensions"], len(written) - 1))
    with np.errstate(invalid="ignore"):  # texts without a single n-gram have no variance to explain
        svd = TruncatedSVD(size, random_state=lesson.seed, n_iter=3).fit(idf.transform(hashed))
    return {**state, "names": [f"{name}[{index}]" for index in range(size)], "idf": idf, "svd": svd}


def _hashed(written: list[str], analyzer: str) -> Any:
    """(texts, HASH_FEATURES) sparse counts of n-grams."""
    spans = (1, 2) if analyzer == "word" else (3, 4)
    return HashingVectorizer(
        analyzer=analyzer,
        ngram_range=spans,
        n_features=HASH_FEATURES,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    ).transform(written)


def _embedding(frame: pd.DataFrame, block: State, out: Floats) -> None:
    """Every distinct text is embedded once; a missing text is the empty one."""
    labels = coerce.labels(frame[block["columns"][0]], block["base"]).fillna("")
    codes, distinct = pd.factorize(labels)
    hashed = _hashed([str(text) for text in distinct], block["analyzer"])
    out[:] = block["svd"].transform(block["idf"].transform(hashed))[codes]


Fit = Callable[[list[str], Mapping[str, Any], Lesson], State]
Apply = Callable[[pd.DataFrame, State, Floats], None]

BLOCKS: dict[str, tuple[Fit, Apply]] = {
    "number": (_fit_numbers, _numbers), "time": (_fit_times, _times), "native": (_fit_categories, _places),
    "ordinal": (_fit_categories, _places), "one_hot": (_fit_one_hot, _one_hot), "target": (_fit_target, _target),
    "embedding": (_fit_embedding, _embedding),
}  # fmt: skip

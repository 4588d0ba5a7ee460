"""What texts say of the target: linear scores of their n-grams, learned across folds so that no text scores itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, Ridge

from trainhouse_loader.encoding.saying import Model, scored
from trainhouse_loader.encoding.texts import HASH_FEATURES, known, weighed
from workers.matrix.texts import Drawn

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

FOLDS = 5
STRENGTHS = (0.25, 2.0)
"""The inverse of the penalty on large coefficients; the first fold decides."""
LEAST_TEXTS_WITH = 2
"""An n-gram that stands in fewer texts says nothing of others."""
LEAST_TEXTS = 20
"""Of a class, and of all others together: with fewer, what a fold lacks would tell which texts are in it."""
LAYERS = 10
TOLERANCE = 1e-2
TINY = 1e-12
"""Numbers that vary by less, for their size, are taken for equal."""
MOST_REPEATS = 5
"""Rows of a text on average: with more, texts are names rather than sayings. A name's own rows, which no fold shows, tell
more than its words, and trees would know the name by its score; that was worse wherever words told nothing."""
MOST_GRAMS = 4_000_000
"""Of all texts that are learned from, which bounds memory and time where texts are long."""


@dataclass(frozen=True)
class Lines:
    """What the models learn from: one line for each answer that a text was seen with.

    Attributes:
        x: (lines, n-grams) sparse.
        y: (lines,) Class, or standardised number.
        weight: (lines,) The share of the text's rows that had this answer.
        fold: (lines,) The same for all lines of a text.
        told: For each score the class that it tells from the others, or None where there are too few texts for it;
            nothing for a number to predict.
    """

    x: Any
    y: Floats
    weight: Floats
    fold: Places
    told: tuple[int | None, ...]


def learn(drawn: Drawn, y: Floats, *, classes: int, seed: int) -> tuple[dict[str, Any], Floats]:
    """(what `scores` needs, (rows, scores) by models that have not seen the row's text; NaN where none has seen it)."""
    held = np.bincount(drawn.counts.indices, minlength=HASH_FEATURES)
    used = np.flatnonzero(held >= LEAST_TEXTS_WITH).astype(np.int32)
    idf = (np.log((1.0 + drawn.counts.shape[0]) / (1.0 + held[used])) + 1.0).astype(np.float32)
    x = weighed(known(drawn.counts, used), idf)
    rng = np.random.default_rng(seed)
    told = _told(np.diff(x.indptr), drawn.rows, rng)
    place, answer, weight = _answers(drawn.rows[told], y[told], classes)
    fold = np.full(x.shape[0], -1)
    fold[np.unique(place)] = _folds(place, answer, weight, classes, rng)
    lines = Lines(x[place], answer, weight, fold[place], _classes(answer, classes))
    strength = _strength(lines)
    coefficients, intercepts = _fitted(lines, None, strength)
    crossed = np.full((x.shape[0] + 1, len(intercepts)), np.nan)
    for one in np.unique(lines.fold):
        away = np.flatnonzero(fold == one)
        crossed[away] = scored(x[away], _fitted(lines, one, strength))
    return {"used": used, "idf": idf, "coefficients": coefficients, "intercepts": intercepts}, crossed[drawn.rows]


def _told(grams: Places, rows: Places, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(rows,) Those that something is learned from: their text has an n-gram, and is among the first of a draw."""
    order = rng.permutation(len(grams))
    first = np.zeros(len(grams) + 1, dtype=np.bool_)  # the last is the place of rows without a text
    first[order] = np.cumsum(grams[order]) <= MOST_GRAMS
    first[:-1] &= grams > 0
    told: npt.NDArray[np.bool_] = first[rows]
    return told & (told.sum() <= MOST_REPEATS * first.sum())


def _answers(rows: Places, y: Floats, classes: int) -> tuple[Places, Floats, Floats]:
    """(text, answer, weight) of each line: the classes that a text was seen with, or the mean of its numbers."""
    if classes:
        pairs, count = np.unique(rows * classes + y.astype(np.int64), return_counts=True)
        place, answer = pairs // classes, (pairs % classes).astype(np.float64)
        return place, answer, count / np.bincount(rows)[place]
    place, where, count = np.unique(rows, return_inverse=True, return_counts=True)
    with np.errstate(over="ignore", invalid="ignore"):
        answer = np.bincount(where, y - np.mean(y)) / count if len(y) else y
        spread = np.std(answer) if len(y) else 0.0
    if len(place) < 2 * LEAST_TEXTS or not TINY * np.abs(y).max() < spread < np.inf:
        return place, np.zeros(len(place)), np.ones(len(place))
    return place, (answer - answer.mean()) / spread, np.ones(len(place))


def _folds(place: Places, answer: Floats, weight: Floats, classes: int, rng: np.random.Generator) -> Places:
    """(texts with lines,) Their folds, each of which gets its part of every class, or of every layer of numbers."""
    order = np.lexsort((weight, place))
    main = answer[order[np.flatnonzero(np.diff(place[order], append=-1))]]
    rank = np.argsort(np.argsort(main, kind="stable"), kind="stable")
    layer = main if classes else rank * LAYERS // max(1, len(main))
    fold = np.empty(len(main), dtype=np.int64)
    fold[np.lexsort((rng.random(len(main)), layer))] = np.arange(len(main)) % FOLDS
    return fold


def _classes(answer: Floats, classes: int) -> tuple[int | None, ...]:
    def enough(one: int) -> bool:
        return bool(LEAST_TEXTS <= np.sum(answer == one) <= len(answer) - LEAST_TEXTS)

    every = range(classes) if classes > 2 else [1] if classes else []
    return tuple(one if enough(one) else None for one in every)


def _strength(lines: Lines) -> float:
    """The one of `STRENGTHS` whose models of the other folds predict the first fold best."""
    away = lines.fold == 0
    return min(STRENGTHS, key=lambda one: _loss(lines, away, scored(lines.x[away], _fitted(lines, 0, one))))


def _loss(lines: Lines, rows: npt.NDArray[np.bool_], found: Floats) -> float:
    if not lines.told:
        return float(np.sum((found[:, 0] - lines.y[rows]) ** 2))
    signs = np.column_stack([np.where(lines.y[rows] == one, 1.0, -1.0) for one in lines.told])
    return float(lines.weight[rows] @ np.logaddexp(0.0, -signs * found).sum(axis=1))


def _fitted(lines: Lines, fold: int | None, strength: float) -> Model:
    """A model of all lines, or of those that are not in `fold`."""
    rows = np.flatnonzero(lines.fold != fold) if fold is not None else np.arange(len(lines.y))
    x, y, weight = _narrow(lines.x[rows]), lines.y[rows], lines.weight[rows]
    size = max(1, len(lines.told))
    coefficients, intercepts = np.zeros((x.shape[1], size), np.float32), np.zeros(size, np.float32)
    if not x.shape[1]:
        return coefficients, intercepts
    for place, one in enumerate(lines.told or (0,)):
        own = (y == one) if lines.told else y
        if one is None or not len(own) or own.min() == own.max():
            continue
        model: Any = (
            LogisticRegression(C=strength, solver="liblinear", tol=TOLERANCE)
            if lines.told
            else Ridge(alpha=1.0 / strength, solver="sparse_cg", tol=TOLERANCE)
        )
        model.fit(x, own, sample_weight=weight)
        coefficients[:, place], intercepts[place] = np.ravel(model.coef_), np.ravel(model.intercept_)[0]
    return coefficients, intercepts


def _narrow(x: Any) -> Any:
    """`x` with the indices of 32 bits that solvers take; there are never more than `MOST_GRAMS`."""
    x.indices, x.indptr = x.indices.astype(np.int32), x.indptr.astype(np.int32)
    return x

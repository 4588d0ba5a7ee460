"""How well one feature alone predicts the target: a leak betrays itself by being too good."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]

MAX_ROWS = 10_000
BINS = 128
MAX_CLASSES = 5


def sampled(rows: int, seed: int) -> npt.NDArray[np.int64]:
    """At most 10,000 of `rows` positions, by chance, ascending: leaks are looked for in these."""
    if rows <= MAX_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, MAX_ROWS, replace=False))


def scores(table: pa.Table, types: Mapping[str, str], y: Floats, *, classes: int, seed: int) -> dict[str, float]:
    """For each feature but free text, its single-feature score: AUC for `classes` >= 2, R² for numbers (`classes` 0).

    Cell means are learned on one half of the rows and scored on the other. `y` is (rows,) class indices or numbers,
    without NaN.
    """
    half = np.random.default_rng(seed).permutation(len(y)) % 2 == 0
    found = {}
    for name, kind in types.items():
        if kind == "text":
            continue
        cells = _cells(table.column(name), kind)
        found[name] = _class_score(cells, y, half, classes) if classes else _number_score(cells, y, half)
    return found


def _cells(column: pa.ChunkedArray, kind: str) -> npt.NDArray[np.int64]:
    """(rows,) The cell of each value: a category, or a quantile bin; missing values have a cell of their own."""
    if kind in {"categorical", "boolean"} or column.type == pa.large_string():
        codes = column.combine_chunks().dictionary_encode().indices
        return np.asarray(pc.fill_null(codes, -1).to_numpy(zero_copy_only=False), dtype=np.int64) + 1
    values = column.cast(pa.int64()) if column.type == pa.timestamp("us") else column
    numbers = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    known = numbers[np.isfinite(numbers)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1), method="nearest")) if known.size else np.empty(0)
    return np.where(np.isnan(numbers), 0, np.searchsorted(edges, numbers, side="right") + 1)


def _out_of_half(cells: npt.NDArray[np.int64], target: Floats, half: npt.NDArray[np.bool_]) -> Floats:
    """(rows,) The mean target of a row's cell, learned from the half that the row is not in."""
    guess = np.empty_like(target)
    for learned, judged in ((half, ~half), (~half, half)):
        prior = target[learned].mean() if learned.any() else 0.0
        counts = np.bincount(cells[learned], minlength=int(cells.max()) + 1)
        sums = np.bincount(cells[learned], weights=target[learned], minlength=len(counts))
        guess[judged] = ((sums + prior) / (counts + 1.0))[cells[judged]]
    return guess


def _class_score(cells: npt.NDArray[np.int64], target: Floats, half: npt.NDArray[np.bool_], classes: int) -> float:
    """The mean AUC of one class against the rest, over the most frequent classes."""
    counts = np.bincount(target.astype(np.int64), minlength=classes)
    chosen = [1] if classes == 2 else np.argsort(-counts)[:MAX_CLASSES]
    found = [auc(_out_of_half(cells, is_class, half), is_class) for index in chosen
             if 0 < (is_class := (target == index).astype(np.float64)).sum() < len(target)]  # fmt: skip
    return float(np.mean(found)) if found else 0.5


def auc(score: Floats, positive: Floats) -> float:
    """Area under the ROC curve of `score` for 0/1 `positive`, ties counted half; each half has its own prior."""
    ranks = rankdata(score)
    hits = positive.sum()
    return float((ranks[positive > 0].sum() - hits * (hits + 1) / 2) / (hits * (len(score) - hits)))


def _number_score(cells: npt.NDArray[np.int64], target: Floats, half: npt.NDArray[np.bool_]) -> float:
    """R² of the cell means, or of a monotone relation; of ranks, so that a long tail hides nothing."""
    ranks = rankdata(target)
    spread = ((ranks - ranks.mean()) ** 2).sum()
    if spread == 0 or cells.min() == cells.max():
        return 0.0
    error = ((ranks - _out_of_half(cells, ranks, half)) ** 2).sum()
    monotone = np.corrcoef(rankdata(cells), ranks)[0, 1] ** 2
    return float(max(monotone, 1.0 - error / spread))

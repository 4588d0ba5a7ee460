"""How well one feature alone predicts the target: a leak betrays itself by being too good."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import rankdata

from app.errors import bounded

Floats = npt.NDArray[np.float64]

MAX_ROWS = 10_000
LEAST_ROWS = 2_000
CELLS_LOOKED_AT = 20_000_000
BINS = 128
MAX_CLASSES = 5


@dataclass(frozen=True)
class Leak:
    """Features that give the target away, and how one can tell.

    Attributes:
        columns: The features, the one to look at first in front.
        certain: Whether the evidence leaves no other reading; else a person has to judge.
        kind: copy, relation, score, missingness, dominance, pair, accomplice, recorded_together.
        message: The evidence in words.
        score: What was measured: AUC, R², or a share.
    """

    columns: tuple[str, ...]
    certain: bool
    kind: str
    message: str
    score: float


@dataclass(frozen=True)
class Sample:
    """The rows in which leaks are looked for.

    Attributes:
        table: The features, each as it is read.
        types: The type of each feature.
        y: (rows,) Class indices or numbers, without NaN.
        classes: How many classes there are; 0 for numbers.
        seed: Of the halves that scores are learned and judged on.
    """

    table: pa.Table
    types: Mapping[str, str]
    y: Floats
    classes: int
    seed: int

    @property
    def metric(self) -> str:
        """The name of the score."""
        return "AUC" if self.classes else "R²"

    @cached_property
    def half(self) -> npt.NDArray[np.bool_]:
        """(rows,) One half at random."""
        return np.random.default_rng(self.seed).permutation(len(self.y)) % 2 == 0

    def score(self, cells: npt.NDArray[np.int64]) -> float:
        """How well (rows,) cells predict the target: AUC for classes, R² of ranks for numbers."""
        if self.classes:
            return _class_score(cells, self.y, self.half, self.classes)
        return _number_score(cells, self.y, self.half)

    def excess(self, score: float) -> float:
        """A score as a share of the way from knowing nothing (0) to knowing all (1)."""
        return 2 * score - 1 if self.classes else score

    @cached_property
    def numbers(self) -> dict[str, Floats]:
        """(rows,) by numeric feature; NaN where it is missing."""
        return {name: np.asarray(self.table.column(name).cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
                for name, kind in self.types.items()
                if kind == "numeric" and self.table.column(name).type in (pa.int64(), pa.float64())}  # fmt: skip


def sampled(rows: int, features: int, seed: int) -> npt.NDArray[np.int64]:
    """At most 10,000 of `rows` positions, fewer where there are thousands of features, by chance, ascending."""
    most = max(LEAST_ROWS, min(MAX_ROWS, CELLS_LOOKED_AT // max(1, features)))
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def scores(sample: Sample) -> dict[str, float]:
    """For each feature but free text, how well it alone predicts the target.

    Cell means are learned on one half of the rows and scored on the other.
    """
    return {name: sample.score(cells_of(sample.table.column(name), kind))
            for name, kind in sample.types.items() if kind != "text"}  # fmt: skip


def too_good(sample: Sample, found: Mapping[str, float], threshold: float) -> list[Leak]:
    """The features whose score alone is above `threshold`."""
    return [Leak((name,), certain=True, kind="score", score=score,
                 message=f"Column {bounded(name)!r} alone predicts the target with {sample.metric} {score:.3f}.")
            for name, score in found.items() if score > threshold]  # fmt: skip


def cells_of(column: pa.ChunkedArray, kind: str) -> npt.NDArray[np.int64]:
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

"""Exact relations: features that are the target in other words, and columns that say the same thing twice."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.errors import bounded
from workers.quality.leakage import Leak, Sample

Floats = npt.NDArray[np.float64]

LEAST_ROWS = 50
ROWS_PER_COLUMN = 5
MAX_COLUMNS = 60
MAX_TERMS = 4
EXACT = 1e-6
"""Of the spread of the target: what a relation may miss and still count as exact."""
FEW_VALUES = 1_000


def copies(sample: Sample) -> list[Leak]:
    """Features that are the target: equal, relabelled, on another scale, or equal after rounding."""
    found = []
    for name, kind in sample.types.items():
        how = _number_copy(sample, name) if not sample.classes else _class_copy(sample, name, kind)
        if how is not None:
            found.append(
                Leak(
                    (name,),
                    certain=True,
                    kind="copy",
                    score=1.0,
                    message=f"Column {bounded(name)!r} is the target {how}.",
                )
            )
    return found


def _class_copy(sample: Sample, name: str, kind: str) -> str | None:
    """How a feature copies a target of classes: one value of its own for each class."""
    if kind == "text":
        return None
    cells = _codes(sample.table.column(name))
    target = sample.y.astype(np.int64)
    values, classes = len(np.unique(cells)), len(np.unique(target))
    if values != classes or classes < 2:
        return None
    return "under other names: each class has one value of its own" if _pairs(cells, target) == classes else None


def _number_copy(sample: Sample, name: str) -> str | None:
    """How a feature copies a measured target."""
    values = sample.numbers.get(name)
    if values is None:
        return None
    known = np.isfinite(values)
    x, y = values[known], sample.y[known]
    if len(x) < LEAST_ROWS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    if np.array_equal(x, y):
        return "itself"
    for digits in range(4):
        if np.array_equal(np.round(x, digits), y) or np.array_equal(np.round(y, digits), x):
            return "after rounding"
    with np.errstate(over="ignore", invalid="ignore"):
        return "on another scale" if abs(np.corrcoef(x, y)[0, 1]) > 1 - EXACT**2 / 2 else None


def sums(sample: Sample, known: Collection[str]) -> list[Leak]:
    """Features of which a measured target is the sum, the difference, the product, the ratio, or a weighted sum.

    Those that are `known` to give it away are left out.
    """
    if sample.classes or not sample.numbers:
        return []
    names, x, y = _complete(sample, known)
    if len(names) < 2:
        return []
    plain = _exact(names, x, y)
    if plain is not None:
        return [_related(plain[0], _sum_in_words(*plain))]
    positive = [place for place in range(len(names)) if (x[:, place] > 0).all()]
    if len(positive) < 2 or not (y > 0).all():
        return []
    powers = _exact([names[place] for place in positive], np.log(x[:, positive]), np.log(y))
    return [] if powers is None else [_related(powers[0], _product_in_words(*powers))]


def _complete(sample: Sample, known: Collection[str]) -> tuple[list[str], Floats, Floats]:
    """(names, (rows, columns), (rows,) target): numeric features that vary, on rows where none of them is missing."""
    usable = {name: values for name, values in sample.numbers.items()
              if name not in known and np.isfinite(values).mean() > 0.5}  # fmt: skip
    strength = {name: abs(_correlation(values, sample.y)) for name, values in usable.items()}
    most = min(MAX_COLUMNS, len(sample.y) // (2 * ROWS_PER_COLUMN))
    names = sorted(sorted(usable, key=lambda name: -strength[name])[:most], key=list(usable).index)
    x = np.column_stack([usable[name] for name in names]) if names else np.empty((len(sample.y), 0))
    whole = np.isfinite(x).all(axis=1)
    if whole.sum() < max(LEAST_ROWS, ROWS_PER_COLUMN * len(names)):
        return [], x, sample.y
    return names, x[whole], sample.y[whole]


def _correlation(values: Floats, y: Floats) -> float:
    known = np.isfinite(values)
    if known.sum() < LEAST_ROWS or np.ptp(values[known]) == 0 or np.ptp(y[known]) == 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.corrcoef(values[known], y[known])[0, 1]
    return float(found) if np.isfinite(found) else 0.0


def _exact(names: Sequence[str], x: Floats, y: Floats) -> tuple[list[str], list[float]] | None:
    """(columns, weights) of a few columns whose weighted sum, with a constant, is `y`; None where there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        spread, scale = x.std(axis=0), y.std()
    kept = np.flatnonzero(np.isfinite(spread) & (spread > 0))
    if not len(kept) or not np.isfinite(scale) or scale == 0:
        return None
    standard, middle = (x[:, kept] - x[:, kept].mean(axis=0)) / spread[kept], (y - y.mean()) / scale
    weights, *_ = np.linalg.lstsq(standard, middle, rcond=1e-10)
    if np.abs(standard @ weights - middle).max() > EXACT:
        return None
    needed = np.flatnonzero(np.abs(weights) > EXACT)
    order = needed[np.argsort(-np.abs(weights[needed]))]
    if not 1 <= len(order) <= MAX_TERMS:
        return None
    real = weights[order] * scale / spread[kept][order]
    return [names[kept[place]] for place in order], [float(f"{weight:.4g}") for weight in real]


def _related(names: Sequence[str], words: str) -> Leak:
    return Leak(tuple(names), certain=True, kind="relation", score=1.0, message=f"The target is {words} in every row.")


def _simply(names: Sequence[str], weights: Sequence[float], *, whole: str, without: str) -> str | None:
    """All of `names` with the weight 1 as `whole`, one against another as `without`; None where it is not so simple."""
    quoted = [repr(bounded(name)) for name in names]
    if all(weight == 1.0 for weight in weights):
        return f"the {whole} of " + " and ".join(quoted)
    if len(names) == 2 and sorted(weights) == [-1.0, 1.0]:
        plus = weights.index(1.0)
        return f"{quoted[plus]} {without} {quoted[1 - plus]}"
    return None


def _sum_in_words(names: Sequence[str], weights: Sequence[float]) -> str:
    quoted = [repr(bounded(name)) for name in names]
    return _simply(names, weights, whole="sum", without="less") or (
        "a weighted sum, "
        + " + ".join(f"{weight:g} x {name}" for name, weight in zip(quoted, weights, strict=True))
        + " and a constant,"
    )


def _product_in_words(names: Sequence[str], weights: Sequence[float]) -> str:
    simple = _simply(names, weights, whole="product", without="divided by")
    return simple or "a product of powers of " + " and ".join(repr(bounded(name)) for name in names)


def relabelled(table: pa.Table, types: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """(column, earlier column, values): pairs of features that say the same in other words, value for value.

    Values numbered in the order of their first appearance are the same numbers for both.
    """
    seen: dict[bytes, str] = {}
    found = []
    for name, kind in types.items():
        if kind in {"text", "datetime"}:
            continue
        codes = _codes(table.column(name))
        values = int(codes.max(initial=0)) + 1
        if not 2 < values <= min(FEW_VALUES, len(codes) // ROWS_PER_COLUMN):
            continue
        earlier = seen.setdefault(hashlib.sha256(codes.tobytes()).digest(), name)
        if earlier != name:
            found.append((name, earlier, values))
    return found


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """(rows,) 0, 1, … by value, in order of appearance; missing is a value."""
    filled = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return np.asarray(filled.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _pairs(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> int:
    """How many different pairs of values occur."""
    return len(np.unique(left * (right.max() + 1) + right))

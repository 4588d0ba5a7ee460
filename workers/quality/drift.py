"""How far a table has moved from the profile of an earlier one, column by column, missing values included."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.spec.data import Drift
from workers.quality import chance
from workers.quality.profile import Look, between, in_buckets, look

Counts = npt.NDArray[np.float64]

THRESHOLDS = {"psi": 0.2, "js": 0.1, "ks": 0.1, "wasserstein": 0.1, "chi2": 0.1}
USUAL = "js"
"""What `auto` measures: bounded, the same for numbers and categories, and at ease with cells that were empty before."""
FLOOR = 1e-4
SHOWN_LABELS = 10
SHOWN_COLUMNS = 1_000


@dataclass(frozen=True)
class Cells:
    """One column counted now and then over the same cells, the last of them for missing values.

    Attributes:
        now, then: (cells,) rows.
        ordered: Whether the cells but the last follow each other.
        marks: What stands at the cells: the edges between them, or their labels.
        new, vanished: Labels that only one side has, with their share of that side's rows, the largest first.
    """

    now: Counts
    then: Counts
    ordered: bool
    marks: Sequence[Any] = ()
    new: Mapping[str, float] | None = None
    vanished: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Moved:
    """The verdict on one column.

    Attributes:
        method, value, threshold: The distance between both sides, and what it may be.
        p_value: The chance of counts as different as these without drift; `p_adjusted` over all columns together.
        drifted: Whether the distance passes the threshold and chance does not explain it.
        change: `values`, or `missing`, `new`, `type`: the column itself came, went, or holds another kind of thing.
        nulls: The shares of missing values, (now, then).
        new, vanished: Categories that only one side has, with their share.
        histogram: Both sides' rows over shared cells.
    """

    column: str
    method: str
    value: float
    threshold: float
    p_value: float
    drifted: bool
    change: str = "values"
    p_adjusted: float = 1.0
    nulls: tuple[float, float] = (0.0, 0.0)
    new: Mapping[str, float] | None = None
    vanished: Mapping[str, float] | None = None
    histogram: Mapping[str, Any] | None = None


def cells(seen: Look, past: Mapping[str, Any], rows: int) -> Cells | None:
    """A column and its earlier profile over shared cells; None where they hold things of another kind.

    `rows` are those of the earlier table. A column without a value is of every kind.
    """
    nulls = float(seen.column.null_count)
    if past["holds"] is None or nulls == len(seen.column):
        known = rows - past["nulls"]
        return Cells(np.array([len(seen.column) - nulls, nulls]), np.array([known, past["nulls"]], dtype=np.float64), False,
                     ["known"])  # fmt: skip
    seen = seen if seen.kind == past["type"] else look(seen.column, past["type"])
    if seen.kind != past["type"]:
        return None
    if not seen.by_label and "edges" not in past:
        return Cells(np.array([len(seen.column) - nulls, nulls]), np.array([past["infinite"], past["nulls"]], dtype=np.float64), False,
                     ["known"])  # fmt: skip
    if seen.by_label:
        return _labelled(seen.counts, past, nulls)
    edges = np.asarray(past["edges"], dtype=np.float64)
    now = between(seen.ordered, edges).astype(np.float64)
    odd_now, odd_then = len(seen.column) - nulls - now.sum(), past["infinite"]
    return Cells(np.array([*now[:-1], now[-1] + odd_now, nulls]),
                 np.array([*past["counts"][:-1], past["counts"][-1] + odd_then, past["nulls"]], dtype=np.float64),
                 True, past["edges"])  # fmt: skip


def _labelled(counted: Mapping[str, int], past: Mapping[str, Any], nulls: float) -> Cells:
    """Counts by label where the profile kept all labels, by bucket of labels where it did not."""
    before: Mapping[str, int] = past["categories"]
    whole = "buckets" not in past
    total_now, total_then = sum(counted.values()) + nulls, sum(before.values()) + past["other"] + past["nulls"]
    new = {label: count / total_now for label, count in counted.items() if label not in before} if whole else None
    vanished = {label: count / total_then for label, count in before.items() if label not in counted}
    if whole:
        marks = [*before, *(new or ())]
        now, then = [counted.get(label, 0) for label in marks], [before.get(label, 0) for label in marks]
    else:
        marks, now, then = [], in_buckets(counted), past["buckets"]
    return Cells(np.array([*now, nulls], dtype=np.float64), np.array([*then, past["nulls"]], dtype=np.float64), False,
                 marks, _largest(new), _largest(vanished))  # fmt: skip


def _largest(shares: Mapping[str, float] | None) -> dict[str, float] | None:
    if not shares:
        return None
    order = sorted(shares.items(), key=lambda item: -item[1])[:SHOWN_LABELS]
    return {label: round(share, 6) for label, share in order}


def judge(counted: Mapping[str, Cells | None], spec: Drift, *, significance: float, seed: int) -> list[Moved]:
    """The verdict on each column that both sides have; `None` stands for another kind of content.

    A column has drifted where its distance passes the threshold and its p value, corrected for the number of columns
    (Benjamini and Hochberg 1995), is below `significance`: small tables raise no false alarm, and large ones none
    about trifles. Without any drift, the share of tables that raise an alarm is at most `significance`.
    """
    rng = np.random.default_rng(seed)
    found = [_measured(name, both, spec, rng) for name, both in counted.items()]
    adjusted = chance.adjusted(np.array([moved.p_value for moved in found]))
    return [replace(moved, p_adjusted=_rounded(p),
                    drifted=bool(moved.change == "type" or (moved.value > moved.threshold and p < significance)))
            for moved, p in zip(found, adjusted, strict=True)]  # fmt: skip


def _measured(name: str, both: Cells | None, spec: Drift, rng: np.random.Generator) -> Moved:
    """The distance and the p value of one column, before a verdict."""
    method = USUAL if spec.method == "auto" else spec.method
    if both is None:
        return Moved(name, method, 1.0, 0.0, 0.0, True, "type")
    if method in {"ks", "wasserstein"} and not both.ordered:
        method = "chi2"
    own = spec.threshold is not None and spec.method in {"auto", method}
    threshold = spec.threshold if own and spec.threshold is not None else THRESHOLDS[method]
    now, then = both.now / both.now.sum(), both.then / both.then.sum()
    value = DISTANCES[method](now, then)
    p = chance.of_counts(both.now, both.then, ordered=both.ordered, rng=rng)
    return Moved(name, method, round(value, 6), threshold, _rounded(p), False, nulls=(round(now[-1], 6), round(then[-1], 6)),
                 new=both.new, vanished=both.vanished, histogram=_histogram(both))  # fmt: skip


def _rounded(p: float) -> float:
    """A p value with three significant digits."""
    return float(f"{p:.3g}")


def absent(names: Iterable[str], change: str) -> list[Moved]:
    """Verdicts on columns that only one side has: `missing` from today's table, or `new` in it."""
    return [Moved(name, "none", 1.0, 0.0, 1.0, change == "missing", change) for name in names]


def _histogram(both: Cells) -> dict[str, Any]:
    """Both sides' rows over the shared cells, for display; the last cell holds missing values."""
    kind = "edges" if both.ordered else "labels"
    return {
        kind: list(both.marks),
        "now": [int(count) for count in both.now],
        "then": [int(count) for count in both.then],
    }


def psi(now: Counts, then: Counts) -> float:
    """Population stability index of two shares per cell; empty cells count as 0.0001."""
    left, right = np.maximum(now, FLOOR), np.maximum(then, FLOOR)
    return float(((left - right) * np.log(left / right)).sum())


def _js(now: Counts, then: Counts) -> float:
    """Jensen-Shannon distance to base 2, 0 to 1 (Lin 1991)."""
    middle = (now + then) / 2
    parts = [side * np.log2(np.divide(side, middle, out=np.ones_like(side), where=side > 0)) for side in (now, then)]
    return float(np.sqrt(max(0.0, (parts[0] + parts[1]).sum() / 2)))


def _ks(now: Counts, then: Counts) -> float:
    """Largest difference of the cumulative shares at the edges, or of the shares of missing values."""
    return float(max(np.abs(np.cumsum(now[:-1] - then[:-1])).max(initial=0.0), abs(now[-1] - then[-1])))


def _wasserstein(now: Counts, then: Counts) -> float:
    """How far rows moved on average, in quantiles of the reference; or the difference of the shares of missing values."""
    known_now, known_then = now[:-1] / max(now[:-1].sum(), FLOOR), then[:-1] / max(then[:-1].sum(), FLOOR)
    places = np.cumsum(known_then) - known_then / 2
    moved = float((np.abs(np.cumsum(known_now - known_then))[:-1] * np.diff(places)).sum())
    return float(max(moved, abs(now[-1] - then[-1])))


def _cramer(now: Counts, then: Counts) -> float:
    """Effect size of the chi-squared test of two shares: Cramér's V, 0 to 1."""
    both = now + then
    kept = both > 0
    return float(np.sqrt((((now - then) ** 2)[kept] / both[kept]).sum() / 2))


DISTANCES: dict[str, Callable[[Counts, Counts], float]] = {
    "psi": psi, "js": _js, "ks": _ks, "wasserstein": _wasserstein, "chi2": _cramer,
}  # fmt: skip


def as_json(found: Sequence[Moved]) -> list[dict[str, Any]]:
    """The verdicts, drifted columns first, then by distance; histograms for the first thousand."""
    order = sorted(found, key=lambda moved: (not moved.drifted, -moved.value))
    return [
        asdict(moved if place < SHOWN_COLUMNS else replace(moved, histogram=None)) for place, moved in enumerate(order)
    ]

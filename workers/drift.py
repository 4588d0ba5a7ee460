"""How far a table has moved from the profile of an earlier one, column by column, missing values included."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats
from scipy.spatial.distance import jensenshannon

from app.spec.data import Drift
from workers.profile import LONGEST_LABEL, between, counts_of, measure

Counts = npt.NDArray[np.float64]

THRESHOLDS = {"psi": 0.2, "js": 0.1, "ks": 0.1, "wasserstein": 0.1, "chi2": 0.1}
FLOOR = 1e-4
CERTAINTY = 0.001


@dataclass(frozen=True)
class Moved:
    """The verdict on one column: a distance, the chance of one as large without drift, and whether both say drift."""

    column: str
    method: str
    value: float
    threshold: float
    p_value: float
    drifted: bool


def compare(table: pa.Table, reference: Mapping[str, Any], spec: Drift) -> list[Moved]:
    """A verdict for each column that both the canonical `table` and the `reference` profile hold.

    A column has drifted when its distance passes the threshold and chance does not explain it (p below 0.001), so
    that small tables raise no false alarm and huge ones no alarm about trifles.
    """
    return [_judge(name, counts, spec) for name in table.column_names if name in reference["columns"]
            and (counts := paired_counts(table.column(name), reference["columns"][name], int(reference["rows"])))]  # fmt: skip


def paired_counts(column: pa.ChunkedArray, past: Mapping[str, Any], rows: int) -> tuple[Counts, Counts, bool] | None:
    """(counts now, counts then, ordered) over the same cells, the last of them for missing values.

    None where the past profile or the present column has no rows to compare.
    """
    if not rows or not len(column):
        return None
    ordered = "edges" in past
    if ordered:
        values = np.sort(measure(column))
        now = between(values, np.asarray(past["edges"], dtype=np.float64)).astype(np.float64)
        then = np.asarray(past["counts"], dtype=np.float64)
    elif "categories" in past:
        now, then = _by_label(counts_of(column), past)
    else:
        now, then = np.array([float(len(column) - column.null_count)]), np.array([float(rows - past["nulls"])])
    return np.append(now, len(column) - now.sum()), np.append(then, past["nulls"]), ordered


def _by_label(counted: Mapping[str, int], past: Mapping[str, Any]) -> tuple[Counts, Counts]:
    """Counts of the labels that the past profile names, then of all others."""
    short: dict[str, int] = {}
    for label, count in counted.items():
        short[label[:LONGEST_LABEL]] = short.get(label[:LONGEST_LABEL], 0) + count
    known = [short.pop(label, 0) for label in past["categories"]]
    return (np.array([*known, sum(short.values())], dtype=np.float64),
            np.array([*past["categories"].values(), past["other"]], dtype=np.float64))  # fmt: skip


def _judge(name: str, counts: tuple[Counts, Counts, bool], spec: Drift) -> Moved:
    now, then, ordered = counts
    method = spec.method if spec.method != "auto" else "psi"
    if method in {"ks", "wasserstein"} and not ordered:
        method = "chi2"
    value = DISTANCES[method](now / now.sum(), then / then.sum())
    threshold = spec.threshold if spec.threshold is not None and method == spec.method else THRESHOLDS[method]
    chance = _chance(now, then)
    return Moved(
        name, method, round(value, 6), threshold, round(chance, 6), bool(value > threshold and chance < CERTAINTY)
    )


def _chance(now: Counts, then: Counts) -> float:
    """The p value of a chi-squared test that both counts come from one distribution."""
    table = np.vstack([now, then])
    table = table[:, table.sum(axis=0) > 0]
    return float(stats.chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0


def psi(now: Counts, then: Counts) -> float:
    """Population stability index of two shares per cell; empty cells count as 0.0001."""
    left, right = np.maximum(now, FLOOR), np.maximum(then, FLOOR)
    return float(((left - right) * np.log(left / right)).sum())


def _js(now: Counts, then: Counts) -> float:
    return float(jensenshannon(now, then, base=2))


def _ks(now: Counts, then: Counts) -> float:
    """Largest difference of the cumulative shares at the edges, or of the shares of missing values."""
    return float(max(np.abs(np.cumsum(now[:-1] - then[:-1])).max(initial=0.0), abs(now[-1] - then[-1])))


def _wasserstein(now: Counts, then: Counts) -> float:
    """Area between the cumulative shares, in quantiles of the reference."""
    return float(np.abs(np.cumsum(now - then)).mean())


def _cramer(now: Counts, then: Counts) -> float:
    """Effect size of the chi-squared test of two shares: Cramér's V, 0 to 1."""
    both = now + then
    kept = both > 0
    return float(np.sqrt((((now - then) ** 2)[kept] / both[kept]).sum() / 2))


DISTANCES = {"psi": psi, "js": _js, "ks": _ks, "wasserstein": _wasserstein, "chi2": _cramer}


def as_json(found: list[Moved]) -> list[dict[str, Any]]:
    """The verdicts, drifted columns first, then by distance."""
    return [asdict(moved) for moved in sorted(found, key=lambda moved: (not moved.drifted, -moved.value))]

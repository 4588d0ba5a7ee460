"""The chance that two columns of counts come from one distribution, and what many such tests mean together."""

import numpy as np
import numpy.typing as npt
from scipy import stats

Counts = npt.NDArray[np.float64]

LEAST_EXPECTED = 5.0
LEAST_OF_A_BIN = 20.0
SMALL = 2_000
DRAWS = 500
DOUBTFUL = 0.02
CERTAIN = 1e-12


def of_counts(now: Counts, then: Counts, *, ordered: bool, rng: np.random.Generator) -> float:
    """The p value of the hypothesis that both (cells,) counts are samples of one distribution.

    A chi-squared test over cells that hold enough rows; where the cells but the last are `ordered`, also a
    Kolmogorov-Smirnov test over those, the smaller of both doubled. Of small tables the chi-squared statistic is
    judged by drawing again instead of by its limit.
    """
    if not now.sum() or not then.sum():
        return 1.0
    table = pooled(now, then, ordered=ordered)
    p = _squared(table, rng)
    if not ordered:
        return p
    return min(1.0, 2 * min(p, _cumulated(now[:-1], then[:-1])))


def pooled(now: Counts, then: Counts, *, ordered: bool) -> Counts:
    """(2, cells) The counts with small cells put together: neighbours where they are ordered, else all small ones.

    Which cells are small is said by both sides' sum, which drawing again would not change.
    """
    total = now + then
    expected = total * (min(now.sum(), then.sum()) / total.sum())
    least = LEAST_OF_A_BIN if ordered else LEAST_EXPECTED
    if ordered:
        groups = _runs(expected[:-1], least)
        groups = np.append(groups, groups[-1] + (expected[-1] >= LEAST_EXPECTED))
    else:
        order = np.argsort(-expected, kind="stable")
        groups = np.empty(len(total), dtype=np.int64)
        groups[order] = np.minimum(np.arange(len(total)), max(0, int((expected >= least).sum())))
        if expected[groups == groups.max()].sum() < least:
            groups[groups == groups.max()] = max(0, groups.max() - 1)
    return np.vstack([np.bincount(groups, weights=side) for side in (now, then)])


def _runs(expected: Counts, least: float) -> npt.NDArray[np.int64]:
    """(cells,) The group of each cell: neighbours are joined until a group holds `least`."""
    groups = np.zeros(len(expected), dtype=np.int64)
    group, held = 0, 0.0
    for place, count in enumerate(expected):
        groups[place] = group
        held += count
        if held >= least and expected[place + 1 :].sum() >= least:
            group, held = group + 1, 0.0
    return groups


def _squared(table: Counts, rng: np.random.Generator) -> float:
    """The p value of the chi-squared statistic of (2, cells) counts."""
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    statistic = _statistic(table[0][None, :], table)[0]
    p = float(stats.chi2.sf(statistic, table.shape[1] - 1))
    if table.sum(axis=1).min() < SMALL and CERTAIN < p < DOUBTFUL:
        p = _drawn_again(table, statistic, rng)
    return p


def _statistic(now: Counts, table: Counts) -> Counts:
    """(draws,) Chi-squared of each row of (draws, cells) counts, the margins being those of `table`."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    expected = columns * rows[0] / rows.sum()
    return np.asarray((((now - expected) ** 2) / expected).sum(axis=1) * rows.sum() / rows[1])


def _drawn_again(table: Counts, statistic: float, rng: np.random.Generator) -> float:
    """The p value by permutation: a Pearson III tail through the moments of 500 draws (Winkler et al. 2016)."""
    columns = table.sum(axis=0).astype(np.int64)
    drawn = rng.multivariate_hypergeometric(columns, int(table[0].sum()), size=DRAWS, method="marginals")
    under = _statistic(drawn.astype(np.float64), table)
    skew = max(float(stats.skew(under)), 0.1)
    return float(stats.pearson3.sf(statistic, skew, loc=under.mean(), scale=under.std()))


def _cumulated(now: Counts, then: Counts) -> float:
    """The p value of the largest difference of two cumulated shares; careful, since it looks at the edges only."""
    rows, past = now.sum(), then.sum()
    if not rows or not past:
        return 1.0
    largest = np.abs(np.cumsum(now / rows - then / past)).max()
    return float(stats.kstwobign.sf(largest * np.sqrt(rows * past / (rows + past))))


def adjusted(p: Counts) -> Counts:
    """(tests,) p values corrected for the number of tests, after Benjamini and Hochberg (1995)."""
    if not p.size:
        return p
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum.accumulate(p[order] * len(p) / ranks)
    return np.minimum(corrected, 1.0)

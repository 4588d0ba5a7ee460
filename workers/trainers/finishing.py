"""What is done to the answers of a model after its fit: probabilities are calibrated, and a threshold decides.

Both are learned from validation rows, as the search's models predicted them; the test rows play no part.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, xlogy

from trainhouse_loader.models.finish import TINY, Finish, log_odds, tempered
from workers.measures.metrics import METRICS, Undefined
from workers.measures.samples import Rows, Sample

Floats = npt.NDArray[np.float64]

MOST_THRESHOLDS = 999
USUAL = 0.5
"""The threshold where nothing speaks for another one."""
TEMPERATURES = (-3.0, 3.0)
"""Of the logarithm of the temperature, the least and the most."""


def calibration(y: Floats, p: Floats, weights: Floats | None = None) -> Finish:
    """What makes the probabilities `p` (rows, classes) fit the classes `y` (rows,) best, keeping their order.

    Two classes: a sigmoid of the log odds, with Platt's targets (Platt, 1999); more: one temperature (Guo et al., 2017,
    https://arxiv.org/abs/1706.04599). Where neither helps, answers are left alone.
    """
    counts = np.ones(len(y)) if weights is None else weights
    if not counts.sum() > 0:
        return Finish()
    # Platt's targets count rows: weights may stand for several, but in units so small that all come to less they do not.
    counts = counts / min(1.0, float(counts.mean()))
    if p.shape[1] > 2:
        own = y.astype(np.int64)

        def loss(log_slope: float) -> float:
            chances = np.take_along_axis(tempered(p, float(np.exp(log_slope))), own[:, None], axis=1)[:, 0]
            return float(-(counts * np.log(np.clip(chances, TINY, 1.0))).sum() / counts.sum())

        found = minimize_scalar(loss, bounds=TEMPERATURES, method="bounded", options={"xatol": 1e-6})
        return Finish("temperature", slope=float(np.exp(found.x))) if found.fun < loss(0.0) else Finish()
    odds, positives = log_odds(p[:, 1]), float((counts * (y == 1)).sum())
    negatives = float(counts.sum()) - positives
    target = np.where(y == 1, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))

    def both(line: Floats) -> tuple[float, Floats]:
        said = expit(line[0] * odds + line[1])
        off = counts * (said - target) / counts.sum()
        value = -(counts * (xlogy(target, said) + xlogy(1.0 - target, 1.0 - said))).sum() / counts.sum()
        return float(value), np.array([(off * odds).sum(), off.sum()])

    fit = minimize(both, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    slope, shift = (float(each) for each in fit.x)
    helps = slope > 0 and np.isfinite(fit.fun) and fit.fun < both(np.array([1.0, 0.0]))[0]
    return Finish("sigmoid", slope, shift) if helps else Finish()


def thresholds(p: Floats) -> Floats:
    """The thresholds worth trying for probabilities `p` (rows,) of the second class: between neighbours, and 0.5."""
    known = np.unique(np.quantile(p, np.linspace(0, 1, MOST_THRESHOLDS + 1), method="nearest"))
    return np.unique(np.r_[0.5, (known[1:] + known[:-1]) / 2.0])


@dataclass(frozen=True, kw_only=True)
class _Decided(Sample):
    """The same rows, decided by each of several `thresholds`; of the four counts alone there is one sample for each."""

    thresholds: Floats

    @cached_property
    def cells(self) -> Floats:
        """(thresholds, 2, 2) What is predicted to be of the second class are the first rows of its ranking."""
        ranking, ranked = self.rows.ranking(1), self.ranked(1)
        hits, alarms = (
            sums[0, np.searchsorted(-self.rows.p[places, 1], -self.thresholds, "right")]
            for sums, places in ((ranked.own_sums, ranking.own), (ranked.other_sums, ranking.other))
        )
        spared, missed = ranked.other_sums[0, -1] - alarms, ranked.own_sums[0, -1] - hits
        return np.stack((spared, alarms, missed, hits), axis=1).reshape(-1, 2, 2)


def best_threshold(y: Floats, p: Floats, weights: Floats | None, *, metric: str) -> float:
    """The threshold with the best value of the metric; of equal ones the nearest to 0.5, then the higher.

    The rows are sorted once for all thresholds: one by one, a thousand of them over a million rows take minutes.

    Args:
        y: (rows,) class index.
        p: (rows, 2) probabilities.
        weights: (rows,) how much each row counts; None where all count alike.
        metric: Of those that look at nothing but which class is predicted; higher is better.
    """
    if not np.isfinite(p).all():
        return USUAL
    whole = Sample.whole(Rows("binary", y, p, weights=weights))
    if not whole.total[0] > 0:
        return USUAL
    tried = thresholds(p[:, 1])
    try:
        with np.errstate(all="ignore"):
            values = METRICS[metric](_Decided(whole.rows, whole.weights, thresholds=tried))
    except Undefined:
        return USUAL
    known = np.isfinite(values)
    order = np.lexsort((tried, -np.abs(tried - USUAL), values))
    return float(tried[order[known[order]][-1]]) if known.any() else USUAL

"""Intervals of test metrics: how long they take, how exact they are, and how often they hold the true value.

python -m benchmarks.intervals
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import sklearn.metrics as reference
from scipy.special import expit

from workers.measures.intervals import Confidence, arranged, drawn_again, resampled
from workers.measures.samples import Floats, Rows
from workers.measures.scoring import measured
from workers.threads import limited

SIX = ("accuracy", "average_precision", "brier", "f1", "log_loss", "roc_auc")
RANKING = frozenset({"roc_auc", "average_precision"})
TURNS = 5
LARGE = 2_000_000
"""Rows that stand for all there could be: their AUC is the true one."""


def main() -> None:
    """Times, compares and counts."""
    asked = arguments()
    with limited(1):
        timed(asked.rows)
        compared(asked.rows, asked.compared)
        delong(asked.simulated)
        covered(asked.simulated, asked.test_rows)


def drawn(random: np.random.Generator, rows: int, *, lift: float = 1.2, share: float = 0.3) -> Rows:
    """Rows of two classes, scored by a model whose log odds are normal."""
    y = (random.random(rows) < share).astype(float)
    p = expit(np.log(share / (1 - share)) + lift * (y - share) + random.normal(size=rows))
    return Rows("binary", y, np.column_stack((1 - p, p)))


def timed(rows: int) -> None:
    """Seconds of one core for all six metrics with 1,000 resamples."""
    data, taken = drawn(np.random.default_rng(0), rows), []
    for _turn in range(TURNS):
        began = time.process_time()
        measured(Rows("binary", data.y, data.p), SIX, Confidence())
        taken.append(time.process_time() - began)
    print(f"{rows:,} rows, 1,000 resamples, {len(SIX)} metrics: {statistics.median(taken):.2f} s of one core "
          f"(median of {TURNS}; {min(taken):.2f} to {max(taken):.2f})")  # fmt: skip


def compared(rows: int, resamples: int) -> None:
    """The largest distance of a resample's value from what scikit-learn gives for its weights."""
    (data,) = arranged([drawn(np.random.default_rng(1), rows)])
    confidence = Confidence(resamples=resamples)
    found = resampled([data], SIX, confidence)[0]
    worst = dict.fromkeys(SIX, 0.0)
    for place, weights in enumerate(np.concatenate(list(drawn_again(data, confidence)))):
        for name, of_weights in scikit_learn(data).items():
            worst[name] = max(worst[name], abs(found[name][place] - of_weights(weights)))
    print(f"largest distance from scikit-learn over {resamples} resamples of {rows:,} rows: "
          + ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))  # fmt: skip


def scikit_learn(data: Rows) -> dict[str, Callable[[Floats], float]]:
    """By metric, its value on weighted rows."""
    y, score, chosen = data.y, data.p[:, 1], (data.p[:, 1] >= 0.5).astype(int)
    return {
        "accuracy": lambda w: reference.accuracy_score(y, chosen, sample_weight=w),
        "average_precision": lambda w: reference.average_precision_score(y, score, sample_weight=w),
        "brier": lambda w: reference.brier_score_loss(y, score, sample_weight=w),
        "f1": lambda w: reference.f1_score(y, chosen, sample_weight=w),
        "log_loss": lambda w: reference.log_loss(y, data.p, sample_weight=w),
        "roc_auc": lambda w: reference.roc_auc_score(y, score, sample_weight=w),
    }


def delong(simulated: int) -> None:
    """How far the ends of the interval of AUC are from DeLong's, in its standard errors, over simulated test sets."""
    apart = []
    for seed in range(simulated // 4):
        data = drawn(np.random.default_rng(10_000 + seed), 1_500)
        value, error = of_delong(data)
        entry = measured(data, ["roc_auc"], Confidence(seed=seed))["roc_auc"]
        apart += [(entry["low"] - value) / error + 1.96, (entry["high"] - value) / error - 1.96]
    print(f"ends of the AUC interval less DeLong's, in standard errors, {simulated // 4} sets of 1,500 rows: "
          f"mean {statistics.fmean(apart):+.3f}, standard deviation {statistics.pstdev(apart):.3f}")  # fmt: skip


def of_delong(data: Rows) -> tuple[float, float]:
    """The AUC and its standard error by DeLong et al. (1988), https://doi.org/10.2307/2531595."""
    own, other = data.p[data.y == 1, 1], data.p[data.y == 0, 1]
    pairs = (own[:, None] > other[None, :]) + 0.5 * (own[:, None] == other[None, :])
    spread = pairs.mean(axis=1).var(ddof=1) / len(own) + pairs.mean(axis=0).var(ddof=1) / len(other)
    return float(pairs.mean()), float(np.sqrt(spread))


def covered(simulated: int, rows: int) -> None:
    """How often the 95 % interval of a simulated test set holds the value that all rows there could be have."""
    names = ("roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1")
    whole = drawn(np.random.default_rng(99), LARGE)
    truth = {name: of_all(np.ones(LARGE)) for name, of_all in scikit_learn(whole).items()}
    held = dict.fromkeys(names, 0)
    for seed in range(simulated):
        found = measured(drawn(np.random.default_rng(seed), rows), names, Confidence(seed=seed))
        for name in names:
            held[name] += found[name]["low"] <= truth[name] <= found[name]["high"]
    print(f"the 95 % interval holds the true value in so many of {simulated} test sets of {rows:,} rows: "
          + ", ".join(f"{name} {100 * count / simulated:.1f} %" for name, count in held.items()))  # fmt: skip


def arguments() -> argparse.Namespace:
    """What the caller asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rows", type=int, default=90_000, help="of the timed test set (default: %(default)s)")
    parser.add_argument("--compared", type=int, default=10, help="resamples to compare with scikit-learn (%(default)s)")
    parser.add_argument("--simulated", type=int, default=400, help="test sets to simulate (default: %(default)s)")
    parser.add_argument("--test-rows", type=int, default=1_000, help="of each of them (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

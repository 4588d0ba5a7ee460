"""The gate against the champion: how often equal models pass, better ones pass, and worse ones fail.

python -m benchmarks.verdicts
"""

import argparse
from collections import Counter

import numpy as np
from scipy.special import expit

from app import verdicts
from app.spec.decision import Gate
from workers.measures.intervals import Confidence
from workers.measures.samples import Rows
from workers.measures.scoring import compared
from workers.threads import limited

GATE = Gate.model_validate({
    "judge_by": "low", "rules": [{"metric": "roc_auc", "against": "champion", "min_gain": 0.0}],
})  # fmt: skip
BETTER = {"equal": 0.0, "a little better": 0.15, "better": 0.4, "worse": -0.4}
"""By what the candidate is, how much further apart its scores of the two classes are, in standard deviations."""


def main() -> None:
    """Simulates models on test sets and counts verdicts."""
    asked = arguments()
    with limited(1):
        for name, more in BETTER.items():
            counted = Counter(verdict(seed, asked.test_rows, more, shuffled=False) for seed in range(asked.runs))
            same = all(
                verdict(seed, asked.test_rows, more, shuffled=True)
                == verdict(seed, asked.test_rows, more, shuffled=False)
                for seed in range(0, asked.runs, 10)
            )
            shares = ", ".join(
                f"{each} {100 * counted[each] / asked.runs:.1f} %" for each in ("pass", "inconclusive", "fail")
            )
            print(f"{name:>16}: {shares}; the same with shuffled rows: {'yes' if same else 'NO'}")


def verdict(seed: int, rows: int, more: float, *, shuffled: bool) -> str:
    """The verdict on a candidate and a champion that see the same signal, each with noise of its own."""
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.3).astype(float)
    shared = random.normal(size=rows)
    one, other = (
        expit(-1 + lift * (y - 0.3) + 0.8 * shared + 0.6 * random.normal(size=rows)) for lift in (1.2 + more, 1.2)
    )
    pair = [Rows("binary", y, np.column_stack((1 - p, p))) for p in (one, other)]
    if shuffled:
        order = np.random.default_rng(seed + 1).permutation(rows)
        pair = [each.taken(order) for each in pair]
    gains = compared(pair[0], pair[1], ["roc_auc"], Confidence(seed=42))
    evidence = {"rows": rows, "metrics": {}, "champion": {"version": 1, "gains": gains}}
    found: str = verdicts.judged(GATE, evidence)["verdict"]
    return found


def arguments() -> argparse.Namespace:
    """What the caller asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--runs", type=int, default=200, help="test sets for each kind of candidate (default: %(default)s)"
    )
    parser.add_argument("--test-rows", type=int, default=2_000, help="of each of them (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

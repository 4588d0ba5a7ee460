"""Whether a running trial is hopeless, judged by the curves of the ended ones.

Optuna's pruners keep their notes in its own storage; trials here are rows with curves, so the two rules are short.
"""

import math
from collections.abc import Callable, Sequence
from statistics import median

from app.spec.job import JobSpec
from workers.context import TrialResult

FEWEST_PEERS = 5
STEP = 50
WARM_UP = 100
REDUCTION = 3


class Pruning:
    """Follows one trial beside the ended ones; small evidence never gives a trial up."""

    def __init__(self, spec: JobSpec, history: Sequence[TrialResult], *, minimize: bool) -> None:
        self._hopeless = PRUNERS[spec.tuning.pruner]
        self._sign = -1.0 if minimize else 1.0
        self._peers = [trial.curve for trial in history if trial.curve]
        self._best = -math.inf

    def hopeless(self, iteration: int, value: float) -> bool:
        """Notes the validation value of `iteration`, and says whether the trial should be given up there."""
        if math.isfinite(value):
            self._best = max(self._best, self._sign * value)
        if len(self._peers) < FEWEST_PEERS:
            return False
        return self._hopeless(iteration, self._best, self._peers_at)

    def _peers_at(self, iteration: int) -> list[float]:
        """The best that each peer had seen by `iteration`, higher is better."""
        reached = ([self._sign * value for step, value in curve if step <= iteration] for curve in self._peers)
        return [max(values) for values in reached if values]


PeersAt = Callable[[int], list[float]]


def _never(_iteration: int, _best: float, _peers_at: PeersAt) -> bool:
    return False


def _below_median(iteration: int, best: float, peers_at: PeersAt) -> bool:
    """Worse than half of the others had been by then (Golovin et al., 2017: the median stopping rule)."""
    if iteration < WARM_UP or iteration % STEP:
        return False
    peers = peers_at(iteration)
    return len(peers) >= FEWEST_PEERS and best < median(peers)


def _halved(iteration: int, best: float, peers_at: PeersAt) -> bool:
    """Not among the best third at a rung of 100, 300, 900 … iterations (Li et al., 2018: Hyperband's first bracket)."""
    rung = WARM_UP
    while rung < iteration:
        rung *= REDUCTION
    if rung != iteration:
        return False
    peers = sorted(peers_at(iteration), reverse=True)
    return len(peers) >= FEWEST_PEERS and best < peers[len(peers) // REDUCTION]


PRUNERS: dict[str, Callable[[int, float, PeersAt], bool]] = {
    "auto": _never,
    "none": _never,
    "median": _below_median,
    "hyperband": _halved,
}

"""Whether a running trial is hopeless, judged by the curves of the ended ones.

Optuna's pruners keep their notes in its own storage; trials here are rows with curves, so the rules are short.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from app.spec.job import JobSpec
from workers.context import TrialResult

FEWEST_PEERS = 5
STEP = 50
WARM_UP = 100
REDUCTION = 3
MORE_PEERS = 8
"""So many complete trials does `auto` wait for: with fewer, a kind of fit that gains late may not be among them."""
HOPE = 2.0
"""`auto` credits a trial with so many times the gain that any ended one still made from the same progress on."""
LATE = 0.5
"""`auto` judges only beyond this share of the progress at which half of the ended trials had found their best."""


@dataclass(frozen=True)
class Peer:
    """An ended trial of the same algorithm and loss: its curve, higher is better, by progress (iterations × learning rate)."""

    rate: float
    points: tuple[tuple[int, float], ...]

    def best_by(self, iteration: float) -> float | None:
        """The best that it had seen by `iteration`; None where it had seen nothing."""
        seen = [value for step, value in self.points if step <= iteration]
        return max(seen) if seen else None

    @property
    def best(self) -> float:
        """The best that it ever saw."""
        return max(value for _step, value in self.points)

    @property
    def settled(self) -> float:
        """The progress at which it saw its best."""
        return self.rate * max(self.points, key=lambda point: (point[1], -point[0]))[0]


class Pruning:
    """Follows one trial beside the ended ones; small evidence never gives a trial up.

    Args:
        params: Of the trial.
        rises: Whether the values that it is watched by are better the higher they are.
    """

    def __init__(
        self, spec: JobSpec, history: Sequence[TrialResult], *, params: Mapping[str, Any], rises: bool
    ) -> None:
        own = _watched(params)
        same = [trial for trial in history if trial.curve and _watched(trial.params) == own]
        self._hopeless = PRUNERS[spec.tuning.pruner]
        self._sign = 1.0 if rises else -1.0
        self._rate = _rate(params)
        whole = same if spec.tuning.pruner != "auto" else [trial for trial in same if trial.status == "complete"]
        self._peers = [
            Peer(_rate(trial.params), tuple((step, self._sign * value) for step, value in trial.curve))
            for trial in whole
        ]
        self._best = -math.inf

    def hopeless(self, iteration: int, value: float) -> bool:
        """Notes the validation value of `iteration`, and says whether the trial should be given up there."""
        if math.isfinite(value):
            self._best = max(self._best, self._sign * value)
        if len(self._peers) < FEWEST_PEERS:
            return False
        return self._hopeless(iteration, self._best, self._rate, self._peers)


def _rate(params: Mapping[str, Any]) -> float:
    return float(params.get("learning_rate", 1.0))


def _watched(params: Mapping[str, Any]) -> tuple[Any, Any]:
    """What decides by which measure a fit is watched, where the metric is one: of others the curves say nothing."""
    return params.get("algorithm"), params.get("loss", "auto")


Rule = Callable[[int, float, float, Sequence[Peer]], bool]


def _never(_iteration: int, _best: float, _rate: float, _peers: Sequence[Peer]) -> bool:
    return False


def _cannot_catch_up(iteration: int, best: float, rate: float, peers: Sequence[Peer]) -> bool:
    """Behind the best, by more than HOPE times what any ended trial still gained from equal progress on."""
    progress = iteration * rate
    if len(peers) < MORE_PEERS or iteration < WARM_UP or iteration % STEP:
        return False
    if progress < LATE * median(peer.settled for peer in peers):
        return False
    gains = [peer.best - seen for peer in peers if (seen := peer.best_by(progress / peer.rate)) is not None]
    return best + HOPE * max(gains, default=math.inf) < max(peer.best for peer in peers)


def _below_median(iteration: int, best: float, _rate: float, peers: Sequence[Peer]) -> bool:
    """Worse than half of the others had been by then (Golovin et al., 2017: the median stopping rule)."""
    if iteration < WARM_UP or iteration % STEP:
        return False
    reached = _at(peers, iteration)
    return len(reached) >= FEWEST_PEERS and best < median(reached)


def _halved(iteration: int, best: float, _rate: float, peers: Sequence[Peer]) -> bool:
    """Not among the best third at a rung of 100, 300, 900 … iterations (Li et al., 2018: Hyperband's first bracket)."""
    rung = WARM_UP
    while rung < iteration:
        rung *= REDUCTION
    if rung != iteration:
        return False
    reached = sorted(_at(peers, iteration), reverse=True)
    return len(reached) >= FEWEST_PEERS and best < reached[len(reached) // REDUCTION]


def _at(peers: Sequence[Peer], iteration: int) -> list[float]:
    """The best that each peer had seen by `iteration`."""
    return [seen for peer in peers if (seen := peer.best_by(iteration)) is not None]


PRUNERS: dict[str, Rule] = {"auto": _cannot_catch_up, "none": _never, "median": _below_median, "hyperband": _halved}

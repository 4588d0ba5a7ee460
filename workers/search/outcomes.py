"""How good an ended trial is to the search: one loss for every row, lower is better, whatever became of the trial."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from app.spec.modelling import Constraints
from workers.context import TrialResult

BEYOND = 1e200
"""Losses from here on are of trials that cannot be chosen."""
MOST_EXCESS = 1e6


@dataclass(frozen=True)
class Judge:
    """What makes one trial better than another."""

    minimize: bool
    constraints: Constraints = field(default_factory=Constraints)

    @cached_property
    def bounds(self) -> dict[str, float]:
        """See `Constraints.bounds`; every trial is judged by them each time that one is suggested."""
        return self.constraints.bounds

    def loss(self, trial: TrialResult) -> float:
        """The trial's value as a loss; from BEYOND on by how much it passed a bound; infinite without a value."""
        if trial.status != "complete" or trial.value is None or not math.isfinite(trial.value):
            return math.inf
        if self.bounds and (excess := self.excess(trial.facts)) > 0:
            return BEYOND * (1.0 + min(excess, MOST_EXCESS))
        return trial.value if self.minimize else -trial.value

    def excess(self, facts: Mapping[str, Any]) -> float:
        """The sum of the shares by which a trial passes each bound; 0 where it keeps to all, or has not measured it."""
        return sum(max(0.0, (facts.get(name) or 0.0) / bound - 1.0) for name, bound in self.bounds.items())

    def best(self, trials: Iterable[TrialResult]) -> TrialResult | None:
        """The trial with the lowest loss, of equal ones the lowest number; None where none can be chosen."""
        found = min(trials, key=lambda trial: (self.loss(trial), trial.number), default=None)
        return found if found is not None and self.loss(found) < BEYOND else None

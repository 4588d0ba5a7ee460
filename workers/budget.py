"""Who gets how much of `tuning.max_seconds`: the first fit a bounded part, the search most, the refit what it will cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TRAIN_SHARE = 0.06
"""Of the budget, at the most, for the train stage's fit where a search follows."""
ALONE_SHARE = 0.9
"""For that fit where none does."""
SEARCH_SHARE = 0.95
"""Of the budget, after which no search goes on where nothing but a choice follows it."""
USUAL_TAIL = 0.2
"""Of the budget, kept for ensemble and refit as long as no trial has told what a fit costs."""
LEAST_TAIL, MOST_TAIL = 0.05, 0.35
BEST_TAIL = 0.55
"""More than MOST_TAIL, where the best model alone would not be fitted again otherwise."""
CHOOSING_SECONDS = 2.5
"""Between the last trial and the first refit: the job is taken up again, its data read, its members chosen."""
MARGIN = 1.05
LEAST_TRIAL_SHARE = 0.5
"""Of the quickest complete trial's seconds; with less than that left, another trial would not get anywhere."""


@dataclass(frozen=True)
class Ended:
    """One ended trial, as far as budgets look at it.

    Attributes:
        seconds: That it took in all.
        kept_seconds: That its fit took for the rounds that were kept, where known.
        beyond: Whether it passed a bound of `tuning.constraints`, so that it cannot be chosen.
    """

    status: str
    value: float | None
    seconds: float
    kept_seconds: float | None = None
    beyond: bool = False

    @property
    def eligible(self) -> bool:
        """Whether it may be chosen."""
        return self.status == "complete" and self.value is not None and not self.beyond

    @property
    def again(self) -> float:
        """Seconds to fit the same on the same rows once more."""
        return self.seconds if self.kept_seconds is None else self.kept_seconds


def first_fit_seconds(left: float, *, search_follows: bool) -> float:
    """How long the train stage may fit, of the `left` seconds of the budget."""
    return left * (TRAIN_SHARE if search_follows else ALONE_SHARE)


def search_seconds(search: Mapping[str, Any], ended: Sequence[Ended]) -> float:
    """Seconds from the budget's beginning to the end of the search; infinite where there is no budget in seconds.

    What follows the search is paid from the rest: `search["refit_factor"]` says how many times the seconds of a trial's
    kept rounds its refit takes, `search["ensemble"]` how many members there are at the most.
    """
    total = search.get("max_seconds")
    if total is None:
        return math.inf
    members = int(search.get("ensemble", 1))
    if not search.get("refit") and members <= 1:
        return float(total) * SEARCH_SHARE
    best = members_of(search, ended)
    if not best:
        return float(total) * (1 - USUAL_TAIL)
    return float(total) - min(_tail(search, best), BEST_TAIL * total)


def tail_seconds(search: Mapping[str, Any], ended: Sequence[Ended]) -> float:
    """Seconds that what follows the search is expected to take: the budget's rest, or what it costs where none is set."""
    if search.get("max_seconds") is not None:
        return max(0.0, float(search["max_seconds"]) - search_seconds(search, ended))
    best = members_of(search, ended) if search.get("refit") else []
    return seconds_after(search, best) if best else 0.0


def seconds_after(search: Mapping[str, Any], best: Sequence[Ended]) -> float:
    """Seconds from the last trial to the chosen model, where all of the `best` trials are fitted again.

    With `search["lanes"]` so many refits run at a time.
    """
    if not search.get("refit"):
        return CHOOSING_SECONDS
    lanes = max(1, min(len(best), int(search.get("lanes", 1))))
    each = MARGIN * float(search.get("refit_factor", 0.0))
    return CHOOSING_SECONDS + each * sum(trial.again for trial in best) / lanes


def members_of(search: Mapping[str, Any], ended: Sequence[Ended]) -> list[Ended]:
    """The best trials, as many as may answer together."""
    most = int(search.get("ensemble", 1))
    return sorted((trial for trial in ended if trial.eligible), key=lambda trial: _loss(trial, search))[:most]


def _tail(search: Mapping[str, Any], best: Sequence[Ended]) -> float:
    """Seconds to keep for choosing and for refits, of as many of the `best` trials as MOST_TAIL allows for.

    Where even the best one would take more than BEST_TAIL there will be no refit, and no time is kept for one.
    """
    total = float(search["max_seconds"])
    least, first = max(CHOOSING_SECONDS, LEAST_TAIL * total), seconds_after(search, best[:1])
    if not search.get("refit") or first > BEST_TAIL * total:
        return least
    return max(least, first, min(seconds_after(search, best), MOST_TAIL * total))


def _loss(trial: Ended, search: Mapping[str, Any]) -> float:
    value = math.inf if trial.value is None else trial.value
    return value if search["minimize"] else -value


def is_too_late(seconds_left: float, ended: Sequence[Ended]) -> bool:
    """Whether another trial would have too little of the search's seconds to be worth its beginning."""
    quickest = min((trial.seconds for trial in ended if trial.status == "complete"), default=0.0)
    return seconds_left <= LEAST_TRIAL_SHARE * quickest


def is_out_of_patience(search: Mapping[str, Any], ended: Sequence[Ended]) -> bool:
    """Whether `search["patience"]` trials in a row, in order of number, did not better the best before them.

    Trials beyond a bound count only once there is one within: until then the search is for any that can be chosen.
    """
    if search.get("patience") is None:
        return False
    best, since = math.inf, 0
    for trial in ended:
        if trial.eligible and _loss(trial, search) < best:
            best, since = _loss(trial, search), 0
        elif not (trial.beyond and best == math.inf):
            since += 1
    return since >= int(search["patience"])


def why_over(search: Mapping[str, Any], *, asked: int, ended: Sequence[Ended], elapsed: float) -> str | None:
    """What ends the search now, or None: `max_trials`, `grid_exhausted`, `patience` or `max_seconds`.

    Args:
        asked: How many trials there are by now.
        ended: Those that count, in order of number.
        elapsed: Seconds since the budget's beginning.
    """
    if asked >= int(search["trials"]):
        return "grid_exhausted" if search.get("strategy") == "grid" and search.get("whole_grid") else "max_trials"
    if is_out_of_patience(search, ended):
        return "patience"
    if math.isfinite(left := search_seconds(search, ended) - elapsed) and (left <= 0 or is_too_late(left, ended)):
        return "max_seconds"
    return None


def refit_factor(rows: Mapping[str, int], *, folds: int) -> float:
    """How many times the rows of one fit of a trial its refit learns from."""
    if folds > 1:
        return folds / (folds - 1)
    return (rows.get("train", 0) + rows.get("validation", 0)) / max(1, rows.get("train", 0))

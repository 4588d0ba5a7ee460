"""What is noted of a fit while it runs: its curve and its progress, and whether it is given up."""

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean

from workers.context import Context
from workers.fitting.past import Past
from workers.search.pruning import Pruning

CURVE_POINTS = 100
REPORT_EVERY = 10
REPORT_SECONDS = 0.5

Curve = tuple[tuple[int, float], ...]


class Pruned(Exception):  # a signal from inside a fit, caught by who fits
    """The pruner gave this trial up; `points` is its curve up to there."""

    def __init__(self, points: Sequence[tuple[int, float]]) -> None:
        super().__init__()
        self.points = tuple(points)


class Recorder:
    """Follows a fit: keeps its curve, shows progress, asks the pruner.

    Args:
        ctx: Whose progress is shown.
        rounds: The most that the fit takes.
        pruning: Who may give the fit up.
        place: Which of how many fits of one candidate this is, from 0.

    Attributes:
        points: (iteration, validation value) so far, those of earlier attempts too.
        reached: The last iteration.
        seconds: Of the whole fit, once it has ended, over all attempts.
        before: Those of earlier attempts.
        rises: Whether values are better the higher they are.
    """

    def __init__(
        self, ctx: Context, *, rounds: int, pruning: Pruning | None = None, place: tuple[int, int] = (0, 1)
    ) -> None:
        self.ctx, self.rounds, self.pruning, self.place = ctx, rounds, pruning, place
        self.points: list[tuple[int, float]] = []
        self.last_report = -math.inf
        self.seconds = self.before = 0.0
        self.began = time.monotonic()
        self.reached = 0
        self.rises = False

    def begin(self, past: Past) -> None:
        """The fit begins now, where `past` ends."""
        self.before, self.points, self.began = past.seconds, list(past.points), time.monotonic()
        if self.pruning is not None:
            for iteration, value in past.points:
                self.pruning.hopeless(iteration, value)

    def past(self, iteration: int) -> Past:
        """What is to be saved beside the model of `iteration`."""
        return Past(self.spent(), tuple(point for point in self.points if point[0] <= iteration))

    def spent(self) -> float:
        """Seconds of the fit so far, over all attempts."""
        return self.before + time.monotonic() - self.began

    def __call__(self, iteration: int, value: float) -> None:
        now, self.reached = time.monotonic(), iteration
        if iteration % REPORT_EVERY == 0 or now - self.last_report > REPORT_SECONDS:
            self.last_report = now
            done, all_fits = self.place
            self.ctx.progress(done * self.rounds + iteration, all_fits * self.rounds)
        if math.isfinite(value):
            while self.points and self.points[-1][0] >= iteration:  # told once more by who goes on from there
                self.points.pop()
            self.points.append((iteration, value))
            if self.pruning is not None and self.pruning.hopeless(iteration, value):
                raise Pruned(self.points)


def thinned(points: Sequence[tuple[int, float]]) -> Curve:
    """The first of `points`, the last, and every n-th of the others, with nine digits."""
    step = max(1, math.ceil(len(points) / CURVE_POINTS))
    kept = [point for point in points if point[0] % step == 0 or point in (points[0], points[-1])]
    return tuple((iteration, float(f"{value:.9g}")) for iteration, value in kept)


def together(recorders: Sequence[Recorder]) -> list[tuple[int, float]]:
    """The mean over all fits at the iterations that every one of them reached."""
    values: defaultdict[int, list[float]] = defaultdict(list)
    for recorder in recorders:
        for iteration, value in recorder.points:
            values[iteration].append(value)
    return [(step, sum(seen) / len(seen)) for step, seen in sorted(values.items()) if len(seen) == len(recorders)]


def best_together(recorders: Sequence[Recorder], best: Sequence[int]) -> int:
    """The iteration at which the mean over all fits was best, where `best` are those of each alone.

    A fold that goes on improving alone says less of how long all rows may be learned from than the folds together do.
    Where a curve is not all there is of its fit, or folds are watched by different measures, the mean of `best` has to do.
    """
    shared, ways = together(recorders), {recorder.rises for recorder in recorders}
    known = all(own in dict(recorder.points) for recorder, own in zip(recorders, best, strict=True))
    if len(set(best)) == 1 or not shared or not known or len(ways) > 1:
        return round(mean(best))
    sign = -1.0 if ways == {True} else 1.0
    return min(shared, key=lambda point: sign * point[1])[0]

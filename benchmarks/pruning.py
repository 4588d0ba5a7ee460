"""What pruning would save, and whether it would lose the winner: whole curves of random searches, replayed.

    python -m benchmarks.pruning FILE:TARGET [FILE:TARGET ...] [--trials 40] [--seeds 5] [--keep FOLDER [--minutes 5]]

Every trial is fitted to its end once, without pruning (LightGBM, its default space drawn at random); its curve, value and
seconds stay in FOLDER, so that a run that ran out of its minutes goes on where it stopped; a changed fit needs another FOLDER. Then each pruner walks through
the trials of a search in order, as a single worker would, and sees of a trial what it would have seen by then.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.spec.job import JobSpec, parse_spec
from benchmarks.matrices import matrix_of
from workers.context import TrialResult
from workers.fitting.following import thinned
from workers.matrix.prepared import Prepared
from workers.measures.metrics import DEFAULT_METRIC, lower_is_better
from workers.measures.scoring import scores
from workers.search.facts import Facts
from workers.search.pruning import Pruning
from workers.search.suggest import suggest
from workers.trainers import TRAINERS
from workers.trainers.contract import Company, Fold, Recipe

PRUNERS = ("auto", "median", "hyperband")


@dataclass(frozen=True)
class Whole:
    """A trial that nobody pruned: every point of its curve."""

    params: dict[str, Any]
    value: float
    seconds: float
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Replay:
    """What one pruner did to one search."""

    saved: float
    pruned: int
    lost: bool
    regret: float


def a_spec(task: str, pruner: str, seed: int) -> JobSpec:
    """A random search over LightGBM's default space."""
    return parse_spec({
        "model": "pruning", "task": {"target": "y", "type": task}, "training": {"algorithm": "lightgbm"},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": "ds_00000000"}}}, "reproducibility": {"seed": seed},
        "tuning": {"strategy": "random", "max_trials": 1_000, "pruner": pruner},
    })  # fmt: skip


def fitted(data: Prepared, params: dict[str, Any], *, seed: int, threads: int) -> Whole:
    """Fits a trial to its end."""
    metric, points = DEFAULT_METRIC[data.task], []
    held, began = data.where("validation"), time.perf_counter()
    found = TRAINERS["lightgbm"].fit(
        data, Fold.of_parts(data), Recipe(params=params, seed=seed, metric=metric),
        Company(threads=threads, on_iteration=lambda step, value: points.append((step, value))),
    )  # fmt: skip
    value = scores(data.task, data.y[held], found.predict(data.x[held]), names=[metric])[metric]["value"]
    return Whole(params, float(value or 0.0), time.perf_counter() - began, tuple(points))


def recorded(asked: argparse.Namespace, given: str, seed: int, ends: float) -> tuple[str, list[Whole]]:
    """(task, whole trials) of one search: those kept from earlier runs, and new ones while there is time."""
    name, target = given.rsplit(":", 1)
    kept = Path(asked.keep) / f"{Path(name).name.split('.')[0]}-{seed}.jsonl"
    known = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    task = known[0]["task"] if known else ""
    trials = [Whole(row["params"], row["value"], row["seconds"], tuple(map(tuple, row["points"]))) for row in known]
    data = None if len(trials) >= asked.trials else matrix_of(Path(name), target, seed=seed)
    while data is not None and len(trials) < asked.trials and time.monotonic() < ends:
        task, spec = data.task, a_spec(data.task, "none", seed)
        facts = Facts(
            data.task, rows=int(data.where("train").sum()), features=data.x.shape[1], classes=len(data.classes)
        )
        params = suggest(spec, facts, number=len(trials), history=[], running=[])
        trials.append(fitted(data, params, seed=seed, threads=asked.threads))
        with kept.open("a") as file:
            file.write(json.dumps({"task": task, **vars(trials[-1])}) + "\n")
    return task, trials[: asked.trials]


def replayed(spec: JobSpec, trials: Sequence[Whole], *, minimize: bool) -> Replay:
    """Walks `trials` through the pruner of `spec`."""
    history: list[TrialResult] = []
    for number, whole in enumerate(trials):
        history.append(_walked(spec, number, whole, history, minimize=minimize))
    sign = 1.0 if minimize else -1.0
    best = min(sign * whole.value for whole in trials)
    left = min(sign * (trial.value or 0.0) for trial in history if trial.status == "complete")
    took, whole_seconds = sum(trial.duration_seconds or 0.0 for trial in history), sum(one.seconds for one in trials)
    pruned = sum(trial.status == "pruned" for trial in history)
    return Replay(1.0 - took / whole_seconds, pruned, left > best, left - best)


def _walked(spec: JobSpec, number: int, whole: Whole, history: Sequence[TrialResult], *, minimize: bool) -> TrialResult:
    ended = TrialResult(number, "complete", whole.params, whole.value, len(whole.points), {}, whole.seconds,
                        thinned(whole.points))  # fmt: skip
    pruning = Pruning(spec, history, params=whole.params, rises=not minimize)
    for place, (iteration, value) in enumerate(whole.points):
        if pruning.hopeless(iteration, value):
            share, seen = (place + 1) / len(whole.points), thinned(whole.points[: place + 1])
            return replace(ended, status="pruned", value=None, curve=seen, duration_seconds=share * whole.seconds)
    return ended


def rows(asked: argparse.Namespace) -> Iterator[tuple[str, str, list[Replay]]]:
    """(table, pruner, what it did to the search of each seed)."""
    ends = time.monotonic() + 60 * asked.minutes
    for given in asked.tables:
        searches = [recorded(asked, given, seed, ends) for seed in range(asked.seeds)]
        whole = [(task, trials) for task, trials in searches if len(trials) == asked.trials]
        for pruner in PRUNERS:
            yield (
                given.rsplit(":", 1)[0],
                pruner,
                [
                    replayed(a_spec(task, pruner, 0), trials, minimize=lower_is_better(DEFAULT_METRIC[task]))
                    for task, trials in whole
                ],
            )


def line(table: str, pruner: str, seen: Iterable[Replay]) -> str:
    """One row of the Markdown table."""
    found = list(seen)
    if not found:
        return f"| {table} | {pruner} | no whole search yet | | | |"
    saved = [replay.saved for replay in found]
    return (
        f"| {Path(table).name} | {pruner} | {sum(saved) / len(saved):.0%} ({min(saved):.0%} to {max(saved):.0%}) "
        f"| {sum(replay.pruned for replay in found)} | {sum(replay.lost for replay in found)} of {len(found)} "
        f"| {max(replay.regret for replay in found):.5g} |"
    )


def main() -> None:
    """Fits what is missing, replays, and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", metavar="FILE:TARGET")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--keep", help="a folder of earlier trials to go on from; without it, none are known")
    asked = parser.parse_args()
    print("| table | pruner | fitting saved, mean (least to most) | trials pruned | winners lost | worst regret |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as fresh:
        asked.keep = asked.keep or fresh
        for table, pruner, found in rows(asked):
            print(line(table, pruner, found), flush=True)


if __name__ == "__main__":
    main()

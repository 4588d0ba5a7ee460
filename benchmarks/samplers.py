"""Whether learning from trials pays: the best of 40 by TPE against the best of 40 at random, on the same rows.

    python -m benchmarks.samplers FILE:TARGET [FILE:TARGET ...] [--trials 40] [--seeds 5] [--keep FOLDER [--minutes 5]]

LightGBM over its default space, named by the spec so that no portfolio goes first; the value is the tuning metric on the
validation part. A fit is capped at `--rounds`. Trials stay in FOLDER: a run that ran out of its minutes goes on there.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.spec.job import JobSpec, parse_spec
from benchmarks.matrices import matrix_of
from workers.context import TrialResult
from workers.matrix.prepared import Prepared
from workers.measures.metrics import DEFAULT_METRIC, lower_is_better
from workers.measures.scoring import scores
from workers.search.facts import Facts
from workers.search.suggest import suggest
from workers.trainers import TRAINERS
from workers.trainers.contract import Company, Fold, Recipe

SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {"strategy": "random"}, "sobol": {"strategy": "random", "sampler": "sobol"}, "tpe": {"strategy": "bayesian"},
}  # fmt: skip


def a_spec(data: Prepared, sampler: str, seed: int) -> JobSpec:
    """A search of LightGBM's own space by that sampler."""
    own = TRAINERS["lightgbm"].space(data.task, int(data.where("train").sum()))
    return parse_spec({
        "model": "samplers", "task": {"target": "y", "type": data.task}, "reproducibility": {"seed": seed},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": "ds_00000000"}}},
        "tuning": {
            **SAMPLERS[sampler], "max_trials": 1_000,
            "space": {name: dimension.model_dump() for name, dimension in own.items()},
        },
    })  # fmt: skip


def value_of(data: Prepared, params: dict[str, Any], asked: argparse.Namespace, *, seed: int) -> float:
    """The tuning metric on the validation part after one fit."""
    metric, held = DEFAULT_METRIC[data.task], data.where("validation")
    recipe = Recipe(params=params, seed=seed, metric=metric, max_iterations=asked.rounds)
    found = TRAINERS["lightgbm"].fit(data, Fold.of_parts(data), recipe, Company(threads=asked.threads))
    return float(scores(data.task, data.y[held], found.predict(data.x[held]), names=[metric])[metric]["value"] or 0.0)


def searched(
    data: Prepared, sampler: str, seed: int, asked: argparse.Namespace, kept: Path, ends: float
) -> list[float]:
    """The values of the trials in order: those kept from earlier runs, and new ones while there is time."""
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    history = [TrialResult(place, "complete", row["params"], row["value"], None, {}) for place, row in enumerate(rows)]
    spec = a_spec(data, sampler, seed)
    facts = Facts(data.task, rows=int(data.where("train").sum()), features=data.x.shape[1], classes=len(data.classes))
    while len(history) < asked.trials and time.monotonic() < ends:
        params = suggest(spec, facts, number=len(history), history=history, running=[])
        value = value_of(data, params, asked, seed=seed)
        history.append(TrialResult(len(history), "complete", params, value, None, {}))
        with kept.open("a") as file:
            file.write(json.dumps({"params": params, "value": value}) + "\n")
    return [float(trial.value or 0.0) for trial in history[: asked.trials]]


def rows(asked: argparse.Namespace) -> Iterator[tuple[str, str, str, list[float]]]:
    """(table, metric, sampler, best value by seed) of the searches that are whole."""
    ends = time.monotonic() + 60 * asked.minutes
    for given in asked.tables:
        name, target = given.rsplit(":", 1)
        best: dict[str, list[float]] = {sampler: [] for sampler in asked.samplers}
        for seed in range(asked.seeds):
            data = matrix_of(Path(name), target, seed=seed)
            metric = DEFAULT_METRIC[data.task]
            for sampler in asked.samplers:
                kept = Path(asked.keep) / f"{Path(name).name.split('.')[0]}-{sampler}-{seed}.jsonl"
                values = searched(data, sampler, seed, asked, kept, ends)
                if len(values) == asked.trials:
                    best[sampler].append(min(values) if lower_is_better(metric) else max(values))
        yield from ((name, metric, sampler, found) for sampler, found in best.items())


def main() -> None:
    """Fits what is missing, and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", metavar="FILE:TARGET")
    parser.add_argument("--samplers", nargs="+", choices=list(SAMPLERS), default=["random", "tpe"])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--keep", help="a folder of earlier trials to go on from; without it, none are known")
    asked = parser.parse_args()
    print(f"| table | metric | sampler | best of {asked.trials}, mean over seeds | by seed |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as fresh:
        asked.keep = asked.keep or fresh
        for name, metric, sampler, found in rows(asked):
            mean = f"{statistics.mean(found):.6g}" if found else "no whole search yet"
            print(f"| {Path(name).name} | {metric} | {sampler} | {mean} | {', '.join(f'{one:.6g}' for one in found)} |")


if __name__ == "__main__":
    main()

"""What one suggestion costs: CPU milliseconds of an ask at 200 and at 500 ended trials, beside Optuna's own study.

    python -m benchmarks.asking [--asks 20]

Every ask sees one more row than the one before, all of them new objects, as a worker reads them from the database.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import optuna

from app.spec.job import JobSpec, parse_spec
from workers.context import TrialResult
from workers.search import study
from workers.search.auto import space_of_search
from workers.search.facts import Facts
from workers.search.suggest import suggest

FACTS = Facts("regression", rows=14_000, features=8)
SIZES = (200, 500)
FLAT = {"space": {
    "learning_rate": {"type": "float", "low": 0.03, "high": 0.2, "log": True},
    "num_leaves": {"type": "int", "low": 8, "high": 255, "log": True},
    "min_child_samples": {"type": "int", "low": 5, "high": 200, "log": True},
    "colsample_bytree": {"type": "float", "low": 0.3, "high": 1.0},
    "reg_alpha": {"type": "float", "low": 1e-3, "high": 10.0, "log": True},
    "reg_lambda": {"type": "float", "low": 1e-3, "high": 30.0, "log": True},
    "extra_trees": {"type": "categorical", "choices": [False, True]},
}}  # fmt: skip
"""The parameters of LightGBM's default space, without the portfolio that goes before it."""


def a_spec(**tuning: Any) -> JobSpec:
    """A regression job with that search."""
    return parse_spec({
        "model": "asking", "task": {"target": "y", "type": "regression"}, "tuning": {"max_trials": 1_000, **tuning},
        "data": {"sources": {"t": {"kind": "dataset", "dataset_id": "ds_00000000"}}},
    })  # fmt: skip


def a_history(spec: JobSpec, count: int) -> list[TrialResult]:
    """So many ended trials at the points that the search itself asks for, or at random ones once it learns."""
    found: list[TrialResult] = []
    random = np.random.default_rng(0)
    drawn = spec.model_copy(update={"tuning": spec.tuning.model_copy(update={"strategy": "random", "sampler": "auto"})})
    space = space_of_search(spec, FACTS)
    for number in range(count):
        asked = suggest(spec if number < 20 else drawn, FACTS, number=number, history=found, running=[])
        params = asked if space.holds(asked) else suggest(spec, FACTS, number=number, history=found, running=[])
        found.append(TrialResult(number, "complete", params, float(random.random()), 100, {}, 1.0))
    return found


def milliseconds(ask: Callable[[int], object], *, start: int, asks: int) -> float:
    """The median CPU time of `ask(number)` for so many numbers from `start` on."""
    took = []
    for number in range(start, start + asks):
        began = time.process_time()
        ask(number)
        took.append(time.process_time() - began)
    return 1e3 * statistics.median(took)


def ours(spec: JobSpec, history: list[TrialResult], size: int, asks: int, *, kept: bool) -> float:
    """Of `suggest`, with two trials running; with or without what it keeps from ask to ask."""
    rows = [[replace(trial) for trial in history[:number]] for number in range(size, size + asks + 1)]
    suggest(spec, FACTS, number=size, history=rows[0], running=[])

    def ask(number: int) -> None:
        if not kept:
            study._KEPT.clear()  # noqa: SLF001  # what is measured is life without it
        running = [history[0].params, history[1].params]
        suggest(spec, FACTS, number=number, history=rows[number - size], running=running)

    return milliseconds(ask, start=size, asks=asks)


def optunas(history: list[TrialResult], spec: JobSpec, size: int, asks: int) -> float:
    """Of Optuna's own study in memory over the same points, its defaults, told each trial that it asked for."""
    axes = space_of_search(spec, FACTS).branches[0].axes
    found = {axis.name: axis.distribution for axis in axes}
    own = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    for trial in history[:size]:
        own.add_trial(optuna.create_trial(value=trial.value, params=dict(trial.params), distributions=found))
    return milliseconds(lambda _number: own.tell(own.ask(found), 0.5), start=size, asks=asks)


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--asks", type=int, default=20)
    asks = parser.parse_args().asks
    searches = {
        "random": a_spec(strategy="random"), "random, sobol": a_spec(strategy="random", sampler="sobol"),
        "bayesian, 7 parameters": a_spec(strategy="bayesian", **FLAT), "auto, all algorithms": a_spec(),
    }  # fmt: skip
    print("| CPU ms of one ask, median | " + " | ".join(f"at {size} trials" for size in SIZES) + " |\n|---|---|---|")
    for name, spec in searches.items():
        history = a_history(spec, SIZES[-1] + asks + 1)
        for kept in (True, False):
            cells = [f"{ours(spec, history, size, asks, kept=kept):.2f}" for size in SIZES]
            print(f"| {name}{'' if kept else ', nothing kept'} | {' | '.join(cells)} |", flush=True)
        if "space" in FLAT and name.startswith("bayesian"):
            cells = [f"{optunas(history, spec, size, asks):.2f}" for size in SIZES]
            print(f"| the same by Optuna's own study | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

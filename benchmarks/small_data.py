"""Cross-validated search beside a single validation part, on tables too small to choose by the latter.

For each table and each of `--seeds` seeds, which divide the rows anew, the stages run twice as a worker runs them, with
`--trials` trials one after another: with `tuning.folds` 0, and with `auto`. Told are the mean of the test metric and its
standard deviation over the seeds, how far what was promised before the test (`value`) was from it, and the share of
seeds in which folds were the better or equal. Nothing goes over HTTP; one thread.

    python -m benchmarks.small_data credit_g.csv:class titanic.csv:survived iris.csv:species

A table is a CSV file and the name of its target.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from tests.learning import chain, make_context
from workers.context import Blob, Context, TrialResult
from workers.fitting.trials import run_trial
from workers.measures.metrics import lower_is_better
from workers.search.facts import facts_of
from workers.search.suggest import suggest
from workers.stages import evaluate, ingest, split, train, transform, tune, validate

WAYS: tuple[Any, ...] = (0, "auto")
PREPARING = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
    ("train", train.run),
)  # fmt: skip


def run(table: pa.Table, target: str, *, folds: Any, seed: int, trials: int) -> dict[str, Any]:
    """One job from ingest to evaluate."""
    spec = {
        "task": {"target": target}, "split": {"seed": seed}, "reproducibility": {"seed": seed},
        "tuning": {"max_trials": trials, "folds": folds}, "validation": {"leakage": {"action": "ignore"}},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        ctx = make_context(Path(folder), spec, table=table, seed=seed)
        ctx = chain(ctx, *PREPARING)[0]
        ctx = searched(ctx, trials)
        ctx, _ = chain(ctx, ("tune", tune.run), ("evaluate", evaluate.run))
        chosen = ctx.outputs["tune"]
        metric = chosen["metric"]
        return {
            "folds": chosen["folds"], "metric": metric, "promised": chosen["value"],
            "test": ctx.outputs["evaluate"]["metrics"][metric]["value"], "members": len(chosen["members"]),
            "algorithms": sorted({member["algorithm"] for member in chosen["members"]}),
            "seconds": round(time.monotonic() - began, 2),
        }  # fmt: skip


def searched(ctx: Context, trials: int) -> Context:
    """`ctx` after its trials, run one after another."""
    facts, history = facts_of(ctx.outputs), []
    for number in range(trials):
        params = suggest(ctx.spec, facts, number=number, history=history, running=[])
        history.append(_fitted(ctx, number, params, history))
    return replace(ctx, trials=tuple(history), search={"ended": True, "ended_by": "max_trials"})


def _fitted(ctx: Context, number: int, params: dict[str, Any], history: list[TrialResult]) -> TrialResult:
    began = time.monotonic()
    fit = run_trial(ctx, params=params, history=history)
    seconds = time.monotonic() - began
    model, predictions = (_kept(ctx, path) for path in (fit.model_path, fit.predictions_path))
    status = "pruned" if fit.pruned else "complete"
    return TrialResult(
        number,
        status,
        params,
        fit.value,
        fit.iterations,
        fit.metrics,
        seconds,
        fit.curve,
        model,
        predictions,
        fit.facts,
    )


def _kept(ctx: Context, path: Path | None) -> Blob | None:
    return None if path is None else ctx.workspace.keep(path)  # type: ignore[attr-defined]


def told(name: str, found: dict[Any, list[dict[str, Any]]]) -> list[str]:
    """Rows of the table of results, one for each way."""
    lines = []
    sign = 1 if lower_is_better(found[0][0]["metric"]) else -1
    single, folded = ([each["test"] for each in found[way]] for way in WAYS)
    no_worse = np.mean([sign * b <= sign * a for a, b in zip(single, folded, strict=True)])
    for way in WAYS:
        tests = [each["test"] for each in found[way]]
        off = statistics.mean(abs(each["promised"] - each["test"]) for each in found[way])
        spread = statistics.stdev(tests) if len(tests) > 1 else 0.0
        share = f"{no_worse:.0%}" if way == "auto" else ""
        seconds = statistics.median(each["seconds"] for each in found[way])
        lines.append(
            f"| {name} | {found[way][0]['metric']} | {found[way][0]['folds']} | {statistics.mean(tests):.4f} "
            f"| {spread:.4f} | {off:.4f} | {share} | {seconds:.1f} |"
        )
    return lines


def main() -> None:
    """Reads the tables, runs all jobs and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", help="FILE.csv:TARGET")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--lines", type=Path, help="a file for one JSON line a job")
    asked = parser.parse_args()
    print("| table | metric | folds | mean test | its spread | off by | no worse | seconds a job |")
    print("|---|---|---|---|---|---|---|---|")
    for given in asked.tables:
        path, _, target = given.rpartition(":")
        table = pa_csv.read_csv(path)
        found: dict[Any, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for seed in range(asked.seeds):
            for way in WAYS:
                found[way].append(run(table, target, folds=way, seed=seed, trials=asked.trials))
                if asked.lines is not None:
                    with asked.lines.open("a") as file:
                        file.write(
                            json.dumps({"table": Path(path).stem, "seed": seed, "way": way, **found[way][-1]}) + "\n"
                        )
            print(f"{Path(path).stem}: seed {seed}", file=sys.stderr)
        print("\n".join(told(Path(path).stem, found)), flush=True)


if __name__ == "__main__":
    main()

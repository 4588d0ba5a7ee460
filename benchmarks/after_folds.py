"""What should answer after a search over folds: a refit on all rows, the models of the folds, or both together.

For each table and seed, which divides the rows anew, LightGBM with its default parameters is fitted over five folds of
the train and validation rows, and again on all of them, with the rounds at which the mean over folds was best
(`refit`) or with the mean of each fold's best (`mean rounds`); `folds` is the mean of the folds' models, `both` that of
these and the refit with equal weights, `single` the usual fit that the validation part stops. Told are the mean of the
test metric over seeds and its standard deviation. One thread.

    python -m benchmarks.after_folds credit_g.csv:class titanic.csv:survived iris.csv:species

A table is a CSV file and the name of its target.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from tests.learning import chain, make_context
from workers.context import Context
from workers.fitting.candidates import Candidate, recipe_of
from workers.fitting.folds import divided
from workers.fitting.following import Recorder, best_together
from workers.fitting.refit import everything
from workers.fitting.rows import matrix_of, metric_for
from workers.matrix.prepared import Prepared
from workers.measures.samples import Floats
from workers.measures.scoring import scores
from workers.stages import ingest, split, transform, validate
from workers.threads import limited
from workers.trainers import TRAINERS, Fitted
from workers.trainers.contract import Company, Fold

FOLDS = 5
MOST_ROUNDS = 2_000
CANDIDATE = Candidate("lightgbm", {})
PREPARING = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
)  # fmt: skip


def compared(table: pa.Table, target: str, *, seed: int) -> tuple[str, dict[str, float]]:
    """(the metric, its test value by way) for one division of the rows."""
    spec = {"task": {"target": target}, "split": {"seed": seed}, "validation": {"leakage": {"action": "ignore"}}}
    with tempfile.TemporaryDirectory() as folder, limited(1):
        ctx = chain(make_context(Path(folder), spec, table=table, seed=seed), *PREPARING)[0]
        data = matrix_of(ctx)
        metric, test = metric_for(ctx, data.task), data.where("test")
        found = {
            way: scores(data.task, data.y[test], answer, names=[metric])[metric]["value"]
            for way, answer in answers(ctx, data, data.x[test], seed=seed).items()
        }
        return metric, found


def answers(ctx: Context, data: Prepared, x: Floats, *, seed: int) -> dict[str, Floats]:
    """What each way predicts for `x`."""
    records, models = [], []
    for fold in divided(data, FOLDS, seed=seed):
        records.append(Recorder(ctx, rounds=MOST_ROUNDS))
        models.append(_fitted(ctx, data, fold, rounds=MOST_ROUNDS, record=records[-1]))
    best = [model.iterations for model in models]
    refit, usual = (
        _fitted(ctx, data, everything(data), rounds=rounds).predict(x)
        for rounds in (best_together(records, best), round(statistics.mean(best)))
    )
    folds = [model.predict(x) for model in models]
    return {
        "single": _fitted(ctx, data, Fold.of_parts(data), rounds=MOST_ROUNDS).predict(x), "mean rounds": usual,
        "refit": refit, "folds": np.mean(folds, axis=0), "both": np.mean([*folds, refit], axis=0),
    }  # fmt: skip


def _fitted(ctx: Context, data: Prepared, fold: Fold, *, rounds: int, record: Recorder | None = None) -> Fitted:
    recipe = recipe_of(ctx, data, CANDIDATE, rounds=rounds, stopping=fold.validation is not None)
    trainer, company = TRAINERS[CANDIDATE.algorithm], Company()
    if record is not None:
        record.rises, company = trainer.rises(data, fold, recipe), Company(on_iteration=record)
    return trainer.fit(data, fold, recipe, company)


def main() -> None:
    """Reads the tables, fits all and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", help="FILE.csv:TARGET")
    parser.add_argument("--seeds", type=int, default=20)
    asked = parser.parse_args()
    print("| table | metric | single | mean rounds | refit | folds | both |\n|---|---|---|---|---|---|---|")
    for given in asked.tables:
        path, _, target = given.rpartition(":")
        table, found, metric = pa_csv.read_csv(path), defaultdict(list), ""
        for seed in range(asked.seeds):
            metric, values = compared(table, target, seed=seed)
            for way, value in values.items():
                found[way].append(value)
        cells = [f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in found.values()]
        print(f"| {Path(path).stem} | {metric} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

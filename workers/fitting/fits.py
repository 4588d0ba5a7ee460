"""A candidate fitted and scored: on the train and validation parts, or over folds of both."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median, pstdev
from threading import Lock
from typing import Any

import numpy as np

from app.errors import InvalidData
from trainhouse_loader.models import ensemble
from trainhouse_loader.models.ensemble import Ensemble, Packed
from trainhouse_loader.models.fitted import Indices
from workers.context import Context
from workers.fitting import folds as folding
from workers.fitting.candidates import Candidate, company_of, most_rounds, recipe_of
from workers.fitting.following import Curve, Recorder, best_together, thinned, together
from workers.fitting.rows import check, matrix_of, measured, metric_for, scored_rows
from workers.matrix.prepared import Prepared
from workers.measures.samples import Floats
from workers.measures.scoring import scores
from workers.search.pruning import Pruning
from workers.threads import limited
from workers.trainers import TRAINERS, Fitted
from workers.trainers.contract import Fold, fold_weights

_TURN = Lock()
"""Trials of one process fit one after another, whatever else they do at a time: the process holds cores for one."""
WAIT_SECONDS = 0.5
SINGLE_ROWS = 9
"""Rows that are predicted one by one, after a first one, to say how long one takes."""


@dataclass(frozen=True)
class Scored:
    """What a candidate was worth.

    Attributes:
        candidate: What was fitted.
        models: The model, or those of the folds, which answer together.
        metric: What the search optimises.
        value: Its value on the scored rows; None where it has none.
        metrics: All metrics on those rows, by name.
        predictions: (scored rows, …) what models that had not learned from a row predict for it, in row order.
        iterations: That the model holds; over folds, those at which the mean over folds was best.
        curve: See `Recorder.curve`.
        rounds: The most that a fit was given.
        bounded: Whether that was fewer than the spec asks for.
        timed_out: Whether a fit was ended by its deadline.
        facts: What else is known, as JSON: `threads`, `timed_out`, `fit_seconds`, those of the trainer alone, `ran`, the
            iterations of all fits; over folds `folds`, the values of the metric on
            each, and `spread`, their standard deviation; `predict_ms` where a constraint asks for it.
    """

    candidate: Candidate
    models: tuple[Fitted, ...]
    metric: str
    value: float | None
    metrics: Mapping[str, Mapping[str, Any]]
    predictions: Floats
    iterations: int
    curve: Curve
    rounds: int
    bounded: bool
    timed_out: bool
    facts: Mapping[str, Any] = field(default_factory=dict)


def fit_and_score(
    ctx: Context, candidate: Candidate, *, folds: int, ends: Callable[[], float], pruning: Pruning | None = None
) -> Scored:
    """Fits `candidate` and scores it on the validation rows, or over `folds` folds of the train and validation rows.

    Over folds the metrics are those of all out-of-fold predictions together, the measure that ensembles are chosen by
    too; nothing is pruned there.

    Args:
        ends: Asked when it is this candidate's turn to be fitted, for it may have had to wait: when its fits are to end.

    Raises:
        InvalidData: there are no train or validation rows, or only one class to learn.
        InvalidSpec: the parameters do not go together.
        MachineError: the library failed.
        Pruned: `pruning` gave the fit up.
        Cancelled, LeaseLost: whatever `ctx.progress` raises.
    """
    data = matrix_of(ctx)
    check(ctx.spec, data)
    rounds = most_rounds(ctx, data, candidate.algorithm)
    if folds:
        return _over_folds(ctx, data, candidate, folds=folds, rounds=rounds, ends=ends)
    record = Recorder(ctx, rounds=rounds, pruning=pruning)
    with _turn(ctx):
        fitted = _fit(ctx, data, candidate, Fold.of_parts(data), record, deadline=ends(), key="fit")
    rows = scored_rows(data, 0)
    predictions = fitted.predict(data.x[rows])
    facts = _costs(ctx, data, rows, candidate, [fitted])
    return _scored(ctx, data, candidate, predictions, [fitted], records=[record], facts=facts)


@contextmanager
def _turn(ctx: Context) -> Iterator[None]:
    """This process's turn to fit; who waits for it goes on hearing whether to stop."""
    while not _TURN.acquire(timeout=WAIT_SECONDS):
        ctx.progress(0, 1)
    try:
        with limited(ctx.threads):
            yield
    finally:
        _TURN.release()


def _fit(
    ctx: Context, data: Prepared, candidate: Candidate, fold: Fold, record: Recorder, *, deadline: float, key: str
) -> Fitted:
    recipe, trainer = recipe_of(ctx, data, candidate, rounds=record.rounds), TRAINERS[candidate.algorithm]
    record.rises = trainer.rises(data, fold, recipe)
    fitted = trainer.fit(data, fold, recipe, company_of(ctx, deadline=deadline, key=key, record=record))
    record.seconds = record.spent()
    return fitted


def _over_folds(
    ctx: Context, data: Prepared, candidate: Candidate, *, folds: int, rounds: int, ends: Callable[[], float]
) -> Scored:
    rows = scored_rows(data, folds)
    shape = (len(data.y), len(data.classes)) if data.classes else (len(data.y),)
    predictions = np.full(shape, np.nan)
    records, models = [], []
    values: list[float | None] = []
    with _turn(ctx):
        deadline = ends()
        for number, fold in enumerate(folding.divided(data, folds, seed=ctx.seed)):
            _require_classes(data, fold.train)
            record = Recorder(ctx, rounds=rounds, place=(number, folds))
            now = time.monotonic()
            own = now + (deadline - now) / (folds - number)
            model = _fit(ctx, data, candidate, fold, record, deadline=own, key=f"fit-{number}")
            held = folding.held(fold)
            predictions[held] = model.predict(data.x[held])
            values.append(value_on(ctx, data, held, predictions[held]))
            records.append(record)
            models.append(model)
    facts = {**over(values), **_costs(ctx, data, rows, candidate, models)}
    return _scored(ctx, data, candidate, predictions[rows], models, records=records, facts=facts)


def _require_classes(data: Prepared, rows: Indices) -> None:
    if data.classes and len(np.unique(data.y[rows])) < 2:
        raise InvalidData("A fold leaves one class only to learn from.", code="one_class",
                          hint="Set tuning.folds to 0, or bring more rows.")  # fmt: skip


def value_on(ctx: Context, data: Prepared, rows: Indices, predictions: Floats) -> float | None:
    """The tuning metric of `predictions` for `rows`; None where it has no value."""
    name = metric_for(ctx, data.task)
    found = scores(
        data.task, data.y[rows], predictions, names=[name], quantile=ctx.spec.training.quantile,
        weights=fold_weights(data, rows),
    )  # fmt: skip
    value: float | None = found[name]["value"]
    return value


def over(values: list[float | None]) -> dict[str, Any]:
    """`folds`, the values of each, and `spread`, their standard deviation, None where fewer than two have a value."""
    known = [value for value in values if value is not None]
    return {"folds": values, "spread": pstdev(known) if len(known) > 1 else None}


def _costs(
    ctx: Context, data: Prepared, rows: Indices, candidate: Candidate, models: Sequence[Fitted]
) -> dict[str, float]:
    """What constraints ask for: `model_bytes` of all models together, and `predict_ms` of all one after another."""
    asked, found = ctx.spec.tuning.constraints, {}
    if asked.max_model_bytes is not None:
        found["model_bytes"] = float(size_of(packed_all(candidate, models)))
    if asked.max_predict_ms is not None:
        found["predict_ms"] = predict_ms(data, rows, models)
    return found


def packed_all(candidate: Candidate, models: Sequence[Fitted]) -> list[Packed]:
    """`models` of `candidate` as members of equal weight."""
    share = 1.0 / len(models)
    return [ensemble.packed(candidate.algorithm, candidate.params, model, weight=share) for model in models]


def size_of(members: Sequence[Packed]) -> int:
    """Bytes of the members' models."""
    return sum(len(member.content) for member in members)


def predict_ms(data: Prepared, rows: Indices, models: Sequence[Fitted | Ensemble]) -> float:
    """Milliseconds to predict one row, the median of several of `rows`."""
    taken = []
    for row in np.resize(rows, SINGLE_ROWS + 1):
        began = time.perf_counter()
        for model in models:
            model.predict(data.x[row : row + 1])
        taken.append(1_000 * (time.perf_counter() - began))
    return round(median(taken[1:]), 4)


def _scored(
    ctx: Context,
    data: Prepared,
    candidate: Candidate,
    predictions: Floats,
    models: list[Fitted],
    *,
    records: list[Recorder],
    facts: Mapping[str, Any],
) -> Scored:
    data.let_go()
    metric = metric_for(ctx, data.task)
    metrics = measured(ctx, data, scored_rows(data, len(models) if len(models) > 1 else 0), predictions)
    timed_out, rounds = any(model.timed_out for model in models), records[0].rounds
    return Scored(
        candidate=candidate, models=tuple(models), metric=metric, value=metrics[metric]["value"], metrics=metrics,
        predictions=predictions, iterations=best_together(records, [model.iterations for model in models]),
        curve=thinned(together(records)), rounds=rounds, bounded=rounds < ctx.spec.training.max_iterations, timed_out=timed_out,
        facts={
            "threads": ctx.threads, "timed_out": timed_out, "ran": sum(record.reached for record in records),
            "fit_seconds": round(sum(record.seconds for record in records), 6), **facts,
        },
    )  # fmt: skip

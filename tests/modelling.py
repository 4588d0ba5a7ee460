"""Matrices made by hand and a context that holds one, for tests of everything between transform and register."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.learning import make_context
from trainhouse_loader.terms import TaskType
from workers.context import Blob, Context, FanOut, TrialResult
from workers.fitting.trials import run_trial
from workers.matrix import prepared
from workers.matrix.prepared import Prepared
from workers.search.facts import facts_of
from workers.search.suggest import suggest
from workers.stages import train

CLASSES: dict[str, tuple[str, ...]] = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "regression": ()}


def matrix(task: TaskType, *, rows: int = 600, seed: int = 0, **changes: Any) -> Prepared:
    """Six features, two of which say something about the target, in parts of about 70/15/15."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 6))
    signal = 2 * x[:, 0] - x[:, 1] + random.normal(size=rows)
    classes = CLASSES[task]
    cuts = np.quantile(signal, np.arange(1, len(classes)) / max(1, len(classes)))
    made = Prepared(
        x=x, y=np.digitize(signal, cuts).astype(float) if classes else signal, weight=None,
        part=random.choice([0, 1, 2], size=rows, p=[0.7, 0.15, 0.15]).astype(np.int8), row=np.arange(rows),
        feature_names=("plain", 'with "quotes"', "[a]{b}:,", "élan", "tab\there", "f0"), categorical=(), task=task,
        classes=classes,
    )  # fmt: skip
    return replace(made, **changes)


def context(tmp_path: Path, data: Prepared, spec: Mapping[str, Any] | None = None, **given: Any) -> Context:
    """A context whose transform stage has ended with `data`."""
    ctx = make_context(tmp_path, {"task": {"target": "y", "type": data.task}, **(spec or {})}, table=b"a\n1\n", **given)
    path = tmp_path / "matrix.npz"
    prepared.save(data, path)
    ctx.workspace.put("matrix", path)
    return replace(ctx, outputs={"validate": {"task_type": data.task, "classes": list(data.classes), "features": {}}})


def after(ctx: Context, **outputs: Mapping[str, Any]) -> Context:
    """`ctx` with further stages' outputs."""
    return replace(ctx, outputs={**ctx.outputs, **outputs})


def trained(ctx: Context) -> Context:
    """`ctx` after its train stage."""
    return after(ctx, train=train.run(ctx).output)


def searched(ctx: Context, fan: FanOut) -> Context:
    """`ctx` after all trials of `fan`, run one after another."""
    history: list[TrialResult] = []
    for number in range(fan.trials):
        params = suggest(ctx.spec, facts_of(ctx.outputs), number=number, history=history, running=[])
        history.append(result(ctx, number, params, history))
    return replace(ctx, trials=tuple(history))


def result(ctx: Context, number: int, params: Mapping[str, Any], history: Sequence[TrialResult]) -> TrialResult:
    """One trial, fitted and remembered as the engine would."""
    fit = run_trial(ctx, params=params, history=history)
    model, predictions = (kept(ctx, path) for path in (fit.model_path, fit.predictions_path))
    status = "pruned" if fit.pruned else "complete"
    return TrialResult(
        number, status, params, fit.value, fit.iterations, fit.metrics, 0.01, fit.curve, model, predictions, fit.facts
    )


def kept(ctx: Context, path: Path | None) -> Blob | None:
    """The blob of `path`, where there is one."""
    return None if path is None else ctx.workspace.keep(path)  # type: ignore[attr-defined]

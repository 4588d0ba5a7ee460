"""Training a version again from its pinned rows and its spec, and saying where the two first differ."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from app.errors import DigestMismatch, StoreUnavailable
from app.states import REPRODUCE_STAGES
from workers.bundles.card import library_versions
from workers.context import Blob, Context, Done, Original, Warned
from workers.reuse import code_digest
from workers.table import snapshot

TOLERANCE = 1e-6
"""Predictions that differ by no more, relative beyond 1, are the same but for the last bits of other arithmetic."""
SAID = {
    "ingest": ("rows", "columns", "data_digest"), "validate": ("task_type", "classes", "features", "readings", "rows"),
    "split": ("rows",), "train": ("algorithm", "params", "iterations", "value", "folds"), "tune": ("source", "number", "params", "iterations", "value"),
    "evaluate": ("metrics",),
}  # fmt: skip
"""By stage, what of its output must be the same."""
MADE = {
    "ingest": ("snapshot",), "validate": ("kept",), "split": ("split",), "transform": ("matrix", "encoder"),
    "train": ("model_train",), "tune": ("model",), "evaluate": ("predictions_test",),
}  # fmt: skip
"""By stage, the artifacts that must have the same bytes; others say how long something took."""


def original_of(ctx: Context) -> Original:
    """The version that the job trains again."""
    if ctx.original is None:
        raise TypeError("only a job of the kind reproduce has an original")
    return ctx.original


def adopt(ctx: Context) -> Done:
    """Ingest of a reproduction: the pinned rows, their digest taken anew.

    Raises:
        StoreUnavailable: the store does not answer, or the rows are gone.
        DigestMismatch: their bytes are not those that were pinned.
    """
    original = original_of(ctx)
    for name, blob in original.artifacts["ingest"].items():
        ctx.workspace.put(name, ctx.workspace.fetch(blob), blob.media_type)
    table = snapshot.read(ctx.workspace.get("snapshot"))
    said = {"rows": table.num_rows, "columns": table.num_columns, "data_digest": snapshot.data_digest(table)}
    return Done(summary={**said, "pinned_by": original.job_id}, output=said, facts={"data_digest": said["data_digest"]})


def compare(ctx: Context) -> Done:
    """The verdict: `identical`, `within_tolerance` or `diverged`, with the first stage that differs and in what.

    Fact `reproduction`: `{version, verdict, first_difference, stages, predictions, libraries, code_changed}`.
    """
    original = original_of(ctx)
    stages = [_stage(ctx, original, name) for name in REPRODUCE_STAGES[:-1]]
    first = next((each for each in stages if not each["same"]), None)
    predictions = _predictions(ctx, original)
    close = predictions["largest_difference"] is not None and predictions["largest_difference"] <= TOLERANCE
    verdict = "identical" if first is None else "within_tolerance" if close else "diverged"
    libraries = _changed(original.libraries, _installed(original))
    found = {
        "version": original.version, "job_id": original.job_id, "verdict": verdict,
        "first_difference": None if first is None else {"stage": first["stage"], **first["differs"][0]},
        "stages": stages, "predictions": predictions, "libraries_changed": libraries,
        "code_changed": None if original.code is None else original.code != code_digest(),
    }  # fmt: skip
    return Done(
        summary={"verdict": verdict, "first_difference": first["stage"] if first else None}, output={"verdict": verdict},
        facts={"reproduction": found}, warnings=tuple(_warnings(ctx, found)),
    )  # fmt: skip


def _stage(ctx: Context, original: Original, stage: str) -> dict[str, Any]:
    """`{stage, same, differs}`: each thing of the stage that is not as it was, with both values."""
    differs = [*_differing_output(ctx, original, stage), *_differing_artifacts(ctx, original, stage)]
    return {"stage": stage, "same": not differs, "differs": differs[:20]}


def _differing_output(ctx: Context, original: Original, stage: str) -> Iterator[dict[str, Any]]:
    before, now = original.outputs.get(stage, {}), ctx.outputs.get(stage, {})
    for name in SAID.get(stage, ()):
        yield from _differences(name, before.get(name), now.get(name))


def _differences(name: str, before: Any, now: Any) -> Iterator[dict[str, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            yield from _differences(f"{name}.{key}", before.get(key), now.get(key))
    elif _plain(before) != _plain(now):
        yield {"what": name, "original": before, "found": now}


def _plain(value: Any) -> Any:
    """`value` as rows keep it: they know no tuples."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _differing_artifacts(ctx: Context, original: Original, stage: str) -> Iterator[dict[str, Any]]:
    before = original.artifacts.get(stage, {})
    for name in MADE.get(stage, ()):
        if name in before and before[name].digest != ctx.workspace.digest(name):
            yield {"what": name, "original": before[name].digest, "found": ctx.workspace.digest(name)}


def _predictions(ctx: Context, original: Original) -> dict[str, Any]:
    """How far the predictions of the test rows are apart: the largest difference, or why they cannot be compared."""
    blob: Blob | None = original.artifacts.get("evaluate", {}).get("predictions_test")
    if blob is None:
        return {"largest_difference": None, "reason": "the original's predictions are gone"}
    try:
        before = pq.read_table(ctx.workspace.fetch(blob), use_threads=False)
    except (StoreUnavailable, DigestMismatch):
        return {"largest_difference": None, "reason": "the original's predictions cannot be read"}
    now = pq.read_table(ctx.workspace.get("predictions_test"), use_threads=False)
    if before.column_names != now.column_names or not before.column("row").equals(now.column("row")):
        return {"largest_difference": None, "reason": "other rows, or other classes, are predicted"}
    numbers = [name for name in now.column_names if name.startswith("probability:")] or ["prediction"]
    worst = 0.0
    for name in numbers:
        one, two = (np.asarray(table.column(name).to_numpy(), dtype=np.float64) for table in (before, now))
        worst = max(worst, float((np.abs(one - two) / np.maximum(1.0, np.abs(one))).max(initial=0.0)))
    return {"largest_difference": worst, "rows": now.num_rows}


def _installed(original: Original) -> dict[str, str]:
    members = original.outputs.get("tune", {}).get("members") or [original.outputs["train"]]
    trained = {str(member["algorithm"]) for member in members}
    exports = ("onnx",) if "onnx" in original.libraries else ()
    return library_versions(trained, derived="duckdb" in original.libraries, exports=exports)


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, list[str | None]]:
    """By library whose version changed, the version then and now."""
    names = sorted(name for name in before if before[name] != now.get(name))
    return {name: [before[name], now.get(name)] for name in names}


def _warnings(ctx: Context, found: Mapping[str, Any]) -> Iterator[Warned]:
    if ctx.spec.reproducibility.mode != "deterministic" and found["verdict"] != "identical":
        yield Warned(
            "not_deterministic",
            "The version was trained in the mode fast, in which fits need not repeat.",
            hint="Set reproducibility.mode to deterministic, and budget the search in trials.",
        )
    if found["libraries_changed"]:
        yield Warned(
            "libraries_changed", f"Other versions are installed now of {', '.join(found['libraries_changed'])}."
        )

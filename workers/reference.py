"""The profile that today's data is compared with."""

import json
from typing import Any

from app.spec.data import DatasetSource
from workers import profile
from workers.context import Context, Warned
from workers.sources import dataset


def reference_profile(ctx: Context) -> tuple[dict[str, Any] | None, list[Warned]]:
    """(profile, warnings): that of the champion, of a version, or of a data set; None where there is none."""
    wanted = ctx.spec.validation.drift.reference
    if wanted == "none" or (wanted == "champion" and ctx.champion is None):
        return None, []
    kind, _, name = wanted.partition(":")
    if kind == "dataset":
        return _of_dataset(ctx, name)
    champion = ctx.champion
    if champion is None or "profile" not in champion.artifacts or (kind == "version" and str(champion.version) != name):
        return None, [Warned("no_drift_reference", f"There is no profile of {wanted} to compare with.")]
    found: dict[str, Any] = json.loads(ctx.workspace.fetch(champion.artifacts["profile"]).read_bytes())
    return found, []


def _of_dataset(ctx: Context, dataset_id: str) -> tuple[dict[str, Any] | None, list[Warned]]:
    if dataset_id not in ctx.datasets:
        return None, [Warned("no_drift_reference", f"There is no data set {dataset_id} to compare with.")]
    result = dataset.read(DatasetSource(kind="dataset", dataset_id=dataset_id), ctx)
    return profile.profile(result.table, ctx.spec.data.features.types), []

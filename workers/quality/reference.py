"""What today's data is compared with: the profile of an earlier table, and a sample of its rows where these are kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import bounded
from app.spec.data import DatasetSource
from trainhouse_loader.reading import coerce
from workers.context import Champion, Context
from workers.quality import profile
from workers.quality.findings import Finding
from workers.sources import dataset
from workers.table import columns, snapshot, targets

Rows = npt.NDArray[np.int64]
POINTER = "/validation/drift/reference"


@dataclass(frozen=True)
class Reference:
    """An earlier table.

    Attributes:
        name: As the spec names it.
        profile: Made by `profile.profile`.
        sample: (columns, most rows, rng) to a random sample of the rows; None where they are gone.
    """

    name: str
    profile: dict[str, Any]
    sample: Callable[[Sequence[str], int, np.random.Generator], pa.Table] | None


def find(
    ctx: Context, types: Mapping[str, str], readings: Mapping[str, Mapping[str, Any]]
) -> tuple[Reference | None, list[Finding]]:
    """(the reference, findings): a champion, a version, or a data set; None where there is none.

    A data set is looked at as today's table is: by the `types` and the `readings` of its features.
    """
    wanted = ctx.spec.validation.drift.reference
    kind, _, name = wanted.partition(":")
    if kind == "none":
        return None, []
    if kind == "dataset":
        return _of_dataset(ctx, name, types, readings)
    version = ctx.reference or ctx.champion
    if version is None and kind == "champion":
        return None, []
    if version is None or (kind == "version" and str(version.version) != name):
        return None, [_lacking(wanted, f"There is no {wanted.replace(':', ' ')} of this model to compare with.")]
    return _of_version(ctx, version, wanted)


def _of_version(ctx: Context, version: Champion, wanted: str) -> tuple[Reference | None, list[Finding]]:
    """The table that a registered version learned from."""
    if "profile" not in version.artifacts:
        return None, [_lacking(wanted, f"The profile of version {version.version} is not kept any more.")]
    described = json.loads(ctx.workspace.fetch(version.artifacts["profile"]).read_bytes())
    if described.get("version") != profile.VERSION:
        return None, [_lacking(wanted, f"The profile of version {version.version} was made by an earlier release.")]
    if not described["rows"]:
        return None, [_lacking(wanted, f"Version {version.version} has no rows to compare with.")]
    rows = {"snapshot", "kept"} <= version.artifacts.keys()

    def sample(names: Sequence[str], most: int, rng: np.random.Generator) -> pa.Table:
        kept = pq.read_table(ctx.workspace.fetch(version.artifacts["kept"])).column("row").to_numpy()
        path = ctx.workspace.fetch(version.artifacts["snapshot"])
        return snapshot.taken(path, names, kept[some(len(kept), most, rng)])

    return Reference(wanted, described, sample if rows else None), []


def _of_dataset(
    ctx: Context, dataset_id: str, types: Mapping[str, str], readings: Mapping[str, Mapping[str, Any]]
) -> tuple[Reference | None, list[Finding]]:
    """An uploaded table; rows without a target are left out, as they are today."""
    wanted = f"dataset:{dataset_id}"
    if dataset_id not in ctx.datasets:
        return None, [_lacking(wanted, f"There is no data set {dataset_id} to compare with.")]
    table = dataset.read(DatasetSource(kind="dataset", dataset_id=dataset_id), ctx).table
    target = ctx.spec.task.target
    if target in table.column_names:
        table = snapshot.rows(table, np.flatnonzero(targets.known(table.column(target))).astype(np.int64))
    if not table.num_rows:
        return None, [_lacking(wanted, f"The data set {dataset_id} has no rows to compare with.")]

    def sample(names: Sequence[str], most: int, rng: np.random.Generator) -> pa.Table:
        return table.select(list(names)).take(pa.array(some(table.num_rows, most, rng)))

    described = profile.profile(coerce.read_table(table, readings), types)
    others = columns.not_features(ctx.spec)
    for name, one in described["columns"].items():
        one["feature"] = name not in others
    return Reference(wanted, described, sample), []


def some(rows: int, most: int, rng: np.random.Generator) -> Rows:
    """At most `most` of `rows` positions, by chance, ascending."""
    return np.arange(rows) if rows <= most else np.sort(rng.choice(rows, most, replace=False))


def _lacking(wanted: str, why: str) -> Finding:
    return Finding("warn", "no_drift_reference", f"{bounded(why)} Drift was not judged.", pointer=POINTER,
                   hint=f"validation.drift.reference is {bounded(wanted)}; name another, or none.")  # fmt: skip

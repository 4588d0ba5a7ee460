"""What a stage did, as one key: equal keys mean the same work on the same data, which need not be done again.

The key is made of the stage's name, the digest of the code and of the libraries, the parts of the spec that the stage
reads, and the digests of what it reads. What a stage reads stands in one table, and a test holds every stage to it.
"""

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.receipts import digest_of
from workers.context import Champion, Context
from workers.sources import VERSIONS

LIBRARIES = ("duckdb", "numpy", "pandas", "pandera", "pyarrow", "scikit-learn", "scipy", "skops", "sqlglot")


@dataclass(frozen=True)
class Reads:
    """What a stage may read: paths into the spec, artifacts of earlier stages, and earlier stages' outputs."""

    spec: tuple[str, ...]
    artifacts: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


COLUMNS_NAMED = (
    "task.target", "task.id_columns", "task.group_column", "task.time_column", "task.weight_column", "split.column",
    "data.features", "validation.columns", "transform.columns",
)  # fmt: skip
READS: dict[str, Reads] = {
    "ingest": Reads(("data.sources", *COLUMNS_NAMED, "reproducibility.mode")),
    "validate": Reads(
        ("task", "validation", "data.features", "split.column", "training.objective", "reproducibility.seed"),
        ("snapshot",), ("ingest",),
    ),
    "split": Reads(("task", "split", "reproducibility.seed"), ("snapshot", "kept"), ("validate",)),
    "transform": Reads(
        ("task.target", "task.weight_column", "transform", "reproducibility.seed"), ("snapshot", "split"), ("validate",),
    ),
}  # fmt: skip
"""Stages whose work may be taken over; the others are always done."""


@dataclass(frozen=True)
class Key:
    """A stage's key, or None and the reason why it has none; `parts` are digests of what the key is made of."""

    value: str | None
    reason: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)


def key_of(stage: str, ctx: Context) -> Key:
    """The key of `stage` with what `ctx` holds now."""
    if stage not in READS:
        return Key(None, "This stage is always run.")
    reads = READS[stage]
    extra = EXTRAS[stage](ctx) if stage in EXTRAS else {}
    if isinstance(extra, str):
        return Key(None, extra)
    spec = _without_names(ctx.spec.resolved())
    parts: dict[str, str] = {"the code": code_digest(), **{name: digest_of(value) for name, value in extra.items()}}
    parts |= {path: digest_of(at_path(spec, path)) for path in reads.spec}
    parts |= {f"the artifact {name}": ctx.workspace.digest(name) for name in reads.artifacts}
    parts |= {f"the output of {name}": digest_of(ctx.outputs.get(name, {})) for name in reads.outputs}
    return Key(digest_of({"stage": stage, **parts}), parts=parts)


def _without_names(spec: dict[str, Any]) -> dict[str, Any]:
    """The resolved spec without the ids of data sets: their bytes count, and the versions of the sources say those."""
    for source in spec["data"]["sources"].values():
        source.pop("dataset_id", None)
    return spec


def changed(parts: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """The names of the parts that differ from those of an earlier stage."""
    return sorted(name for name in {*parts, *before} if parts.get(name) != before.get(name))


def at_path(document: Mapping[str, Any], path: str) -> Any:
    """The part of `document` at a dotted path."""
    found: Any = document
    for step in path.split("."):
        found = found[step]
    return found


def _of_sources(ctx: Context) -> dict[str, str] | str:
    """The version of every source; a sentence where one has none."""
    found: dict[str, str] = {}
    for name, source in ctx.spec.data.sources.items():
        version = VERSIONS[source.kind](source, ctx) if source.kind in VERSIONS else None
        if version is None:
            return f"The source {name} may give other rows each time it is read."
        found[f"the rows of {name}"] = version
    return found


def _of_reference(ctx: Context) -> dict[str, Any]:
    """What drift is measured against."""
    wanted = ctx.spec.validation.drift.reference
    kind, _, name = wanted.partition(":")
    if kind == "dataset" and name in ctx.datasets:
        return {"the reference": ctx.datasets[name].blob.digest}
    return {"the reference": _artifacts(ctx.reference)}


def _artifacts(version: Champion | None) -> dict[str, str]:
    wanted = ("profile", "snapshot", "kept")
    return {name: version.artifacts[name].digest for name in wanted if name in version.artifacts} if version else {}


def _of_tested(ctx: Context) -> dict[str, list[str]]:
    """The rows that judged earlier versions."""
    return {"the rows tested on before": sorted(blob.digest for blob in ctx.tested)}


EXTRAS: dict[str, Any] = {"ingest": _of_sources, "validate": _of_reference, "split": _of_tested}


@functools.cache
def code_digest() -> str:
    """The digest of the code that stages run, and of the versions of the libraries that they run on."""
    state = hashlib.sha256()
    root = Path(__file__).parent.parent
    rooms = (root / "workers", root / "trainhouse_loader", root / "app" / "spec")
    for path in sorted(path for room in rooms for path in room.rglob("*.py")):
        state.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    for name in LIBRARIES:
        state.update(f"{name}={importlib.metadata.version(name)}\0".encode())
    return "sha256:" + state.hexdigest()

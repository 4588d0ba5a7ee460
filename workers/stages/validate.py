"""Validate: find all that is wrong with the data in one pass, and settle the task, the rows and the features."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from workers.context import Context, Done
from workers.quality import findings
from workers.quality.findings import Finding
from workers.quality.survey import Survey, survey
from workers.table import columns
from workers.table.targets import Target

__all__ = ["Survey", "reported", "run", "settled", "survey"]


def run(ctx: Context) -> Done:
    """Artifacts `profile`, `validation` and `kept` (column `row`: positions in the snapshot that are trained on).

    Output: `task_type`, `classes` (sorted, the positive one last), `features` as [name, type] pairs in snapshot
    order, `readings` (by feature that needs one, how its values are read), `rows`, `dropped`.

    Raises:
        InvalidData: a finding is a failure; all such are its violations, and the artifacts but `kept` are there.
    """
    seen = survey(ctx)
    reported(ctx, seen)
    failing, target = findings.failures(seen.findings), seen.target
    if failing or target is None:
        raise findings.refusal(failing)
    return settled(ctx, seen, target)


def reported(ctx: Context, seen: Survey) -> None:
    """The artifacts `profile` and `validation`, whatever was found."""
    _put_json(ctx, "profile", seen.profile)
    _put_json(ctx, "validation", seen.report)


def settled(ctx: Context, seen: Survey, target: Target) -> Done:
    """What later stages read of a survey: the artifact `kept` and the output of this stage."""
    _put_rows(ctx, seen.kept)
    counted = {"rows": len(seen.kept), "dropped": seen.report["dropped"]}
    output = {"task_type": target.task_type, "classes": list(target.classes), "features": columns.as_pairs(seen.types),
              "readings": columns.readings_of(seen.decisions), **counted}  # fmt: skip
    summary = {**counted, "features": len(seen.types), "task_type": target.task_type, "classes": len(target.classes),
               "drifted": seen.drift["drifted"] if seen.drift else 0, "findings": _tally(seen.findings)}  # fmt: skip
    warned = tuple(finding.warned() for finding in seen.findings if finding.severity == "warn")
    return Done(summary=summary, output=output, warnings=warned)


def _tally(found: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity that occurs."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.severity] = counts.get(one.severity, 0) + 1
    return counts


def _put_json(ctx: Context, name: str, document: Mapping[str, Any]) -> None:
    path = ctx.workspace.scratch / f"{name}.json"
    path.write_text(json.dumps(document, allow_nan=False))
    ctx.workspace.put(name, path, "application/json")


def _put_rows(ctx: Context, kept: npt.NDArray[np.int64]) -> None:
    path = ctx.workspace.scratch / "kept.parquet"
    pq.write_table(pa.table({"row": kept}), path, compression="zstd", use_dictionary=False,
                   column_encoding="DELTA_BINARY_PACKED")  # fmt: skip
    ctx.workspace.put("kept", path, "application/vnd.apache.parquet")

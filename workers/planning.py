"""A plan: reads the data as a job would, trains nothing, and says all that a job of this spec would meet and take."""

from dataclasses import replace
from typing import Any

from app.errors import CallerError
from workers.context import Context, Done
from workers.search import planned
from workers.stages import ingest, split, validate

ORDER = (("ingest", ingest), ("validate", validate), ("split", split))


def run(ctx: Context) -> Done:
    """Fact `plan`: see `app.jobs.schemas.PlanOut`."""
    findings: list[dict[str, Any]] = []
    outputs: dict[str, dict[str, Any]] = {}
    for name, stage in ORDER:
        try:
            done = stage.run(replace(ctx, outputs=outputs))
        except CallerError as error:
            findings += [{"severity": "fail", "stage": name, **one} for one in error.document()["errors"]]
            break
        outputs[name] = dict(done.output)
    said = outputs.get("validate", {})
    search = planned(ctx.spec, said.get("task_type"))
    plan = {
        "blocked": bool(findings), "findings": findings, "rows": outputs.get("ingest", {}).get("rows"),
        "columns": outputs.get("ingest", {}).get("columns"), "features": len(said["features"]) if said else None,
        "task_type": said.get("task_type"), "parts": outputs.get("split", {}).get("rows"), "trials": search.trials,
        "memory_bytes": None, "seconds": None, "stages": [],
    }  # fmt: skip
    return Done(summary={"blocked": plan["blocked"], "findings": len(findings)}, output={}, facts={"plan": plan})

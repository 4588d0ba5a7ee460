"""What earlier jobs of the project found best: where a search may begin."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.db import transaction
from app.spec.algorithms import DEFAULT_ALGORITHM
from app.spec.job import JobSpec
from app.states import JobStatus, TrialStatus
from app.tables import Job, Trial
from workers.clerk import Claim
from workers.search.facts import Facts
from workers.search.warm import Earlier, chosen

MOST_JOBS = 100
"""So many jobs are looked through: of the same model first, then the newest."""
ALONE = "In deterministic mode nothing hangs on earlier jobs but those that tuning.warm_start names."


def warm_start(engine: Engine, claim: Claim, spec: JobSpec, facts: Facts) -> dict[str, Any]:
    """What the search begins with, as its job's row keeps it: `params`, the `job_ids` they are from, and `why`."""
    asked = spec.tuning.warm_start
    if asked == "none":
        return {"params": [], "job_ids": [], "why": ""}
    if asked == "auto" and spec.reproducibility.mode == "deterministic":
        return {"params": [], "job_ids": [], "why": ALONE}
    with transaction(engine) as session:
        earlier = _earlier(session, claim, named=asked if isinstance(asked, list) else None)
    warm = asdict(chosen(spec, facts, earlier))
    return {**warm, "params": list(warm["params"]), "job_ids": list(warm["job_ids"])}


def _earlier(session: Session, claim: Claim, *, named: Sequence[str] | None) -> list[Earlier]:
    """The best complete trials of the project's ended searches: the same model's first, each time the newest first."""
    query = (
        select(Job.id, Job.model, Job.search, Job.spec["training"]["algorithm"].as_string(), Trial.params, Trial.value)
        .join(Trial, (Trial.job_id == Job.id) & (Trial.number == Job.best_trial))
        .where(
            Job.project_id == claim.project_id, Job.id != claim.job_id, Job.status == JobStatus.SUCCEEDED,
            Trial.status == TrialStatus.COMPLETE, Trial.value.is_not(None), func.jsonb_exists(Job.search, "facts"),
        )
        .order_by((Job.model == claim.model).desc(), Job.id.desc())
        .limit(MOST_JOBS)
    )  # fmt: skip
    if named is not None:
        query = query.where(Job.id.in_(named))
    return [
        Earlier(
            job_id=job_id, model=model, same_model=model == claim.model, facts=Facts(**search["facts"]), params=params,
            metric=search["metric"], value=value, algorithm=DEFAULT_ALGORITHM if algorithm == "auto" else algorithm,
        )
        for job_id, model, search, algorithm, params, value in session.execute(query)
    ]  # fmt: skip

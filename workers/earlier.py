"""What earlier jobs did already: found by key, checked in the store, and taken over."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import Engine, exists, select
from sqlalchemy.orm import Session

from app.db import transaction
from app.states import STAGES, StageStatus
from app.tables import Artifact, Job, JobStage
from workers import reuse
from workers.context import Blob, Done, Warned
from workers.reuse import Key
from workers.reused import Reuse
from workers.workspace import JobWorkspace

NEVER_DONE = "No earlier job did the same with the same data."


@dataclass(frozen=True)
class Earlier:
    """A stage that an earlier job has done."""

    job_id: str
    done: Done
    artifacts: Mapping[str, Blob]


class Claimed(Protocol):
    """Whose work it is."""

    @property
    def project_id(self) -> str: ...
    @property
    def model(self) -> str: ...


@dataclass(frozen=True)
class Found:
    """An earlier stage of the same key, or None and why there is none."""

    earlier: Earlier | None
    reason: str


def find(engine: Engine, *, project_id: str, model: str, stage: str, key: Key) -> Found:
    """The newest succeeded stage of the project that did what `key` says, and whose artifacts were not deleted since."""
    if key.value is None:
        return Found(None, key.reason)
    with transaction(engine) as session:
        done = JobStage.status == StageStatus.SUCCEEDED
        kept = exists().where(Artifact.job_id == JobStage.job_id, Artifact.stage == JobStage.name)
        row = session.scalar(
            select(JobStage)
            .join(Job)
            .where(Job.project_id == project_id, JobStage.name == stage, JobStage.reuse_key == key.value, done, kept)
            .order_by(JobStage.job_id.desc())
            .limit(1)
        )
        if row is None:
            return Found(None, _why(session, project_id=project_id, model=model, stage=stage, key=key))
        return Found(_as_earlier(session, row), f"Job {row.job_id} did the same with the same data.")


def _as_earlier(session: Session, row: JobStage) -> Earlier:
    artifacts = session.scalars(select(Artifact).where(Artifact.job_id == row.job_id, Artifact.stage == row.name))
    output = dict(row.output or {})
    facts = {"data_digest": output["data_digest"]} if "data_digest" in output else {}
    done = Done(row.summary or {}, output, tuple(Warned(**said) for said in row.warnings or ()), facts=facts)
    blobs = {found.name: Blob(found.digest, found.size_bytes, found.media_type) for found in artifacts}
    return Earlier(row.job_id, done, blobs)


def _why(session: Session, *, project_id: str, model: str, stage: str, key: Key) -> str:
    """What differs from the model's last job that did this stage."""
    row = session.scalar(
        select(JobStage)
        .join(Job)
        .where(
            Job.project_id == project_id, Job.model == model, JobStage.name == stage, JobStage.reuse_key.is_not(None)
        )
        .order_by(JobStage.job_id.desc())
        .limit(1)
    )
    before: Mapping[str, str] = (row.reuse or {}).get("parts", {}) if row is not None else {}
    if row is None or not before:
        return NEVER_DONE
    differing = reuse.changed(key.parts, before)
    return f"Since job {row.job_id}, this has changed: {', '.join(differing[:5])}."


def taken_over(workspace: JobWorkspace, found: Found, *, key: Key) -> tuple[Done | None, Reuse]:
    """(what the earlier stage said, why it is taken over), or (None, why it is not): its artifacts must still be there."""
    earlier = found.earlier
    if earlier is None:
        return None, Reuse(reused=False, reason=found.reason, key=key.value, parts=key.parts)
    if not workspace.adopt(earlier.artifacts):
        gone = f"Job {earlier.job_id} did the same, but what it stored is gone or no longer what it was."
        return None, Reuse(reused=False, reason=gone, key=key.value, parts=key.parts)
    return earlier.done, Reuse(
        reused=True, reason=found.reason, from_job=earlier.job_id, key=key.value, parts=key.parts
    )


def outlook(engine: Engine, workspace: JobWorkspace, claim: Claimed, planned: Done) -> Done:
    """The plan with a word for each stage: whether a job of this spec would take it over, run it, or not reach it."""
    keys = {name: Key(**key) for name, key in planned.output["keys"].items()}
    blocked_at, stages = planned.output["blocked_at"], []
    for name in STAGES:
        passed = blocked_at is not None and STAGES.index(name) > STAGES.index(blocked_at)
        would, reason = ("not_reached", f"The job would end at {blocked_at}.") if passed else ("run", "")
        if name == blocked_at:
            would, reason = "fail", "See the findings."
        elif not passed and name in keys:
            found = find(engine, project_id=claim.project_id, model=claim.model, stage=name, key=keys[name])
            reuse_it = found.earlier is not None and workspace.are_stored(found.earlier.artifacts)
            would, reason = "reuse" if reuse_it else "run", found.reason
        stages.append({"name": name, "would": would, "reason": reason})
    plan = {**planned.facts["plan"], "stages": stages}
    return replace(planned, facts={**planned.facts, "plan": plan})

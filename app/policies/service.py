"""Keeps gate policies, and judges past candidates by them from what was measured then."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app import verdicts
from app.errors import NotFound
from app.policies.schemas import PolicyRequest, ReplayRequest
from app.spec.decision import Gate
from app.tables import GatePolicy, Job, JobStage


def make(session: Session, project_id: str, wanted: PolicyRequest, *, created_by: str) -> tuple[GatePolicy, bool]:
    """(the policy's version with this gate, whether it is new): an equal gate is not kept twice in a row."""
    lock = func.pg_advisory_xact_lock(func.hashtextextended(f"policy/{project_id}/{wanted.name}", 0))
    session.execute(select(lock))
    last = session.scalar(_of(project_id, wanted.name).order_by(GatePolicy.version.desc()).limit(1))
    gate = wanted.gate.model_dump(mode="json")
    if last is not None and last.gate == gate and last.description == wanted.description:
        return last, False
    made = GatePolicy(
        project_id=project_id, name=wanted.name, version=1 if last is None else last.version + 1, gate=gate,
        description=wanted.description, created_by=created_by,
    )  # fmt: skip
    session.add(made)
    session.flush()
    session.refresh(made, ["created_at"])
    return made, True


def _of(project_id: str, name: str) -> Any:
    return select(GatePolicy).where(GatePolicy.project_id == project_id, GatePolicy.name == name)


def find(session: Session, project_id: str, *, name: str, version: int | None = None) -> GatePolicy:
    """One version of a policy, or its last.

    Raises:
        NotFound
    """
    query = _of(project_id, name).order_by(GatePolicy.version.desc()).limit(1)
    found = session.scalar(query if version is None else query.where(GatePolicy.version == version))
    if found is None:
        raise NotFound(
            f"There is no gate policy {name!r}{'' if version is None else f', version {version}'} in this project.",
            hint="Make it with POST /v1/gate-policies.",
        )
    row: GatePolicy = found
    return row


def page(session: Session, project_id: str, *, after: str | None, limit: int) -> list[GatePolicy]:
    """Up to `limit` policies, each in its last version, by name; `after` is the name that the page before ended with."""
    numbers = select(GatePolicy.name, func.max(GatePolicy.version).label("version")).where(
        GatePolicy.project_id == project_id
    )
    last = numbers.group_by(GatePolicy.name).subquery()
    query = (
        select(GatePolicy)
        .join(last, (GatePolicy.name == last.c.name) & (GatePolicy.version == last.c.version))
        .where(GatePolicy.project_id == project_id)
        .order_by(GatePolicy.name)
        .limit(limit)
    )
    if after is not None:
        query = query.where(GatePolicy.name > after)
    return list(session.scalars(query))


def versions(session: Session, project_id: str, *, name: str, after: int | None, limit: int) -> list[GatePolicy]:
    """Up to `limit` versions of a policy, newest first; `after` is the number that the page before ended with.

    Raises:
        NotFound
    """
    find(session, project_id, name=name)
    query = _of(project_id, name).order_by(GatePolicy.version.desc()).limit(limit)
    if after is not None:
        query = query.where(GatePolicy.version < after)
    return list(session.scalars(query))


def replay(session: Session, project_id: str, policy: GatePolicy, wanted: ReplayRequest) -> dict[str, Any]:
    """What `policy` says of the candidates that `wanted` names, from what was measured when they were judged.

    Nothing is measured again: a rule on what was not measured then is `inconclusive` and says so.
    """
    gate = Gate.model_validate(policy.gate)
    items = [_judged(gate, dict(row)) for row in session.execute(_candidates(project_id, wanted)).mappings()]
    found = Counter(item["verdict"] for item in items)
    return {
        "policy": policy.name, "version": policy.version, "candidates": len(items), "verdicts": dict(found),
        "changed": sum(item["was"] is not None and item["was"] != item["verdict"] for item in items), "items": items,
    }  # fmt: skip


def _candidates(project_id: str, wanted: ReplayRequest) -> Any:
    evidence = [JobStage.output[name].label(name) for name in verdicts.EVIDENCE]
    query = (
        select(
            Job.id.label("job_id"), Job.model, Job.version, Job.created_at, Job.gate["verdict"].as_string().label("was"),
            JobStage.output["test_rows"].label("test_rows"), *evidence,
        )
        .join(JobStage, (JobStage.job_id == Job.id) & (JobStage.name == "evaluate"))
        .where(Job.project_id == project_id, Job.kind == "train", JobStage.output.is_not(None), JobStage.output.op("?")(text("'test_rows'")))
        .order_by(Job.id.desc())
        .limit(wanted.limit)
    )  # fmt: skip
    if wanted.model is not None:
        query = query.where(Job.model == wanted.model)
    if wanted.created_after is not None:
        query = query.where(Job.created_at > wanted.created_after)
    return query


def _judged(gate: Gate, row: Mapping[str, Any]) -> dict[str, Any]:
    found = verdicts.judged(gate, verdicts.evidence_of(row))
    return {
        **{name: row[name] for name in ("job_id", "model", "version", "created_at", "was")},
        "verdict": found["verdict"], "goes": verdicts.road(gate, found), "rules": found["rules"],
    }  # fmt: skip

"""Writes a version's decision receipt when it is registered, and finds it again."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import signing
from app.errors import NotFound
from app.receipts import FORMAT, signed
from app.secrets import Vault
from app.spec.job import parse_spec
from app.tables import Artifact, Job, JobStage, ModelVersion, Receipt, Review

PINNED = ("snapshot", "split", "predictions_test", "judged")
"""The artifacts that a decision rests on, by name; a receipt holds their digests."""


def write(session: Session, vault: Vault, *, job: Job, version: ModelVersion, made_by: Mapping[str, Any]) -> Receipt:
    """The receipt of `version`, which `job` has just made, chained to the one before; the model's row is locked.

    Args:
        made_by: `code`, the digest of the code that ran, and `libraries`, their versions by name.
    """
    before = session.scalar(
        select(Receipt.digest)
        .where(Receipt.project_id == version.project_id, Receipt.model == version.model)
        .order_by(Receipt.version.desc())
        .limit(1)
    )
    session.refresh(version, ["created_at"])
    document = _document(session, job=job, version=version, made_by=made_by) | {"previous": before}
    made = signed(document, signing.private_key(session, vault, version.project_id))
    row = Receipt(
        project_id=version.project_id, model=version.model, version=version.version, digest=made["digest"], receipt=made
    )
    session.add(row)
    session.flush()
    return row


def _document(session: Session, *, job: Job, version: ModelVersion, made_by: Mapping[str, Any]) -> dict[str, Any]:
    said = {
        row.name: row.output or {}
        for row in session.scalars(select(JobStage).where(JobStage.job_id == job.id, JobStage.output.is_not(None)))
    }
    found = select(Artifact).where(Artifact.job_id == job.id, Artifact.name.in_(PINNED))
    pinned = {row.name: row.digest for row in session.scalars(found)}
    validated, evaluated = said.get("validate", {}), said.get("evaluate", {})
    spec = parse_spec(job.spec, accepted=True).resolved()  # with the defaults of what it could not yet say
    return {
        "format": FORMAT, "model": version.model, "version": version.version, "job_id": job.id,
        "registered_at": f"{version.created_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "data": {
            "digest": version.data_digest, "snapshot": pinned.get("snapshot"),
            "rows": said.get("ingest", {}).get("rows"),
        },
        "spec": {"digest": version.spec_digest, "mode": spec["reproducibility"]["mode"], "seed": spec["reproducibility"]["seed"]},
        "split": {"digest": pinned.get("split"), "rows": evaluated.get("rows"), "seed": spec["split"]["seed"]},
        "task": {
            "type": validated.get("task_type"), "classes": validated.get("classes"), "target": spec["task"]["target"],
            "quantile": spec["training"]["quantile"], "threshold": evaluated.get("threshold", 0.5), "metric": said.get("train", {}).get("metric"),
        },
        "made_by": {"code": made_by.get("code"), "libraries": dict(made_by.get("libraries", {}))},
        "predictions": {"test": pinned.get("predictions_test"), "judged": pinned.get("judged")},
        "metrics": version.metrics.get("test", {}), "confidence": evaluated.get("confidence"),
        "evidence": {
            "champion": _compared_with(evaluated.get("champion")), "costs": evaluated.get("costs"),
            "slices": spec["evaluation"]["slices"],
        },
        "gate": {"asked": spec["gate"], "found": version.gate}, "approval": _approval(session, version),
        "bundle": {"digest": version.bundle_digest, "size_bytes": version.bundle_bytes},
    }  # fmt: skip


def _compared_with(champion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return (
        None
        if champion is None
        else {name: champion.get(name) for name in ("version", "job_id", "reason", "threshold")}
    )


def _approval(session: Session, version: ModelVersion) -> dict[str, Any] | None:
    review_id = (version.facts or {}).get("approved_review")
    review = session.get(Review, review_id) if review_id else None
    if review is None:
        return None
    return {
        "review_id": review.id, "decided_by": review.decided_by, "reason": review.decision_reason,
        "decided_at": None if review.decided_at is None else f"{review.decided_at:%Y-%m-%dT%H:%M:%S.%fZ}",
    }  # fmt: skip


def find(session: Session, project_id: str, *, model: str, version: int) -> Receipt:
    """The receipt of a version.

    Raises:
        NotFound: there is no such version, or it was registered before there were receipts.
    """
    found = session.get(Receipt, (project_id, model, version))
    if found is None:
        raise NotFound("That version has no receipt.", hint="See GET /v1/models/{name}/versions.")
    return found


def made_by(session: Session, version: ModelVersion) -> dict[str, Any]:
    """`code` and `libraries` that made the version, as its receipt has them; empty where it has none."""
    found = session.get(Receipt, (version.project_id, version.model, version.version))
    return dict(found.receipt["document"]["made_by"]) if found else {}


def digests(session: Session, project_id: str, *, model: str, versions: list[int]) -> dict[int, str]:
    """By version, the digest of its receipt."""
    here = (Receipt.project_id == project_id) & (Receipt.model == model) & Receipt.version.in_(versions)
    return {row.version: row.digest for row in session.execute(select(Receipt.version, Receipt.digest).where(here))}


def page(session: Session, project_id: str, *, model: str, after: int | None, limit: int) -> list[Receipt]:
    """Up to `limit` receipts of the model, oldest first, so that they are a chain; `after` is the last version before."""
    query = select(Receipt).where(
        Receipt.project_id == project_id, Receipt.model == model, Receipt.version > (after or 0)
    )
    return list(session.scalars(query.order_by(Receipt.version).limit(limit)))

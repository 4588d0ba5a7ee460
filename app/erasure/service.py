"""Looks for rows among the keyed hashes that versions' jobs wrote down."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.rowkeys import Keys, key_of
from app.secrets import Vault
from app.storage import S3Store
from app.tables import Artifact, Job, ModelVersion

TRAINED, TESTED = "row_keys_trained", "row_keys_tested"
MADE_OTHERWISE = (
    "its rows' keys were made with a secret key that TRAINHOUSE_SECRET_KEYS no longer names, or by an earlier release"
)


@dataclass(frozen=True)
class Candidate:
    """A version with where its keys are: by artifact, the digest."""

    model: str
    version: int
    id_columns: Sequence[str]
    digests: Mapping[str, str]


def candidates(session: Session, project_id: str, *, model: str | None) -> list[Candidate]:
    """The versions of the project, or of one model, newest first."""
    query = (
        select(ModelVersion, Job.spec["task"]["id_columns"])
        .join(Job, Job.id == ModelVersion.job_id)
        .where(ModelVersion.project_id == project_id, ModelVersion.deleted_at.is_(None))
        .order_by(ModelVersion.created_at.desc(), ModelVersion.id)
    )
    if model is not None:
        query = query.where(ModelVersion.model == model)
    found = session.execute(query).all()
    named = select(Artifact).where(
        Artifact.job_id.in_([row.job_id for row, _ids in found]), Artifact.name.in_([TRAINED, TESTED])
    )
    digests: dict[str, dict[str, str]] = {}
    for artifact in session.scalars(named):
        digests.setdefault(artifact.job_id, {})[artifact.name] = artifact.digest
    return [Candidate(row.model, row.version, ids or [], digests.get(row.job_id, {})) for row, ids in found]


def impact(
    store: S3Store, vault: Vault, project_id: str, rows: Sequence[Mapping[str, Any]], found: Sequence[Candidate]
) -> dict[str, Any]:
    """Which of `found` know some of `rows`.

    Raises:
        StoreUnavailable
    """
    affected, unknown, secrets = [], [], vault.row_secrets(project_id)
    for each in found:
        if reason := _unknown(each, rows):
            unknown.append({"model": each.model, "version": each.version, "reason": reason})
            continue
        wanted = [{name: row[name] for name in each.id_columns} for row in rows if set(each.id_columns) <= set(row)]
        counts = {
            name: _known(_fetched(store, project_id, digest), wanted, secrets) for name, digest in each.digests.items()
        }
        if any(counts.values()):
            affected.append({
                "model": each.model, "version": each.version, "id_columns": list(each.id_columns),
                "trained_on": counts.get(TRAINED) or 0, "tested_on": counts.get(TESTED) or 0,
            })  # fmt: skip
        elif None in counts.values():
            unknown.append({"model": each.model, "version": each.version, "reason": MADE_OTHERWISE})
    return {
        "rows": len(rows), "affected": affected, "unknown": unknown,
        "unaffected": len(found) - len(affected) - len(unknown),
    }  # fmt: skip


def _unknown(candidate: Candidate, rows: Sequence[Mapping[str, Any]]) -> str:
    """Why nobody can say whether the version knows the rows; empty where one can."""
    if not candidate.id_columns:
        return "its job names no task.id_columns, so its rows cannot be recognised"
    if TRAINED not in candidate.digests:
        return "its job wrote no keys of its rows down"
    if not any(set(candidate.id_columns) <= set(row) for row in rows):
        return f"its rows are known by {', '.join(candidate.id_columns)}, and no given row has these"
    return ""


def _fetched(store: S3Store, project_id: str, digest: str) -> Keys:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keys")
        store.get(project_id, digest, path)
        return Keys(path.read_bytes())


def _known(keys: Keys, rows: Sequence[Mapping[str, Any]], secrets: Sequence[bytes]) -> int | None:
    """How many of the rows are among the keys; None where none is, and none of the secrets is known to have made these."""
    found = sum(any((key := key_of(secret, row)) is not None and key in keys for secret in secrets) for row in rows)
    return found if found or keys.made_by(secrets) is not None else None

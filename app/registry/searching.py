"""Finds versions of all models: by metric, by tag, by the data they learned from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, cast, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.orm import Session

from app.spec.decision import LOWER_IS_BETTER
from app.tables import Job, ModelVersion


@dataclass(frozen=True)
class Wanted:
    """Which versions; what is None does not matter.

    Attributes:
        metric: Of the test part; versions come best first by it, without it newest first.
        at_least, at_most: Bounds of the metric's value.
        tags: All of these.
        dataset_id: A data set that a source of the version's job names.
        data_digest: Of the rows that the version learned from.
    """

    model: str | None = None
    metric: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset_id: str | None = None
    data_digest: str | None = None


def found(
    session: Session, project_id: str, wanted: Wanted, *, after: tuple[float | datetime, str] | None, limit: int
) -> list[tuple[ModelVersion, float | datetime]]:
    """Up to `limit` (version, value of the metric, or without one its time) pairs; `after` is the (value, id) before."""
    value = ModelVersion.metrics["test"][wanted.metric or ""]["value"].as_float()
    query = _filtered(select(ModelVersion, value.label("value")), project_id, wanted).limit(limit)
    if wanted.metric is None:
        query = query.order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc())
        if after is not None:
            query = query.where(tuple_(ModelVersion.created_at, ModelVersion.id) < (after[0], after[1]))
        return [(row, row.created_at) for row, _value in session.execute(query)]
    rising = wanted.metric in LOWER_IS_BETTER
    query = query.where(value.is_not(None)).order_by(value.asc() if rising else value.desc(), ModelVersion.id.desc())
    if wanted.at_least is not None:
        query = query.where(value >= wanted.at_least)
    if wanted.at_most is not None:
        query = query.where(value <= wanted.at_most)
    if after is not None:
        beyond = value > after[0] if rising else value < after[0]
        query = query.where(or_(beyond, and_(value == after[0], ModelVersion.id < after[1])))
    return [(row, float(measured)) for row, measured in session.execute(query)]


def _filtered(query: Select[Any], project_id: str, wanted: Wanted) -> Select[Any]:
    query = query.where(ModelVersion.project_id == project_id, ModelVersion.deleted_at.is_(None))
    if wanted.model is not None:
        query = query.where(ModelVersion.model == wanted.model)
    if wanted.tags:
        query = query.where(ModelVersion.tags.contains(dict(wanted.tags)))
    if wanted.data_digest is not None:
        query = query.where(ModelVersion.data_digest == wanted.data_digest)
    if wanted.dataset_id is not None:
        path = cast("$.data.sources.*.dataset_id ? (@ == $id)", JSONPATH)
        named = func.jsonb_path_exists(Job.spec, path, func.jsonb_build_object("id", wanted.dataset_id))
        query = query.join(Job, Job.id == ModelVersion.job_id).where(named)
    return query

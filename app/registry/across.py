"""Routes across all models of a project: its versions by metric, tag and data, and the keys that sign receipts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field
from sqlalchemy.orm import Session

from app import signing
from app.errors import InvalidRequest
from app.http import PageDep, Reader, SessionDep, SettingsDep, StrictRoute, listing
from app.receipts import fingerprint
from app.registry import receipts, searching, service
from app.registry.schemas import SigningKeyList, SigningKeyOut, VersionList, VersionOut
from app.registry.showing import version_document
from app.spec.base import Slug, no_control
from app.spec.decision import METRIC_NAMES, known_metric
from app.tables import ModelVersion

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["models"])
Tag = Annotated[str, AfterValidator(no_control), Field(pattern=r"^[^=]{1,256}=.{0,256}$")]
Metric = Annotated[str, AfterValidator(known_metric), Field(json_schema_extra={"enum": sorted(METRIC_NAMES)})]


@router.get("/versions", operation_id="search_versions", response_model=VersionList)
def search_versions(  # noqa: PLR0913, PLR0917  # each is a filter
    caller: Reader, session: SessionDep, settings: SettingsDep, page: PageDep,
    model: Annotated[Slug | None, Query()] = None,
    metric: Annotated[Metric | None, Query(description="of the test part; best first by it")] = None,
    at_least: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    at_most: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    tag: Annotated[list[Tag] | None, Query(max_length=20, description="NAME=VALUE; all of them")] = None,
    dataset_id: Annotated[str | None, Query(pattern=r"^ds_[0-9a-z]{8,40}$")] = None,
    data_digest: Annotated[str | None, Query(pattern=r"^sha256:[0-9a-f]{64}$")] = None,
) -> dict[str, Any]:  # fmt: skip
    """Versions of all models: best first by a metric of the test part, or newest first; by tag, or by what they learned from."""
    if metric is None and (at_least is not None or at_most is not None):
        raise InvalidRequest("at_least and at_most need metric.", hint="Name the metric that they bound.")
    tags = dict(each.split("=", 1) for each in tag or [])
    wanted = searching.Wanted(model, metric, at_least, at_most, tags, dataset_id, data_digest)
    found = searching.found(session, caller.project_id, wanted, after=_place(page.after, metric), limit=page.limit + 1)
    rows, values = [row for row, _value in found], {row.id: value for row, value in found}
    shown = _shown(session, caller.project_id, rows, settings.public_url)
    return listing(shown, limit=page.limit, key=lambda row: [_text(values[row.id]), row.id])


def _place(after: list[str | int] | None, metric: str | None) -> tuple[float | datetime, str] | None:
    """What the page before ended with: the metric's value or the time, and the id."""
    if after is None:
        return None
    try:
        value, row_id = after
        return (datetime.fromisoformat(str(value)) if metric is None else float(value)), str(row_id)
    except ValueError:
        raise InvalidRequest("That cursor is not one of this list's.", code="invalid_cursor") from None


def _text(value: float | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def _shown(session: Session, project_id: str, rows: Sequence[ModelVersion], public_url: str) -> list[VersionOut]:
    """Versions of several models as callers see them."""
    names = sorted({row.model for row in rows})
    aliases = service.aliases_of(session, project_id, models=names)
    digests = {
        name: receipts.digests(
            session, project_id, model=name, versions=[row.version for row in rows if row.model == name]
        ) for name in names
    }  # fmt: skip
    return [
        VersionOut.model_validate(version_document(row, aliases[row.model], digests[row.model], public_url))
        for row in rows
    ]


@router.get("/signing-keys", operation_id="list_signing_keys")
def list_signing_keys(caller: Reader, session: SessionDep) -> SigningKeyList:
    """The public keys that check the project's receipts."""
    rows = signing.public_keys(session, caller.project_id)
    return SigningKeyList(items=[
        SigningKeyOut(
            id=row.id, public_key=row.public_key, fingerprint=fingerprint(row.public_key), created_at=row.created_at
        ) for row in rows
    ])  # fmt: skip

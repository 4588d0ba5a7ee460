"""Models, versions and aliases over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from app import cards
from app.aliases import require_version
from app.errors import NotFound, PreconditionRequired
from app.http import (
    Admin,
    ModelName,
    PageDep,
    Reader,
    SessionDep,
    SettingsDep,
    StoreDep,
    StrictRoute,
    Trainer,
    TrainOnce,
    VersionNumber,
    cursor_after,
    listing,
)
from app.problems import declared
from app.registry import comparing, lifecycle, receipts, service
from app.registry.card import card_of
from app.registry.schemas import (
    AliasOut,
    AliasRequest,
    ArtifactOut,
    ComparisonOut,
    EndRequest,
    LineageOut,
    ModelList,
    ModelOut,
    MoveList,
    MoveOut,
    ReceiptList,
    ReceiptOut,
    SourceOut,
    VersionDetail,
    VersionList,
    VersionOut,
)
from app.registry.showing import version_document
from app.tables import Alias, Job, ModelVersion, RegisteredModel, Review

router = APIRouter(prefix="/v1/models", route_class=StrictRoute, tags=["models"])
AliasName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{1,62}$", examples=["champion"])]
IfMatch = Annotated[str | None, Header(max_length=1_000, description="the ETag of the alias or of its model; needed")]
MOVES = declared(409, 412, 428)


@router.get("", operation_id="list_models", response_model=ModelList)
def list_models(caller: Reader, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """The project's models by name."""
    rows = service.models(session, caller.project_id, after=page.after_text, limit=page.limit + 1)
    aliases = service.aliases_of(session, caller.project_id, models=[row.name for row in rows])
    return listing([_model(row, aliases[row.name]) for row in rows], limit=page.limit, key=lambda row: [row.name])


@router.get("/{name}", operation_id="get_model")
def get_model(name: ModelName, caller: Reader, session: SessionDep, response: Response) -> ModelOut:
    """One model. Its ETag changes with every registration and every move of an alias, and serves as If-Match."""
    row = service.find_model(session, caller.project_id, model=name)
    response.headers["ETag"] = service.model_tag(row)
    return _model(row, service.aliases_of(session, caller.project_id, models=[name])[name])


@router.get("/{name}/versions", operation_id="list_versions", response_model=VersionList)
def list_versions(
    name: ModelName, caller: Reader, session: SessionDep, settings: SettingsDep, page: PageDep
) -> dict[str, Any]:
    """The model's versions, newest first."""
    rows = service.versions(session, caller.project_id, model=name, after=page.after_number, limit=page.limit + 1)
    aliases = service.aliases_of(session, caller.project_id, models=[name])[name]
    digests = receipts.digests(session, caller.project_id, model=name, versions=[row.version for row in rows])
    shown = [VersionOut.model_validate(version_document(row, aliases, digests, settings.public_url)) for row in rows]
    return listing(shown, limit=page.limit, key=lambda row: [row.version])


@router.get("/{name}/versions/{number}", operation_id="get_version")
def get_version(
    name: ModelName, number: VersionNumber, caller: Reader, session: SessionDep, settings: SettingsDep
) -> VersionDetail:
    """One version."""
    row = require_version(session, caller.project_id, model=name, version=number)
    return _detail(session, caller.project_id, row, settings.public_url)


def _detail(session: Session, project_id: str, row: ModelVersion, public_url: str) -> VersionDetail:
    aliases = service.aliases_of(session, project_id, models=[row.model])[row.model]
    digests = receipts.digests(session, project_id, model=row.model, versions=[row.version])
    return VersionDetail.model_validate(version_document(row, aliases, digests, public_url))


@router.get(
    "/{name}/versions/{number}/card", operation_id="get_version_card", response_class=Response,
    responses={200: {"description": "Markdown, or with Accept: text/html a page", "content": {
        "text/markdown": {"schema": {"type": "string"}}, "text/html": {"schema": {"type": "string"}},
    }}},
)  # fmt: skip
def get_version_card(
    request: Request, name: ModelName, number: VersionNumber, caller: Reader, session: SessionDep
) -> Response:
    """The version's model card, for people: Markdown, or with `Accept: text/html` a page."""
    row = require_version(session, caller.project_id, model=name, version=number)
    job, said = session.get_one(Job, row.job_id), service.outputs_of(session, row.job_id)
    headers = {"X-Content-Type-Options": "nosniff", "Vary": "Accept"}
    card = card_of(row, job, said)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(cards.page(card), headers={**headers, "Content-Security-Policy": cards.PAGE.policy})
    return Response(cards.markdown(card), media_type="text/markdown", headers=headers)


@router.get("/{name}/versions/{number}/lineage", operation_id="get_version_lineage")
def get_version_lineage(name: ModelName, number: VersionNumber, caller: Reader, session: SessionDep) -> LineageOut:
    """Where the version's data, settings and files come from, who let it through, and where it went."""
    row = require_version(session, caller.project_id, model=name, version=number)
    job = session.get_one(Job, row.job_id)
    review_id = row.facts.get("approved_review")
    review = session.get(Review, review_id) if review_id else None
    aliases = service.aliases_of(session, caller.project_id, models=[name])[name]
    made_by = receipts.made_by(session, row)
    return LineageOut(
        model=name, version=number, job_id=job.id, spec_digest=row.spec_digest, data_digest=row.data_digest,
        sources=[SourceOut.model_validate(source) for source in service.sources_of(job)],
        artifacts=[ArtifactOut.model_validate(found) for found in service.artifacts_of(session, job.id)],
        code=made_by.get("code"), libraries=made_by.get("libraries", {}), test_set_uses=service.test_set_uses(session, job),
        review_id=review_id, approved_by=review.decided_by if review else None,
        deployment_ids=service.deployments_of(session, row),
        aliases=[alias for alias, version in aliases.items() if version == number],
    )  # fmt: skip


@router.get(
    "/{name}/versions/{number}/bundle", operation_id="get_version_bundle", status_code=302, response_class=Response,
    responses={
        302: {"description": "A URL to the bundle, one .zip", "headers": {"Location": {"schema": {"type": "string"}}}},
    },
)  # fmt: skip
def get_version_bundle(
    name: ModelName, number: VersionNumber, caller: Reader, session: SessionDep, store: StoreDep
) -> RedirectResponse:
    """Redirects to the bundle: the same bytes each time, their digest in the version's `bundle_digest`."""
    row = require_version(session, caller.project_id, model=name, version=number)
    url = store.presign_get(caller.project_id, row.bundle_digest, filename=f"{name}-{number}.zip")
    return RedirectResponse(url, status_code=302)


@router.get("/{name}/versions/{number}/compare/{other}", operation_id="compare_versions")
def compare_versions(
    name: ModelName, number: VersionNumber, other: VersionNumber, caller: Reader, session: SessionDep
) -> ComparisonOut:
    """What the version `other` differs in from `number`: spec, metrics with intervals, data and features."""
    one, two = (require_version(session, caller.project_id, model=name, version=version) for version in (number, other))
    return ComparisonOut.model_validate(comparing.compared(session, one, two))


@router.get("/{name}/versions/{number}/receipt", operation_id="get_version_receipt")
def get_version_receipt(name: ModelName, number: VersionNumber, caller: Reader, session: SessionDep) -> ReceiptOut:
    """The version's decision receipt: data, spec, split, code, metrics, gate and approver, signed and chained."""
    require_version(session, caller.project_id, model=name, version=number)
    found = receipts.find(session, caller.project_id, model=name, version=number)
    return ReceiptOut.model_validate(found.receipt)


@router.get("/{name}/receipts", operation_id="list_receipts", response_model=ReceiptList)
def list_receipts(name: ModelName, caller: Reader, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """The model's receipts, oldest first: each names the digest of the one before."""
    service.find_model(session, caller.project_id, model=name)
    rows = receipts.page(session, caller.project_id, model=name, after=page.after_number, limit=page.limit + 1)
    shown = [ReceiptOut.model_validate(row.receipt) for row in rows]
    return listing(shown, limit=page.limit, key=lambda row: [row.document["version"]])


@router.post("/{name}/versions/{number}/archive", operation_id="archive_version", response_model=VersionDetail)
def archive_version(  # FastAPI's way of asking
    name: ModelName, number: VersionNumber, wish: EndRequest, caller: Trainer, session: SessionDep, settings: SettingsDep,
    once: TrainOnce,
) -> Response:  # fmt: skip
    """Sets a version aside, if no alias points at it and no deployment is under way."""
    row = lifecycle.archive(
        session, caller.project_id, model=name, version=number, by=caller.key_id, reason=wish.reason
    )
    return once.answer(200, _detail(session, caller.project_id, row, settings.public_url))


@router.post("/{name}/versions/{number}/restore", operation_id="restore_version", response_model=VersionDetail)
def restore_version(  # FastAPI's way of asking
    name: ModelName, number: VersionNumber, wish: EndRequest, caller: Trainer, session: SessionDep, settings: SettingsDep,
    once: TrainOnce,
) -> Response:  # fmt: skip
    """Brings an archived version back."""
    row = lifecycle.restore(
        session, caller.project_id, model=name, version=number, by=caller.key_id, reason=wish.reason
    )
    return once.answer(200, _detail(session, caller.project_id, row, settings.public_url))


@router.delete("/{name}/versions/{number}", operation_id="delete_version", status_code=204, responses=declared(409))
def delete_version(name: ModelName, number: VersionNumber, caller: Admin, session: SessionDep) -> None:
    """Deletes a version with all that its job stored, for good; its number is never used again, its receipt stays."""
    lifecycle.remove(session, caller.project_id, model=name, version=number, by=caller.key_id)


@router.get("/{name}/history", operation_id="list_alias_moves", response_model=MoveList)
def list_alias_moves(name: ModelName, caller: Reader, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """Every move of the model's aliases, newest first: who, when, from, to, why."""
    rows = service.history(session, caller.project_id, model=name, after=page.after_number, limit=page.limit + 1)
    shown = [MoveOut.model_validate(row) for row in rows[: page.limit]]
    last = [row.id for row in rows[: page.limit]][-1:]
    return {"items": shown, "next_cursor": cursor_after(*last) if len(rows) > page.limit else None}


@router.get("/{name}/aliases/{alias}", operation_id="get_alias")
def get_alias(name: ModelName, alias: AliasName, caller: Reader, session: SessionDep, response: Response) -> AliasOut:
    """One alias, with the ETag that moving it needs."""
    return _alias(service.find_alias(session, caller.project_id, model=name, alias=alias), response)


@router.put("/{name}/aliases/{alias}", operation_id="put_alias", responses=MOVES)
def put_alias(  # FastAPI's way of asking
    name: ModelName,
    alias: AliasName,
    wish: AliasRequest,
    caller: Trainer,
    session: SessionDep,
    response: Response,
    *,
    if_match: IfMatch = None,
) -> AliasOut:
    """Makes or moves an alias, if nobody changed it since the ETag in If-Match was read."""
    row = service.set_alias(
        session, caller.project_id, model=name, alias=alias, version=wish.version, expected=_tags(if_match),
        by=service.Move(caller.key_id, wish.reason),
    )  # fmt: skip
    if row is None:
        raise NotFound
    return _alias(row, response)


@router.delete("/{name}/aliases/{alias}", operation_id="delete_alias", status_code=204, responses=MOVES)
def delete_alias(
    name: ModelName, alias: AliasName, caller: Trainer, session: SessionDep, if_match: IfMatch = None
) -> None:
    """Takes an alias away, if nobody changed it since the ETag in If-Match was read."""
    service.set_alias(
        session, caller.project_id, model=name, alias=alias, version=None, expected=_tags(if_match),
        by=service.Move(caller.key_id, ""),
    )  # fmt: skip


def _tags(header: str | None) -> frozenset[str]:
    if header is None or not header.strip():
        raise PreconditionRequired(hint="Read the alias or the model and send its ETag in If-Match.")
    return frozenset(tag.strip() for tag in header.split(","))


def _model(row: RegisteredModel, aliases: dict[str, int]) -> ModelOut:
    return ModelOut(name=row.name, latest_version=row.last_version, aliases=aliases, created_at=row.created_at)


def _alias(row: Alias, response: Response) -> AliasOut:
    response.headers["ETag"] = service.alias_tag(row)
    return AliasOut.model_validate(row)

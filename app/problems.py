"""The one table from error to problem document (RFC 9457), and the handlers that apply it."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from app import errors
from app.db import is_outage
from app.errors import InvalidRequest, TrainhouseError, Violation, bounded
from app.spec.base import violations_of

log = structlog.get_logger()

STATUS: dict[type[TrainhouseError], int] = {
    errors.InvalidSpec: 422,
    errors.TooLarge: 413,
    errors.UnknownParameter: 400,
    errors.InvalidRequest: 422,
    errors.InvalidData: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.StillRunning: 409,
    errors.Conflict: 409,
    errors.IdempotencyKeyReused: 422,
    errors.PreconditionRequired: 428,
    errors.PreconditionFailed: 412,
    errors.EgressDenied: 422,
    errors.SourceRefused: 422,
    errors.CallerError: 400,
    errors.Unavailable: 503,
    errors.TrainhouseError: 500,
}
MALFORMED = frozenset({"json_invalid", "not_utf8", "number_not_finite", "number_too_large", "duplicate_key"})
MEDIA_TYPE = "application/problem+json"


class Fault(BaseModel):
    """One fault in a request."""

    pointer: str = Field(description="where: a JSON pointer into the body, or /query/…, /path/… or /header/…")
    code: str
    message: str
    hint: str = ""
    facts: dict[str, Any] | None = Field(
        default=None, description="what was measured: column, check, count, share, rows"
    )


class Problem(BaseModel):
    """What went wrong, whose turn it is, and what to do next (RFC 9457)."""

    type: str
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str = Field(description="stable; switch on this", examples=["not_found"])
    request_id: str | None
    retryable: bool = Field(description="whether the same call may succeed later")
    hint: str = ""
    errors: list[Fault] = []


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of an operation that may answer these problem statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def status_of(error: TrainhouseError) -> int:
    """The HTTP status that says `error`; the nearest class in the table decides."""
    if error.stable_code in MALFORMED:
        return 400
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(request: Request, error: TrainhouseError) -> Response:
    """`error` as a problem document."""
    status = status_of(error)
    document = {**error.document(), "status": status, "request_id": getattr(request.state, "request_id", None)}
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="trainhouse"'
    if status == 503 or error.retry_after_seconds:
        headers["Retry-After"] = str(error.retry_after_seconds or 2)
    return JSONResponse(document, status_code=status, headers=headers, media_type=MEDIA_TYPE)


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrainhouseError)
    if status_of(error) >= 500:
        log.warning("request_failed", code=error.stable_code, path=request.url.path)
    return problem(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes) and error.body:  # it was not read: JSON is what its Content-Type says is JSON
        return problem(request, _unread(request.headers.get("content-type")))
    body = [{**item, "loc": item["loc"][1:]} for item in error.errors() if item["loc"][0] == "body"]
    found = violations_of(body, document=error.body) + violations_of(
        [item for item in error.errors() if item["loc"][0] != "body"]
    )
    code = "invalid_request"
    if any(item["type"] == "missing" and not item["loc"] for item in body):
        code = "body_missing"
    count = f"{len(found)} fault{'s' if len(found) != 1 else ''}"
    return problem(request, InvalidRequest(f"The request has {count}.", code=code, violations=found))


def _unread(said: str | None) -> InvalidRequest:
    words = f"The body came as {bounded(said)!r}" if said else "The body came without a Content-Type"
    hint = "Send Content-Type: application/json."
    fault = Violation("/header/content-type", "not_json", "must be application/json", hint)
    return InvalidRequest(f"{words}, and was not read.", code="not_json", hint=hint, violations=[fault])


HTTP_CODES = {404: errors.NotFound, 413: errors.TooLarge}


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.detail, TrainhouseError):  # a body that could not be parsed comes this way
        return problem(request, error.detail)
    kind: Any = HTTP_CODES.get(error.status_code, InvalidRequest)
    inner = (
        kind() if kind is not InvalidRequest else InvalidRequest(str(error.detail), code=f"http_{error.status_code}")
    )
    document = {
        **inner.document(),
        "status": error.status_code,
        "request_id": getattr(request.state, "request_id", None),
    }
    return JSONResponse(document, status_code=error.status_code, headers=error.headers, media_type=MEDIA_TYPE)


async def _database(request: Request, error: Exception) -> Response:
    if is_outage(error):
        return problem(request, errors.DatabaseUnavailable())
    return await _unknown(request, error)


async def _unknown(request: Request, error: Exception) -> Response:
    log.error("request_broke", path=request.url.path, kind=type(error).__name__, exc_info=error)
    return problem(request, TrainhouseError("The service met an error of its own; it was logged.", code="internal"))


def install(app: FastAPI) -> None:
    """Makes every error that leaves a handler of `app` a problem document."""
    app.add_exception_handler(TrainhouseError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(Exception, _unknown)

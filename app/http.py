"""What routers share: the session, the caller, strict bodies, paging and idempotency."""

import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Literal

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import Depends, Path, Query, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, BeforeValidator
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from app.db import transaction
from app.errors import (
    Forbidden,
    InvalidRequest,
    TrainhouseError,
    Unauthenticated,
)
from app.idempotency import Once
from app.problems import status_of
from app.secrets import Vault, lookup_of
from app.settings import Settings
from app.spec.base import no_nul
from app.storage import S3Store
from app.strict import parse_json
from app.tables import ApiKey

MAX_JSON_BYTES = 256 * 1024
Scope = Literal["read", "train", "review", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "train", "review", "admin")


class StrictRequest(Request):
    """A request whose JSON body is parsed by the contract's rules."""

    async def json(self) -> Any:
        """The body as a document; a fault in it travels as an HTTPException, which FastAPI lets through."""
        try:
            return parse_json(await self.body())
        except TrainhouseError as error:
            raise HTTPException(status_of(error), detail=error) from None  # type: ignore[arg-type]


class StrictRoute(APIRoute):
    """A route that reads its body through StrictRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


async def the_settings(request: Request) -> Settings:
    """This process's settings."""
    found: Settings = request.app.state.settings
    return found


async def the_vault(request: Request) -> Vault:
    """What seals and opens secrets."""
    found: Vault = request.app.state.vault
    return found


async def the_store(request: Request) -> S3Store:
    """Where blobs are."""
    found: S3Store = request.app.state.store
    return found


async def open_session(request: Request) -> AsyncIterator[Session]:
    """One transaction for one request; it commits before the answer is sent.

    Raises:
        Unavailable: too many requests wait for a connection.
    """
    async with request.app.state.turns:
        opened = transaction(request.app.state.engine)
        session = opened.__enter__()  # connects at its first statement
        try:
            yield session
        except BaseException as error:
            with CancelScope(shield=True):
                await to_thread.run_sync(
                    opened.__exit__, type(error), error, error.__traceback__, limiter=CapacityLimiter(1)
                )
            raise
        await to_thread.run_sync(opened.__exit__, None, None, None, limiter=CapacityLimiter(1))


SessionDep = Annotated[Session, Depends(open_session, scope="function")]
SettingsDep = Annotated[Settings, Depends(the_settings)]
VaultDep = Annotated[Vault, Depends(the_vault)]
StoreDep = Annotated[S3Store, Depends(the_store)]

bearer = HTTPBearer(auto_error=False, description="An API key, `th_live_…`.")


@dataclass(frozen=True)
class Caller:
    """Who calls: a key of a project, with its scopes."""

    project_id: str
    key_id: str
    scopes: frozenset[str]


def authenticate(session: Session, vault: Vault, headers: Sequence[str]) -> Caller:
    """The caller whose Authorization headers these are.

    Raises:
        Unauthenticated: the same words whatever was wrong.
    """
    scheme, _, key = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    lookup = lookup_of(key) if scheme.lower() == "bearer" else None
    row = session.scalar(select(ApiKey).where(ApiKey.lookup == lookup)) if lookup else None
    now = datetime.now(UTC)
    if row is None or not vault.knows(key, row.digest) or row.revoked_at or (row.expires_at and row.expires_at <= now):
        raise Unauthenticated(hint="Send `Authorization: Bearer th_…` with a key that is neither revoked nor expired.")
    if row.last_used_at is None or row.last_used_at < now - timedelta(minutes=1):
        session.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=func.now()))
    return Caller(row.project_id, row.id, frozenset(row.scopes))


def admit(session: Session, vault: Vault, request: Request, *, scope: Scope) -> Caller:
    """The caller of `request`, who must have `scope`; `admin` includes all.

    Raises:
        Unauthenticated
        Forbidden
    """
    found = authenticate(session, vault, request.headers.getlist("authorization"))
    if scope not in found.scopes and "admin" not in found.scopes:
        raise Forbidden(f"This key does not have the scope {scope!r}.", hint="Use a key that has it.")
    return found


Shown = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


@cache
def caller_with(scope: Scope) -> Any:
    """A dependency that gives the caller, known within the request's one transaction."""

    def caller(request: Request, session: SessionDep, vault: VaultDep, _shown: Shown) -> Caller:
        return admit(session, vault, request, scope=scope)

    return Depends(caller, scope="function")


def _admit_alone(request: Request, vault: Vault, scope: Scope) -> Caller:
    with transaction(request.app.state.engine) as session:
        return admit(session, vault, request, scope=scope)


@cache
def caller_before(scope: Scope) -> Any:
    """A dependency that gives the caller in a transaction of its own, for an operation that waits or streams."""

    async def caller(request: Request, vault: VaultDep, _shown: Shown) -> Caller:
        async with request.app.state.turns:
            return await run_in_threadpool(_admit_alone, request, vault, scope)

    return Depends(caller)


Reader = Annotated[Caller, caller_with("read")]
Trainer = Annotated[Caller, caller_with("train")]
Reviewer = Annotated[Caller, caller_with("review")]
Admin = Annotated[Caller, caller_with("admin")]
EarlyReader = Annotated[Caller, caller_before("read")]
EarlyTrainer = Annotated[Caller, caller_before("train")]


def _plain_number(text: object) -> object:
    if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError("must be a whole number in decimal digits")
    return text


ModelName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["late-flights"])]
VersionNumber = Annotated[int, BeforeValidator(_plain_number), Path(ge=1, le=2**31 - 1, examples=[3])]


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted; `after` is the last key of the page before."""

    limit: int
    after: list[str | int] | None

    @property
    def after_text(self) -> str | None:
        """The last key of the page before, for a list whose key is one text.

        Raises:
            InvalidRequest: the cursor belongs to another list.
        """
        if self.after is None:
            return None
        if len(self.after) != 1 or not isinstance(self.after[0], str):
            raise InvalidRequest("That cursor is not one of this list's.", code="invalid_cursor")
        return self.after[0]

    @property
    def after_number(self) -> int | None:
        """The last key of the page before, for a list whose key is one number.

        Raises:
            InvalidRequest: the cursor belongs to another list.
        """
        if self.after is None:
            return None
        if len(self.after) != 1 or not isinstance(self.after[0], int):
            raise InvalidRequest("That cursor is not one of this list's.", code="invalid_cursor")
        return self.after[0]


async def page(
    limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Annotated[str | None, Query(max_length=512)] = None
) -> Page:
    """The page that the query parameters ask for.

    Raises:
        InvalidRequest: the cursor is not one that this service gave out.
    """
    if cursor is None:
        return Page(limit, None)
    try:
        after = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
        if isinstance(after, list):
            after = [no_nul(key) if isinstance(key, str) else key for key in after]
    except (ValueError, UnicodeError, RecursionError, binascii.Error):
        after = None
    sound = isinstance(after, list) and 0 < len(after) <= 3 and all(
        isinstance(key, str) or (type(key) is int and abs(key) < 2**62) for key in after
    )  # fmt: skip
    if not sound:
        raise InvalidRequest("That cursor is not one of this service's.", code="invalid_cursor")
    return Page(limit, after)


PageDep = Annotated[Page, Depends(page)]


def cursor_after(*key: str | int) -> str:
    """The cursor of the page that starts after `key`."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def listing(items: Sequence[BaseModel], *, limit: int, key: Callable[[Any], Sequence[str | int]]) -> dict[str, Any]:
    """A list answer of at most `limit` items, made of up to `limit + 1` that were read."""
    shown = items[:limit]
    more = len(items) > limit
    return {"items": shown, "next_cursor": cursor_after(*key(shown[-1])) if more else None}


async def raw_body(request: Request) -> bytes:
    """The bytes of the body, which the operation also parses."""
    return await request.body()


@cache
def once_for(scope: Scope) -> Any:
    """A dependency that gives a Once for the JSON body of a caller with `scope`."""
    who = caller_with(scope)

    def once(
        request: Request, session: SessionDep, raw: Annotated[bytes, Depends(raw_body)], caller: Annotated[Caller, who]
    ) -> Once:
        made = Once(request, session, request.app.state.vault, project_id=caller.project_id)
        made.begin(raw)
        return made

    return Depends(once, scope="function")


ReadOnce = Annotated[Once, once_for("read")]
TrainOnce = Annotated[Once, once_for("train")]
ReviewOnce = Annotated[Once, once_for("review")]
AdminOnce = Annotated[Once, once_for("admin")]

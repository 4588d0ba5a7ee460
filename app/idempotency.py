"""The first answer to a POST, kept for a day under its Idempotency-Key, so that a retry does nothing twice."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import IdempotencyKeyReused, InvalidRequest, StillRunning
from app.secrets import Vault
from app.tables import IdempotencyKey


class Replay(Exception):  # not an error: the first answer, sent again
    """The first answer to this Idempotency-Key."""

    def __init__(self, row: IdempotencyKey, body: str) -> None:
        headers = {**(row.headers or {}), "Idempotency-Replayed": "true"}
        self.response = Response(body, status_code=row.status or 200, headers=headers)


class Once:
    """The answer to a POST, kept with its Idempotency-Key in the same transaction as what the POST did."""

    def __init__(self, request: Request, session: Session, vault: Vault, *, project_id: str) -> None:
        self._request, self._session, self._vault, self._project_id = request, session, vault, project_id
        self._key = _idempotency_key(request)

    def begin(self, payload: bytes | str) -> None:
        """Takes the key for this payload, or sends the first answer again.

        Raises:
            Replay: this key and payload were answered before.
            IdempotencyKeyReused: this key came with another payload.
            StillRunning: the first request has not ended.
        """
        if self._key is None:
            return
        raw = payload.encode() if isinstance(payload, str) else payload
        route = f"{self._request.method} {self._request.url.path}\n".encode()
        digest = hashlib.sha256(route + raw).hexdigest()
        row = IdempotencyKey(project_id=self._project_id, key=self._key, request_digest=digest)
        taken = insert(IdempotencyKey).values(
            project_id=row.project_id, key=row.key, request_digest=digest
        ).on_conflict_do_nothing().returning(IdempotencyKey.key)  # fmt: skip
        try:
            if self._session.scalar(taken) is not None:
                return
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
                raise StillRunning(retry_after_seconds=1) from None
            raise
        first = self._session.get_one(IdempotencyKey, (self._project_id, self._key))
        if first.request_digest != digest:
            raise IdempotencyKeyReused(hint="Use a fresh key for a new request; send the same body to repeat one.")
        raise Replay(first, self._vault.unseal(first.body) if first.body else "")

    def answer(
        self, status: int, body: BaseModel | Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The response, remembered under the key where there is one; sealed, as it may show a secret for the only time."""
        document = body.model_dump(mode="json") if isinstance(body, BaseModel) else body
        raw = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        kept = {"content-type": "application/json", **(headers or {})}
        if self._key is not None:
            self._session.execute(
                update(IdempotencyKey)
                .where(IdempotencyKey.project_id == self._project_id, IdempotencyKey.key == self._key)
                .values(status=status, headers=kept, body=self._vault.seal(raw.decode()))
            )
        return Response(raw, status_code=status, headers=kept)


def _idempotency_key(request: Request) -> str | None:
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    key = given[0].strip().strip('"')
    if len(given) > 1 or not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            "Idempotency-Key must be 1 to 255 printable ASCII characters.", code="invalid_idempotency_key"
        )
    return key

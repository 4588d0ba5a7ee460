"""One attempt at one webhook delivery: claim, send, settle; the rows decide when the next one is due."""

import base64
import hashlib
import hmac
import math
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from secrets import token_hex

import structlog
from sqlalchemy import Engine, Select, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.db import transaction
from app.egress import Egress
from app.errors import MachineError, TrainhouseError, bounded
from app.secrets import Vault
from app.tables import Delivery, Event, WebhookEndpoint
from app.webhooks.message import body
from workers.room import Room

log = structlog.get_logger()

SCHEDULE = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds from one failed attempt to the next; after the tenth attempt there is none."""
JITTER = 0.1
LONGEST_WAIT_SECONDS = 86_400.0
LEASE_SECONDS = 30
DEADLINE_SECONDS = 15.0
GIVE_UP_AFTER = timedelta(days=5)
LOGGED_ATTEMPTS = 20
MOST_AT_ONCE = 4


@dataclass(frozen=True)
class _Claim:
    """What an attempt needs to know, read in the transaction that took the lease."""

    id: str
    endpoint_id: str
    owner: str
    url: str
    event_id: str
    body: bytes
    secrets: list[str]
    failing: bool


@dataclass(frozen=True)
class _Result:
    """What came of an attempt."""

    status: int | None
    error: str | None
    retry_after: str | None
    at: datetime
    duration_seconds: float

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def deliver_in(room: Room, delivery_id: str) -> None:
    """Makes one attempt with the means of this worker; see `deliver`."""
    deliver(room.engine, room.vault, _egress_of(room), delivery_id)


@lru_cache(maxsize=1)
def _egress_of(room: Room) -> Egress:
    """Kept, because reading the certificates of the trusted authorities takes longer than a delivery."""
    return Egress(room.settings)


def deliver(engine: Engine, vault: Vault, egress: Egress, delivery_id: str) -> bool:
    """Makes one attempt, where the delivery is due and nobody else is at it; returns whether one was made.

    A crash after sending leads to the same message again, with the same webhook-id.

    Raises:
        DatabaseUnavailable: before sending, nothing happened; afterwards, the lease brings the delivery back.
    """
    with transaction(engine) as session:
        claim = _claim(session, vault, delivery_id)
    if claim is None:
        return False
    result = _send(egress, claim)
    with transaction(engine) as session:
        _settle(session, claim, result)
    log.info(
        "webhook_attempted", delivery_id=claim.id, status=result.status, error=result.error,
        duration_seconds=round(result.duration_seconds, 3),
    )  # fmt: skip
    return True


def _claim(session: Session, vault: Vault, delivery_id: str) -> _Claim | None:
    found = session.execute(_due(delivery_id)).one_or_none()
    if found is None:
        return None
    delivery, endpoint, event, under_way = found
    if endpoint.deleted_at is not None or endpoint.disabled_at is not None:
        _end(delivery, "failed")
        return None
    if under_way >= (1 if endpoint.failing_since else MOST_AT_ONCE):
        delivery.due_at, delivery.rung_at = func.now() + timedelta(seconds=random.uniform(1, 3)), None  # noqa: S311
        return None
    try:
        secrets = _secrets(vault, endpoint)
    except MachineError as error:  # of a key that the installation no longer has: no later attempt would go better
        _note(delivery, at=datetime.now(UTC), status=None, error=f"{error.stable_code}: {error.detail}", seconds=0.0)
        _end(delivery, "failed")
        return None
    owner = token_hex(8)
    delivery.attempts += 1
    delivery.lease_owner, delivery.lease_until = owner, func.now() + timedelta(seconds=LEASE_SECONDS)
    return _Claim(
        delivery.id, endpoint.id, owner, endpoint.url, event.id, body(event), secrets,
        failing=endpoint.failing_since is not None,
    )  # fmt: skip


def _due(delivery_id: str) -> Select[Delivery, WebhookEndpoint, Event, int]:
    """The delivery where it is due and free, its endpoint, its event, and how many attempts its receiver has before it.

    A failing receiver gets one attempt at a time, so that it cannot hold up all senders until their deadline.
    """
    other = aliased(Delivery)
    under_way = (
        select(func.count())
        .where(other.endpoint_id == Delivery.endpoint_id, other.status == "pending", other.lease_until > func.now())
        .scalar_subquery()
    )
    return (
        select(Delivery, WebhookEndpoint, Event, under_way)
        .join(WebhookEndpoint, WebhookEndpoint.id == Delivery.endpoint_id)
        .join(Event, Event.id == Delivery.event_id)
        .where(
            Delivery.id == delivery_id, Delivery.status == "pending", Delivery.due_at <= func.now(),
            or_(Delivery.lease_until.is_(None), Delivery.lease_until < func.now()),
        )
        .with_for_update(of=Delivery, skip_locked=True)
    )  # fmt: skip


def _secrets(vault: Vault, endpoint: WebhookEndpoint) -> list[str]:
    found = [vault.unseal(endpoint.sealed_secret)]
    overlap = endpoint.previous_expires_at
    if endpoint.previous_sealed_secret and overlap and overlap > datetime.now(UTC):
        found.append(vault.unseal(endpoint.previous_sealed_secret))
    return found


def signature(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """The Standard Webhooks signature, `v1,<base64>`: HMAC-SHA256 of `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _send(egress: Egress, claim: _Claim) -> _Result:
    at, started = datetime.now(UTC), time.monotonic()
    stamp = int(at.timestamp())
    signatures = [
        signature(secret, message_id=claim.event_id, timestamp=stamp, body=claim.body) for secret in claim.secrets
    ]
    headers = {
        "Content-Type": "application/json", "webhook-id": claim.event_id, "webhook-timestamp": str(stamp),
        "webhook-signature": " ".join(signatures),
    }  # fmt: skip
    status, error, retry_after = None, None, None
    try:
        answer = egress.post(claim.url, claim.body, headers, deadline_seconds=DEADLINE_SECONDS, max_response_bytes=0)
        status, retry_after = answer.status, answer.headers.get("retry-after")
        error = None if 200 <= status < 300 else f"the receiver answered {status}"
    except TrainhouseError as fault:
        error = f"{fault.stable_code}: {bounded(fault.detail)}"
    return _Result(status, error, retry_after, at, time.monotonic() - started)


def _settle(session: Session, claim: _Claim, result: _Result) -> None:
    if claim.failing or not result.succeeded:  # the endpoint before its deliveries, as who removes it locks them
        endpoint = select(WebhookEndpoint.id).where(WebhookEndpoint.id == claim.endpoint_id)
        session.execute(endpoint.with_for_update(key_share=True))
    held = select(Delivery).where(Delivery.id == claim.id, Delivery.lease_owner == claim.owner).with_for_update()
    delivery = session.scalar(held)
    if delivery is None:  # the lease ran out and somebody else is at it
        return
    _note(delivery, at=result.at, status=result.status, error=result.error, seconds=result.duration_seconds)
    if result.succeeded:
        _end(delivery, "succeeded")
    elif result.status == 410 or delivery.attempts > len(SCHEDULE):
        _end(delivery, "failed")
    elif delivery.status == "pending":
        delivery.due_at = func.now() + timedelta(seconds=wait_seconds(delivery.attempts, result.retry_after))
        delivery.lease_owner = delivery.lease_until = delivery.rung_at = None
    if claim.failing or not result.succeeded:
        _mark_endpoint(session, delivery.endpoint_id, result)
    if delivery.status == "failed":
        _forget_failures(session, delivery)


def _note(delivery: Delivery, *, at: datetime, status: int | None, error: str | None, seconds: float) -> None:
    line = {"at": at.isoformat(), "status": status, "error": error, "duration_seconds": round(seconds, 3)}
    delivery.log = [*delivery.log, line][-LOGGED_ATTEMPTS:]


def _forget_failures(session: Session, ended: Delivery) -> None:
    """Lets a failing endpoint begin anew where nothing that was tried waits: no attempt fails while none is made."""
    tried = select(Delivery.id).where(
        Delivery.endpoint_id == ended.endpoint_id, Delivery.id != ended.id, Delivery.status == "pending",
        Delivery.attempts > 0,
    )  # fmt: skip
    session.execute(
        update(WebhookEndpoint)
        .where(WebhookEndpoint.id == ended.endpoint_id, WebhookEndpoint.disabled_at.is_(None), ~tried.exists())
        .values(failing_since=None)
    )


def _end(delivery: Delivery, status: str) -> None:
    delivery.status, delivery.finished_at = status, func.now()
    delivery.due_at = delivery.lease_owner = delivery.lease_until = delivery.rung_at = None


def _mark_endpoint(session: Session, endpoint_id: str, result: _Result) -> None:
    """A success forgets failures; a 410, or five days of failures, disables."""
    this = update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
    if result.succeeded:
        session.execute(this.where(WebhookEndpoint.failing_since.is_not(None)).values(failing_since=None))
        return
    session.execute(this.where(WebhookEndpoint.failing_since.is_(None)).values(failing_since=func.now()))
    enabled = this.where(WebhookEndpoint.disabled_at.is_(None))
    if result.status == 410:
        session.execute(enabled.values(disabled_at=func.now(), disabled_reason="the receiver answered 410 Gone"))
        return
    for_days = enabled.where(WebhookEndpoint.failing_since < func.now() - GIVE_UP_AFTER)
    session.execute(for_days.values(disabled_at=func.now(), disabled_reason="every attempt failed for 5 days"))


def wait_seconds(attempts: int, retry_after: str | None = None) -> float:
    """Seconds until the next attempt after `attempts` failed ones, at least as many as the receiver asked for."""
    scheduled = SCHEDULE[min(attempts, len(SCHEDULE)) - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return min(max(scheduled, _asked_seconds(retry_after)), LONGEST_WAIT_SECONDS * (1 + JITTER))


def _asked_seconds(retry_after: str | None) -> float:
    """What a Retry-After header asks for, at most a day; 0 where it says nothing that can be followed."""
    if not retry_after or len(retry_after) > 64:
        return 0.0
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        asked = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return 0.0
        asked = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(asked, 0.0), LONGEST_WAIT_SECONDS) if math.isfinite(asked) else 0.0

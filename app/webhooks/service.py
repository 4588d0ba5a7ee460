"""Keeps webhook endpoints and their secrets, and says what became of each delivery."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from app import events
from app.errors import Conflict, NotFound
from app.ids import new_id
from app.secrets import Vault, new_webhook_secret
from app.tables import Delivery, Event, WebhookEndpoint
from app.webhooks.message import payload
from app.webhooks.schemas import DeliveryShown, EndpointPatch, EndpointRequest, EndpointShown

MAX_ENDPOINTS = 100
ROTATION = timedelta(hours=24)


def make(session: Session, vault: Vault, project_id: str, wanted: EndpointRequest) -> tuple[EndpointShown, str]:
    """A new endpoint, and its secret, which is not readable again.

    Raises:
        Conflict: the project has MAX_ENDPOINTS.
    """
    held = select(func.count()).where(WebhookEndpoint.project_id == project_id, WebhookEndpoint.deleted_at.is_(None))
    if (session.scalar(held) or 0) >= MAX_ENDPOINTS:
        raise Conflict(f"The project has {MAX_ENDPOINTS} webhooks.", code="too_many_webhooks")
    secret = new_webhook_secret()
    row = WebhookEndpoint(
        id=new_id("whe"), project_id=project_id, url=wanted.url, events=wanted.events, description=wanted.description,
        sealed_secret=vault.seal(secret),
    )  # fmt: skip
    session.add(row)
    session.flush()
    session.refresh(row)
    return shown(row), secret


def find(session: Session, project_id: str, endpoint_id: str, *, lock: bool = False) -> WebhookEndpoint:
    """The project's endpoint of that id.

    Raises:
        NotFound
    """
    wanted = select(WebhookEndpoint).where(
        WebhookEndpoint.project_id == project_id,
        WebhookEndpoint.id == endpoint_id,
        WebhookEndpoint.deleted_at.is_(None),
    )
    found = session.scalar(wanted.with_for_update() if lock else wanted)
    if found is None:
        raise NotFound("There is no such webhook.")
    return found


def endpoints(session: Session, project_id: str, *, after: str | None, limit: int) -> Sequence[EndpointShown]:
    """Up to `limit` endpoints of the project, the newest first, those before the id `after`."""
    wanted = (
        select(WebhookEndpoint)
        .where(WebhookEndpoint.project_id == project_id, WebhookEndpoint.deleted_at.is_(None))
        .order_by(WebhookEndpoint.id.desc())
        .limit(limit)
    )
    return [shown(row) for row in session.scalars(wanted.where(WebhookEndpoint.id < after) if after else wanted)]


def change(session: Session, project_id: str, endpoint_id: str, patch: EndpointPatch) -> EndpointShown:
    """The endpoint after the change; enabling it forgets its failures.

    Raises:
        NotFound
    """
    row = find(session, project_id, endpoint_id, lock=True)
    row.url = patch.url or row.url
    row.events = patch.events or row.events
    row.description = row.description if patch.description is None else patch.description
    if patch.enabled:
        row.disabled_at = row.disabled_reason = row.failing_since = None
    elif patch.enabled is False and row.disabled_at is None:
        row.disabled_at, row.disabled_reason = datetime.now(UTC), "disabled by the caller"
    return shown(row)


def remove(session: Session, project_id: str, endpoint_id: str) -> None:
    """Takes an endpoint away; what was on its way to it is not sent.

    Raises:
        NotFound
    """
    row = find(session, project_id, endpoint_id, lock=True)
    row.deleted_at = func.now()
    session.execute(
        update(Delivery)
        .where(Delivery.endpoint_id == row.id, Delivery.status == "pending")
        .values(status="failed", due_at=None, finished_at=func.now())
    )


def rotate(session: Session, vault: Vault, project_id: str, endpoint_id: str) -> tuple[EndpointShown, str]:
    """A new secret; for ROTATION the old one signs as well, so that the receiver can change over.

    Raises:
        NotFound
    """
    row = find(session, project_id, endpoint_id, lock=True)
    secret = new_webhook_secret()
    row.previous_sealed_secret, row.previous_expires_at = row.sealed_secret, datetime.now(UTC) + ROTATION
    row.sealed_secret = vault.seal(secret)
    return shown(row), secret


def send_test(session: Session, project_id: str, endpoint_id: str) -> DeliveryShown:
    """Sends a `webhook.test` to this endpoint and to no other, whatever it listens to.

    Raises:
        NotFound
        Conflict: the endpoint is disabled.
    """
    row = find(session, project_id, endpoint_id)
    _refuse_disabled(row)
    event = events.append(session, project_id, type="webhook.test", data={"webhook_id": row.id})
    session.refresh(event)
    delivery = events.deliver_to(session, endpoint_id=row.id, event_id=event.id)
    session.refresh(delivery)
    return _delivery_shown(delivery, event)


def redeliver(session: Session, project_id: str, delivery_id: str) -> DeliveryShown:
    """Makes a delivery due now, with the same webhook-id as before.

    Raises:
        NotFound
        Conflict: the endpoint is disabled.
    """
    delivery, event = _delivery(session, project_id, delivery_id, lock=True)
    _refuse_disabled(find(session, project_id, delivery.endpoint_id))
    delivery.status, delivery.finished_at, delivery.rung_at = "pending", None, None
    delivery.due_at = func.now()
    session.flush()
    session.refresh(delivery)
    events.ring(session)
    return _delivery_shown(delivery, event)


def delivery(session: Session, project_id: str, delivery_id: str) -> DeliveryShown:
    """One delivery.

    Raises:
        NotFound
    """
    return _delivery_shown(*_delivery(session, project_id, delivery_id, lock=False))


def deliveries(
    session: Session,
    project_id: str,
    endpoint_id: str,
    *,
    status: str | None,
    after: tuple[str, str] | None,
    limit: int,
) -> Sequence[DeliveryShown]:
    """Up to `limit` deliveries to an endpoint, the newest first, those before `after` = (created_at, id).

    Raises:
        NotFound: there is no such endpoint.
    """
    find(session, project_id, endpoint_id)
    wanted = (
        select(Delivery, Event)
        .join(Event, Event.id == Delivery.event_id)
        .where(Delivery.endpoint_id == endpoint_id)
        .order_by(Delivery.created_at.desc(), Delivery.id.desc())
        .limit(limit)
    )
    if status is not None:
        wanted = wanted.where(Delivery.status == status)
    if after is not None:
        wanted = wanted.where(tuple_(Delivery.created_at, Delivery.id) < (datetime.fromisoformat(after[0]), after[1]))
    return [_delivery_shown(row, event) for row, event in session.execute(wanted)]


def _delivery(session: Session, project_id: str, delivery_id: str, *, lock: bool) -> tuple[Delivery, Event]:
    wanted = (
        select(Delivery, Event)
        .join(Event, Event.id == Delivery.event_id)
        .join(WebhookEndpoint, WebhookEndpoint.id == Delivery.endpoint_id)
        .where(
            WebhookEndpoint.project_id == project_id, WebhookEndpoint.deleted_at.is_(None), Delivery.id == delivery_id
        )
    )
    found = session.execute(wanted.with_for_update(of=Delivery) if lock else wanted).one_or_none()
    if found is None:
        raise NotFound("There is no such delivery.")
    return found[0], found[1]


def _refuse_disabled(row: WebhookEndpoint) -> None:
    if row.disabled_at is not None:
        raise Conflict("This webhook is disabled.", code="webhook_disabled", hint="PATCH it with enabled: true first.")


def shown(row: WebhookEndpoint) -> EndpointShown:
    """The row as callers see it."""
    overlap = row.previous_expires_at
    return EndpointShown(
        id=row.id, url=row.url, events=row.events, description=row.description, enabled=row.disabled_at is None,
        disabled_at=row.disabled_at, disabled_reason=row.disabled_reason, failing_since=row.failing_since,
        previous_secret_expires_at=overlap if overlap and overlap > datetime.now(UTC) else None,
        created_at=row.created_at,
    )  # fmt: skip


def _delivery_shown(row: Delivery, event: Event) -> DeliveryShown:
    return DeliveryShown(
        id=row.id, endpoint_id=row.endpoint_id, event_id=event.id, event_type=event.type, status=row.status,  # type: ignore[arg-type]
        attempts=row.attempts, due_at=row.due_at, log=row.log, payload=payload(event), created_at=row.created_at,
        finished_at=row.finished_at,
    )  # fmt: skip

"""What happened, said once: an event row is the outbox, the audit trail and the stream."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import or_, text
from sqlalchemy.orm import Session

from app.ids import derived_id, new_id
from app.tables import Delivery, Event, WebhookEndpoint

ANNOUNCED = frozenset({
    "job.succeeded", "job.failed", "job.rejected", "job.cancelled", "job.awaiting_review", "review.decided",
    "model.version.registered", "model.alias.moved", "deployment.requested", "deployment.reported",
    "drift.detected", "trigger.fired", "webhook.test",
})  # fmt: skip
"""The types that endpoints can subscribe to; all others only feed streams and the audit trail."""

BELLS = "trainhouse_bells"
STREAM = "trainhouse_events"
NOTIFIED = "notified"
"""What this session has said to streams: it is one transaction, and all that is said in one arrives at its commit."""


def append(  # an event is what it is about
    session: Session,
    project_id: str,
    *,
    type: str,  # noqa: A002  # the contract's word
    data: Mapping[str, Any],
    job_id: str | None = None,
    once: str | None = None,
) -> Event:
    """Records an event, and a delivery for each endpoint that listens, in the caller's transaction.

    Args:
        once: Where given, the event's id is derived from it, so that it can come into being only once.
    """
    event_id = derived_id("evt", once, type) if once else new_id("evt")
    event = Event(id=event_id, project_id=project_id, type=type, job_id=job_id, data=dict(data))
    session.add(event)
    session.flush()
    if type in ANNOUNCED and type != "webhook.test":
        _fan_out(session, event)
    notify_stream(session, job_id=job_id, project_id=project_id)
    return event


def _fan_out(session: Session, event: Event) -> None:
    listening = session.query(WebhookEndpoint.id).filter(
        WebhookEndpoint.project_id == event.project_id,
        WebhookEndpoint.deleted_at.is_(None),
        WebhookEndpoint.disabled_at.is_(None),
        or_(WebhookEndpoint.events.contains([event.type]), WebhookEndpoint.events.contains(["*"])),
    )
    for (endpoint_id,) in listening:
        deliver_to(session, endpoint_id=endpoint_id, event_id=event.id)


def deliver_to(session: Session, *, endpoint_id: str, event_id: str) -> Delivery:
    """Records that the event is to be delivered to one endpoint, and rings for it."""
    delivery = Delivery(id=derived_id("dlv", endpoint_id, event_id), endpoint_id=endpoint_id, event_id=event_id)
    session.add(delivery)
    session.flush()
    ring(session)
    return delivery


def ring(session: Session) -> None:
    """Wakes the dispatcher when the transaction commits."""
    session.execute(text(f"notify {BELLS}"))


def notify_stream(session: Session, *, job_id: str | None, project_id: str) -> None:
    """Wakes those who wait on this job or project when the transaction commits."""
    payload = json.dumps({"job": job_id, "project": project_id})
    said = session.info.setdefault(NOTIFIED, set())
    if payload in said:
        return
    said.add(payload)
    session.execute(text("select pg_notify(:channel, :payload)"), {"channel": STREAM, "payload": payload})

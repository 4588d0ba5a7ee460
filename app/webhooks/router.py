"""Webhook endpoints and deliveries over HTTP."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from app.egress import Egress
from app.errors import InvalidRequest
from app.http import (
    Admin,
    AdminOnce,
    Page,
    PageDep,
    Reader,
    SessionDep,
    SettingsDep,
    StrictRoute,
    VaultDep,
    listing,
)
from app.webhooks import service
from app.webhooks.schemas import (
    Deliveries,
    DeliveryShown,
    DeliveryStatus,
    EndpointMade,
    EndpointPatch,
    EndpointRequest,
    Endpoints,
    EndpointShown,
)

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["webhooks"])


@router.post("/webhooks", status_code=201, operation_id="make_webhook", response_model=EndpointMade)
def make_webhook(
    wanted: EndpointRequest, caller: Admin, session: SessionDep, vault: VaultDep, settings: SettingsDep, once: AdminOnce
) -> Response:
    """Registers an endpoint. Its signing secret is shown in this answer and never again."""
    Egress(settings).check_url(wanted.url)
    made, secret = service.make(session, vault, caller.project_id, wanted)
    answer = EndpointMade(**made.model_dump(), secret=secret)
    return once.answer(201, answer, headers={"Location": f"/v1/webhooks/{made.id}"})


@router.get("/webhooks", operation_id="list_webhooks", response_model=Endpoints)
def list_webhooks(caller: Reader, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """The project's endpoints, the newest first."""
    found = service.endpoints(session, caller.project_id, after=page.after_text, limit=page.limit + 1)
    return listing(found, limit=page.limit, key=lambda row: [row.id])


@router.get("/webhooks/{webhook_id}", operation_id="get_webhook")
def get_webhook(webhook_id: str, caller: Reader, session: SessionDep) -> EndpointShown:
    """One endpoint."""
    return service.shown(service.find(session, caller.project_id, webhook_id))


@router.patch("/webhooks/{webhook_id}", operation_id="change_webhook")
def change_webhook(
    webhook_id: str, patch: EndpointPatch, caller: Admin, session: SessionDep, settings: SettingsDep
) -> EndpointShown:
    """Changes an endpoint; `enabled: true` sets one going again that was disabled after failures."""
    if patch.url is not None:
        Egress(settings).check_url(patch.url)
    return service.change(session, caller.project_id, webhook_id, patch)


@router.delete("/webhooks/{webhook_id}", status_code=204, operation_id="remove_webhook")
def remove_webhook(webhook_id: str, caller: Admin, session: SessionDep) -> None:
    """Takes an endpoint away; what was on its way to it is not sent."""
    service.remove(session, caller.project_id, webhook_id)


@router.post("/webhooks/{webhook_id}/test", status_code=202, operation_id="test_webhook", response_model=DeliveryShown)
def test_webhook(webhook_id: str, caller: Admin, session: SessionDep, once: AdminOnce) -> Response:
    """Sends a `webhook.test` to this endpoint only."""
    sent = service.send_test(session, caller.project_id, webhook_id)
    return once.answer(202, sent, headers={"Location": f"/v1/deliveries/{sent.id}"})


@router.post("/webhooks/{webhook_id}/rotate", operation_id="rotate_webhook_secret", response_model=EndpointMade)
def rotate_webhook_secret(
    webhook_id: str, caller: Admin, session: SessionDep, vault: VaultDep, once: AdminOnce
) -> Response:
    """Gives a new secret; for 24 hours deliveries are signed with both."""
    changed, secret = service.rotate(session, vault, caller.project_id, webhook_id)
    return once.answer(200, EndpointMade(**changed.model_dump(), secret=secret))


@router.get("/webhooks/{webhook_id}/deliveries", operation_id="list_deliveries", response_model=Deliveries)
def list_deliveries(
    webhook_id: str,
    caller: Reader,
    session: SessionDep,
    page: PageDep,
    status: Annotated[DeliveryStatus | None, Query(description="only deliveries in this state")] = None,
) -> dict[str, Any]:
    """What was sent to an endpoint and what came of it, the newest first."""
    found = service.deliveries(
        session, caller.project_id, webhook_id, status=status, after=_after(page), limit=page.limit + 1
    )
    return listing(found, limit=page.limit, key=lambda row: [row.created_at.isoformat(), row.id])


def _after(page: Page) -> tuple[str, str] | None:
    if page.after is None:
        return None
    try:
        at, delivery_id = page.after
        return datetime.fromisoformat(str(at)).isoformat(), str(delivery_id)
    except ValueError:
        raise InvalidRequest("That cursor is not one of this list's.", code="invalid_cursor") from None


@router.get("/deliveries/{delivery_id}", operation_id="get_delivery")
def get_delivery(delivery_id: str, caller: Reader, session: SessionDep) -> DeliveryShown:
    """One delivery with its attempts."""
    return service.delivery(session, caller.project_id, delivery_id)


@router.post(
    "/deliveries/{delivery_id}/redeliver", status_code=202, operation_id="redeliver", response_model=DeliveryShown
)
def redeliver(delivery_id: str, caller: Admin, session: SessionDep, once: AdminOnce) -> Response:
    """Sends a delivery again, now, with the same webhook-id."""
    sent = service.redeliver(session, caller.project_id, delivery_id)
    return once.answer(202, sent, headers={"Location": f"/v1/deliveries/{sent.id}"})

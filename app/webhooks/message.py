"""The body of a delivery: thin, and the same bytes on every attempt."""

import json
from datetime import UTC
from typing import Any

from app.tables import Event


def payload(event: Event) -> dict[str, Any]:
    """What receivers are told of `event`."""
    at = event.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {"type": event.type, "timestamp": at, "data": event.data}


def body(event: Event) -> bytes:
    """`payload` as the bytes that are signed and sent."""
    return json.dumps(payload(event), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()

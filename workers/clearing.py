"""Clears the store of what nothing names any more."""

import structlog

from app.errors import StoreUnavailable
from app.registry import garbage
from workers.room import Room

log = structlog.get_logger()


def clear_in(room: Room, _said: str) -> None:
    """Removes the garbage that is due; an outage of the store leaves it for the next bell."""
    try:
        removed = garbage.collect(room.engine, room.store)
    except StoreUnavailable:
        log.warning("garbage_kept", reason="the store does not answer")
        return
    log.info("garbage_cleared", blobs=removed)

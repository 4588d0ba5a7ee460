"""The one way out: every host and URL that a caller supplied is judged here before a packet is sent.

An address counts, never a name: a host is resolved once, each of its addresses must be public or stand in the
operator's allow-list, and the connection goes to the very address that was judged.
"""

from app.egress.addresses import resolve
from app.egress.relay import Relay
from app.egress.sending import Egress, EgressResponse, Fetched

__all__ = ["Egress", "EgressResponse", "Fetched", "Relay", "resolve"]

"""Where an S3-compatible store is."""

from collections.abc import Mapping
from typing import Any

AMAZON = "s3.amazonaws.com"


def endpoint(config: Mapping[str, Any]) -> str:
    """The store's host or host:port; Amazon answers for each region under a name of its own."""
    named = config.get("endpoint")
    return str(named) if named not in {None, AMAZON} else f"s3.{config['region']}.amazonaws.com"

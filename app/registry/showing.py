"""Registry rows as callers see them."""

from typing import Any

from app.registry import service
from app.tables import ModelVersion


def version_document(
    row: ModelVersion, aliases: dict[str, int], digests: dict[int, str], public_url: str
) -> dict[str, Any]:
    """A version as callers see it; `aliases` and `digests` are those of its model."""
    shown = {column.key: getattr(row, column.key) for column in ModelVersion.__table__.columns}
    shown["url"] = service.version_url(public_url, row.model, row.version)
    shown["receipt_digest"] = digests.get(row.version)
    shown["aliases"] = [alias for alias, version in aliases.items() if version == row.version]
    return shown

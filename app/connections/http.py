"""What a connection of kind http adds to a request: one header, for one server only."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from app.errors import SourceRefused, SourceUnavailable

BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
NO_ENTRY = ("not_authorised", "Make a connection of kind http with the right token, and name it in the source.")
GONE = ("not_there", "Check the URL's path.")
REFUSALS: dict[int, tuple[str, str]] = {401: NO_ENTRY, 403: NO_ENTRY, 404: GONE, 410: GONE}
DEFAULT_PORTS = {"https": 443, "http": 80}


def base(config: Mapping[str, Any]) -> str:
    """`https://host[:port]`, the server that the connection is for."""
    return f"{'https' if config.get('secure', True) else 'http'}://{config.get('host', '')}"


def headers(url: str, config: Mapping[str, Any], secret: Mapping[str, str]) -> dict[str, str]:
    """The header that authorises a GET of `url`.

    Raises:
        SourceRefused: `other_host`: the URL leads elsewhere, where the secret must not go.
    """
    if _server(url) != _server(base(config)):
        raise SourceRefused("The URL leads to another server than the connection is for.", code="other_host",
                            hint=f"The connection is for {base(config)}; its secret goes nowhere else.")  # fmt: skip
    if "token" in secret:
        return {"Authorization": f"Bearer {secret['token']}"}
    return {str(config.get("header") or "Authorization"): secret["value"]} if "value" in secret else {}


def require_good(status: int) -> None:
    """Refuses an answer that is not the file itself.

    Raises:
        SourceRefused: the caller's to mend: `redirected`, `not_authorised`, `not_there`, or `source_refused`.
        SourceUnavailable: the server is at fault, or busy.
    """
    if status == HTTPStatus.OK:
        return
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in BUSY:
        raise SourceUnavailable(f"The server answers {status}.")
    code, hint = REFUSALS.get(status, ("source_refused", "The URL must answer 200 with the file itself."))
    if 300 <= status < 400:
        code, hint = "redirected", "No redirect is followed; name the URL that it leads to."
    raise SourceRefused(f"The server answers {status}.", code=code, hint=hint)


def _server(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", url, 0

"""Requests of a client library to one judged address, whatever the name says; answers of bounded length."""

from typing import Any

import urllib3
from urllib3.response import BaseHTTPResponse

MAX_DOCUMENT_BYTES = 32 * 1024**2
GOOD = {200, 204, 206}
XML = "application/xml"


class PinnedPool(urllib3.PoolManager):
    """Connects to `address`, checks the certificate against the name, follows no redirect and knows no proxy.

    A body that the caller does not stream himself, and that of every refusal, may be `MAX_DOCUMENT_BYTES` long.

    Args:
        attempts: How often a request is made at the most, where nothing or a 5xx comes back.
    """

    def __init__(self, address: str, *, connect_seconds: float, read_seconds: float, attempts: int = 1) -> None:
        retries = urllib3.Retry(
            attempts - 1, redirect=0, status_forcelist=(500, 502, 503, 504), backoff_factor=0.2,
            raise_on_redirect=False, raise_on_status=False, respect_retry_after_header=False,
        )  # fmt: skip
        timeout = urllib3.Timeout(connect=connect_seconds, read=read_seconds)
        super().__init__(timeout=timeout, retries=retries, cert_reqs="CERT_REQUIRED")
        self._address = address

    def connection_from_host(
        self, host: str | None, port: int | None = None, scheme: str | None = "http",
        pool_kwargs: dict[str, Any] | None = None,
    ) -> urllib3.HTTPConnectionPool:  # fmt: skip
        """See urllib3."""
        named = {"server_hostname": host, "assert_hostname": host} if scheme == "https" else {}
        return super().connection_from_host(self._address, port, scheme, {**(pool_kwargs or {}), **named})

    def urlopen(self, method: str, url: str, redirect: bool = False, **given: Any) -> BaseHTTPResponse:  # type: ignore[override]  # noqa: ARG002, FBT001, FBT002  # urllib3's own
        """See urllib3; `redirect` makes no difference.

        Raises:
            urllib3.exceptions.HTTPError
        """
        streamed = not given.pop("preload_content", True)
        response = super().urlopen(method, url, redirect=False, preload_content=False, **given)
        if streamed and response.status in GOOD:
            return response
        body = response.read(MAX_DOCUMENT_BYTES + 1, decode_content=True)
        response.close()
        if len(body) > MAX_DOCUMENT_BYTES:
            raise urllib3.exceptions.ResponseError("the answer is too long")
        headers = response.headers.copy()
        if headers.get("content-type", "").startswith("text/xml"):  # some stores say it so, and their client is strict
            headers["content-type"] = XML
        return urllib3.HTTPResponse(body=body, headers=headers, status=response.status, reason=response.reason,
                                    request_method=method, decode_content=False)  # fmt: skip

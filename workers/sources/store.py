"""A caller's S3-compatible store: what is in it, and bytes of it, over connections to the address that was judged."""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree.ElementTree import ParseError

from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from app.connections import s3
from app.egress import resolve
from app.egress.pinned import PinnedPool
from app.errors import DeadlineExceeded, InvalidData, SourceRefused, SourceUnavailable, TrainhouseError, bounded
from workers.context import ConnectionRef, Context
from workers.sources.base import Part, without_secrets

CHUNK = 1024**2
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 10.0, 30.0, 3
MAX_FILES = 10_000
MAX_LISTED = 1_000_000
TRANSIENT = {"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"}
MISSING = {"NoSuchBucket", "NoSuchKey"}
CHANGED = "PreconditionFailed"
MALFORMED = (ValueError, ParseError, LookupError, AttributeError, TypeError)
"""What the client stumbles over in an answer that is no S3."""


@dataclass(frozen=True)
class Listed:
    """A file of a bucket as it was when it was listed."""

    key: str
    size: int
    etag: str
    modified_at: datetime | None

    @property
    def part(self) -> Part:
        """The file, for people."""
        modified = self.modified_at.isoformat() if self.modified_at else None
        return Part(bounded(self.key), self.size, etag=bounded(self.etag) or None, modified_at=modified)


class Store:
    """One bucket of the store that `found` leads to.

    Each method raises SourceRefused where the store refuses, SourceUnavailable where it does not answer.

    Raises:
        EgressDenied: the endpoint may not be reached.
    """

    def __init__(self, found: ConnectionRef, bucket: str, ctx: Context) -> None:
        self._found, self._bucket, self._ctx = found, bucket, ctx
        region = str(found.config.get("region") or "us-east-1")
        secure = bool(found.config.get("secure", True))
        endpoint = s3.endpoint({**found.config, "region": region})
        addresses = resolve(*_host_and_port(endpoint, secure=secure))
        pool = PinnedPool(addresses[0], connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS, attempts=ATTEMPTS)
        with self._speaking():
            self._client = Minio(
                endpoint, access_key=found.secret.get("access_key"), secret_key=found.secret.get("secret_key"),
                session_token=found.secret.get("session_token"), secure=secure, region=region, http_client=pool,
            )  # fmt: skip
        # The bucket's own name could lead elsewhere.
        self._client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]

    def one(self, key: str) -> Listed | None:
        """The file `key`, or None."""
        try:
            with self._speaking():
                found = self._client.stat_object(self._bucket, key)
        except SourceRefused as refused:
            if refused.stable_code == "source_not_found":
                return None
            raise
        return Listed(key, found.size or 0, (found.etag or "").strip('"'), found.last_modified)

    def listed(self, prefix: str) -> Iterator[Listed]:
        """Every file whose key begins with `prefix`, as the store lists them.

        Raises:
            InvalidData: `too_many_files`.
        """
        with self._speaking():
            entries = iter(self._client.list_objects(self._bucket, prefix=prefix or None, recursive=True))
        for count in range(MAX_LISTED + 1):
            with self._speaking():
                entry = next(entries, None)
            if entry is None:
                return
            if count % 1_000 == 0:
                self._look_up()
            if not entry.is_dir and entry.object_name and entry.size:
                yield Listed(entry.object_name, entry.size, (entry.etag or "").strip('"'), entry.last_modified)
        raise InvalidData(f"More than {MAX_LISTED:,} files begin with {bounded(prefix)}.", code="too_many_files",
                          hint="Name a longer prefix.")  # fmt: skip

    def fetch(self, listed: Listed, path: Path, ranges: Iterable[tuple[int, int]] | None = None) -> int:
        """Writes the file, or (offset, length) `ranges` of it, to its place in `path`; returns how many bytes came.

        Raises:
            SourceRefused: `source_changed` where it is not what was listed any more.
            SourceUnavailable: it ended early.
        """
        came = 0
        with path.open("r+b" if path.exists() else "wb") as file:
            for offset, length in [(0, listed.size)] if ranges is None else ranges:
                file.seek(offset)
                for chunk in self._chunks(listed, offset, length):
                    file.write(chunk)
                    came += len(chunk)
        return came

    def _chunks(self, listed: Listed, offset: int, length: int) -> Iterator[bytes]:
        whole = offset == 0 and length == listed.size
        headers = {"If-Match": f'"{listed.etag}"'} if listed.etag else {}
        try:
            with self._speaking():
                response = self._client.get_object(
                    self._bucket, listed.key, request_headers=dict(headers), offset=0 if whole else offset,
                    length=0 if whole else length,
                )  # fmt: skip
        except SourceRefused as refused:
            raise (
                changed(listed) if refused.stable_code in {"source_not_found", "source_changed"} else refused
            ) from None
        try:
            self._require_same(response, listed, length)
            while length:
                self._look_up()
                with self._speaking():
                    chunk = response.read(min(CHUNK, length))
                if not chunk:
                    raise SourceUnavailable(f"{bounded(listed.key)} ended {length:,} bytes early.")
                length -= len(chunk)
                yield chunk
        finally:
            response.close()

    def _require_same(self, response: BaseHTTPResponse, listed: Listed, length: int) -> None:
        etag = response.headers.get("etag", "").strip('"')
        declared = response.headers.get("content-length", "")
        if (listed.etag and etag and etag != listed.etag) or (declared.isdigit() and int(declared) != length):
            raise changed(listed)

    def _look_up(self) -> None:
        """Stops where the stage must stop."""
        self._ctx.progress(0, 1)
        if time.monotonic() > self._ctx.deadline:
            raise DeadlineExceeded("Reading a store ran past the job's time limit.")

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Puts what the client raises into our words."""
        try:
            yield
        except (MinioException, HTTPError, OSError, *MALFORMED) as error:
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> TrainhouseError:
        """Whose turn it is after what the client raised."""
        store = f"The store of connection {self._found.name!r}"
        code, status = _code_and_status(error)
        if code in MISSING:
            return SourceRefused(f"{store} has no such bucket or file.", code="source_not_found",
                                 hint="Check the bucket, the key and the pattern.")  # fmt: skip
        if code == CHANGED or status == 412:
            return SourceRefused(f"{store} has another file by now.", code="source_changed")
        if code in TRANSIENT or status >= 500 or isinstance(error, HTTPError | OSError):
            reason = type(getattr(error, "reason", None) or error).__name__
            return SourceUnavailable(f"{store} does not answer ({code or status or reason}).")
        if code:
            said = bounded(without_secrets(f"{code}: {getattr(error, 'message', '')}", self._found))
            return SourceRefused(f"{store} refused: {said}", hint="Check the key, the bucket and the region.")
        return SourceRefused(f"{store} answered no S3 ({status or type(error).__name__}).",
                             hint="Check the endpoint, the bucket's name and the key.")  # fmt: skip


def _code_and_status(error: Exception) -> tuple[str, int]:
    """S3's own code, and the HTTP status where the client tells only that."""
    if isinstance(error, S3Error):
        return error.code or "", 0
    if isinstance(error, ServerError):
        return "", error.status_code
    found = re.search(r"Response code: (\d{3})", str(error)) if isinstance(error, InvalidResponseError) else None
    return "", int(found.group(1)) if found else 0


def changed(listed: Listed) -> SourceRefused:
    """The refusal of a file that is not what was listed."""
    return SourceRefused(f"{bounded(listed.key)} changed while it was read.", code="source_changed",
                         hint="Send the job again when nobody writes there.")  # fmt: skip


def _host_and_port(endpoint: str, *, secure: bool) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":") if re.search(r":\d+$", endpoint) else (endpoint, "", "")
    return host.strip("[]"), int(port or (443 if secure else 80))

"""Content-addressed blobs: the key is the digest, so a write is idempotent and a read can be verified."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Protocol

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from app.errors import DigestMismatch, NotFound, StoreUnavailable
from app.settings import Settings

CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """`sha256:…` of the bytes of `path`."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class BlobStore(Protocol):
    """Where blobs are kept. Each project has its own prefix; nothing is shared across projects."""

    def put(self, project_id: str, path: Path, *, digest: str | None = None) -> tuple[str, int]:
        """Stores the bytes of `path`; returns (digest, size in bytes). Storing again changes nothing.

        Raises:
            StoreUnavailable
        """
        ...

    def get(self, project_id: str, digest: str, target: Path) -> None:
        """Writes the blob to `target`, whole or not at all, after its digest was checked.

        Raises:
            NotFound: no such blob.
            DigestMismatch: the stored bytes are not what the digest says.
            StoreUnavailable
        """
        ...

    def size(self, project_id: str, digest: str) -> int | None:
        """The blob's size in bytes, or None where there is none.

        Raises:
            StoreUnavailable
        """
        ...

    def verify(self, project_id: str, digest: str) -> bool:
        """Whether the blob is there with the bytes that its digest says; one with others is removed, to be stored anew.

        Raises:
            StoreUnavailable
        """
        ...

    def remove(self, project_id: str, digest: str) -> None:
        """Removes a blob that no row names any more; one that is not there is as good as removed.

        Raises:
            StoreUnavailable
        """
        ...


def blob_key(project_id: str, digest: str) -> str:
    """The key of a blob; made here only, never by a caller."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
        raise NotFound("That is no digest of a blob.")
    return f"{project_id}/sha256/{value}"


def part_of(target: Path) -> Path:
    """Where the bytes of `target` are written until they are whole: no other process or thread writes there."""
    return target.with_name(f"{target.name}.{token_hex(8)}.part")


def _land(part: Path, digest: str, target: Path) -> None:
    if file_digest(part) != digest:
        part.unlink(missing_ok=True)
        raise DigestMismatch(f"The stored bytes of {digest} are not those that were recorded.")
    part.replace(target)


class FolderStore:
    """A store in a folder, for tests of what stands above it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, project_id: str, path: Path, *, digest: str | None = None) -> tuple[str, int]:
        """See BlobStore."""
        digest = digest or file_digest(path)
        target = self._folder / blob_key(project_id, digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = part_of(target)
            shutil.copyfile(path, part)
            _land(part, digest, target)
        return digest, target.stat().st_size

    def get(self, project_id: str, digest: str, target: Path) -> None:
        """See BlobStore."""
        source = self._folder / blob_key(project_id, digest)
        if not source.exists():
            raise NotFound(f"There is no blob {digest}.")
        part = part_of(target)
        shutil.copyfile(source, part)
        _land(part, digest, target)

    def size(self, project_id: str, digest: str) -> int | None:
        """See BlobStore."""
        source = self._folder / blob_key(project_id, digest)
        return source.stat().st_size if source.exists() else None

    def verify(self, project_id: str, digest: str) -> bool:
        """See BlobStore."""
        source = self._folder / blob_key(project_id, digest)
        if source.exists() and file_digest(source) != digest:
            source.unlink()
        return source.exists()

    def remove(self, project_id: str, digest: str) -> None:
        """See BlobStore."""
        (self._folder / blob_key(project_id, digest)).unlink(missing_ok=True)


class S3Store:
    """A store in a bucket of any S3-compatible engine."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self._client = self._connect(settings, settings.s3_endpoint)
        public = settings.s3_public_endpoint
        self._public = self._connect(settings, public) if public else self._client

    @staticmethod
    def _connect(settings: Settings, endpoint: str) -> Minio:
        retries = urllib3.Retry(total=4, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504])
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=3, read=60), maxsize=16, retries=retries, cert_reqs="CERT_REQUIRED"
        )
        return Minio(
            endpoint, access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(), secure=settings.s3_secure,
            region=settings.s3_region, http_client=pool,
        )  # fmt: skip

    def ensure_bucket(self) -> None:
        """Makes the bucket where it is missing."""
        with _translated():
            if not self._client.bucket_exists(self.bucket):
                self._client.make_bucket(self.bucket)

    def ping(self) -> None:
        """Raises StoreUnavailable where the bucket cannot be reached."""
        with _translated():
            if not self._client.bucket_exists(self.bucket):
                raise StoreUnavailable(f"The bucket {self.bucket} does not exist.")

    def put(self, project_id: str, path: Path, *, digest: str | None = None) -> tuple[str, int]:
        """See BlobStore. The bytes are written first and their size read back; rows come after."""
        digest, size = digest or file_digest(path), path.stat().st_size
        if self.size(project_id, digest) != size:
            with _translated():
                self._client.fput_object(self.bucket, blob_key(project_id, digest), str(path), part_size=16 << 20)
            if self.size(project_id, digest) != size:
                raise StoreUnavailable("The object store did not keep what it was given.")
        return digest, size

    def get(self, project_id: str, digest: str, target: Path) -> None:
        """See BlobStore."""
        part = part_of(target)
        with _translated():
            response = self._client.get_object(self.bucket, blob_key(project_id, digest))
            try:
                with part.open("wb") as file:
                    for chunk in response.stream(CHUNK):
                        file.write(chunk)
            finally:
                response.close()
                response.release_conn()
        _land(part, digest, target)

    def size(self, project_id: str, digest: str) -> int | None:
        """See BlobStore."""
        return self.size_of_key(blob_key(project_id, digest))

    def verify(self, project_id: str, digest: str) -> bool:
        """See BlobStore; every byte is read, since a store's word for its content is no proof."""
        state, key = hashlib.sha256(), blob_key(project_id, digest)
        try:
            with _translated():
                response = self._client.get_object(self.bucket, key)
                try:
                    for chunk in response.stream(CHUNK):
                        state.update(chunk)
                finally:
                    response.close()
                    response.release_conn()
        except NotFound:
            return False
        if "sha256:" + state.hexdigest() != digest:
            self.discard(key)
            return False
        return True

    def remove(self, project_id: str, digest: str) -> None:
        """See BlobStore."""
        self.discard(blob_key(project_id, digest))

    def size_of_key(self, key: str) -> int | None:
        """The size in bytes of the object at `key`, or None where there is none."""
        try:
            with _translated():
                return self._client.stat_object(self.bucket, key).size
        except NotFound:
            return None

    def presign_get(self, project_id: str, digest: str, *, filename: str, seconds: int = 900) -> str:
        """A URL that gives this one blob to whoever holds it, as a download, for `seconds`."""
        headers: dict[str, str | list[str] | tuple[str]] = {
            "response-content-disposition": f'attachment; filename="{filename}"'
        }
        return self._public.presigned_get_object(
            self.bucket, blob_key(project_id, digest), expires=timedelta(seconds=seconds), response_headers=headers
        )

    def presign_put(self, key: str, *, seconds: int = 3600) -> str:
        """A URL to which one object, at `key`, can be PUT for `seconds`."""
        return self._public.presigned_put_object(self.bucket, key, expires=timedelta(seconds=seconds))

    def adopt(self, project_id: str, key: str) -> tuple[str, int]:
        """Copies an uploaded object to the key of its digest; returns (digest, size in bytes)."""
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, "upload")
            with _translated():
                self._client.fget_object(self.bucket, key, str(local))
            return self.put(project_id, local)

    def discard(self, key: str) -> None:
        """Removes the object at `key`; one that is not there is as good as removed."""
        with _translated():
            self._client.remove_object(self.bucket, key)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in {"NoSuchKey", "NoSuchObject", "NoSuchBucket"}:
            raise NotFound("There is no such object.") from error
        raise StoreUnavailable(f"The object store answered {error.code}.") from error
    except InvalidResponseError as error:
        if "code: 404" in str(error):  # some stores say it in a document that the client does not read
            raise NotFound("There is no such object.") from error
        raise StoreUnavailable from error
    except (ServerError, MinioException, HTTPError, OSError) as error:
        raise StoreUnavailable from error

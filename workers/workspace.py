"""A stage's files: artifacts by name, blobs by digest, kept once on this machine within a size bound."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from app.storage import BlobStore, file_digest, part_of
from workers.context import Blob

RECENT_SECONDS = 1_800.0
"""What was asked for so lately may be open in a stage."""
LOOK_SHARE = 0.02
"""Of the bound: when a process has put so much into the folder, it looks whether the folder is too large."""


class BlobCache:
    """Verified copies of blobs in a folder of this machine, shared by its workers; the least recently used go first."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self._adopted = 0
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob's copy is, or would be."""
        return self._folder / digest.replace(":", "-")

    def has(self, digest: str) -> Path | None:
        """The copy, now recently used, or None."""
        path = self.path(digest)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def adopt(self, digest: str, path: Path) -> None:
        """Keeps a copy of `path`, whose digest the caller has just taken; looks at the bound now and then."""
        if self.has(digest) is not None:
            return
        part = part_of(self.path(digest))
        shutil.copyfile(path, part)
        part.replace(self.path(digest))
        self._adopted += path.stat().st_size
        if self._adopted > self._limit * LOOK_SHARE:
            self._adopted = 0
            self.shrink()

    def shrink(self) -> None:
        """Removes what was not used lately until the folder is within its bound."""
        files = []
        for entry in os.scandir(self._folder):
            try:
                stat = entry.stat()
            except FileNotFoundError:
                continue
            files.append((stat.st_mtime, stat.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for used_at, size, path in sorted(files):
            if total <= self._limit or time.time() - used_at < RECENT_SECONDS:
                return
            if _used_at(path) == used_at:  # nobody has taken it up meanwhile
                Path(path).unlink(missing_ok=True)
                total -= size


def _used_at(path: str) -> float | None:
    try:
        return Path(path).stat().st_mtime
    except FileNotFoundError:
        return None


class JobWorkspace:
    """The Workspace of one stage of one job; see `workers.context.Workspace`."""

    def __init__(self, store: BlobStore, cache: BlobCache, *, project_id: str, known: Mapping[str, Blob]) -> None:
        self._store, self._cache, self._project_id = store, cache, project_id
        self._known = dict(known)
        self.made: dict[str, Blob] = {}
        self.scratch = Path(tempfile.mkdtemp(prefix="stage-"))

    def get(self, name: str) -> Path:
        """See Workspace."""
        return self.fetch(self._known[name])

    def fetch(self, blob: Blob) -> Path:
        """See Workspace."""
        kept = self._cache.has(blob.digest)
        if kept is not None:
            return kept
        target = self._cache.path(blob.digest)
        self._store.get(self._project_id, blob.digest, target)
        self._cache.shrink()
        return target

    def digest(self, name: str) -> str:
        """See Workspace."""
        return self._known[name].digest

    def adopt(self, artifacts: Mapping[str, Blob]) -> bool:
        """Records artifacts of an earlier job as this stage's; False where one is no longer stored as it was."""
        if not self.are_stored(artifacts):
            return False
        self._known.update(artifacts)
        self.made.update(artifacts)
        return True

    def are_stored(self, artifacts: Mapping[str, Blob]) -> bool:
        """Whether all of `artifacts` are in the store with the bytes that their digests say."""
        return all(self._store.verify(self._project_id, blob.digest) for blob in artifacts.values())

    def put(self, name: str, path: Path, media_type: str = "application/octet-stream") -> Blob:
        """See Workspace."""
        blob = self.store(path, media_type)
        self._known[name] = self.made[name] = blob
        return blob

    def store(self, path: Path, media_type: str = "application/octet-stream") -> Blob:
        """Stores `path` without a name: the caller keeps the digest."""
        digest = file_digest(path)
        _, size = self._store.put(self._project_id, path, digest=digest)
        self._cache.adopt(digest, path)
        return Blob(digest, size, media_type)

    def close(self) -> None:
        """Removes the scratch folder."""
        shutil.rmtree(self.scratch, ignore_errors=True)

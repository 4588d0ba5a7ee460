"""The copies of blobs that a machine keeps: within a bound, whether they were fetched or made here."""

import os
from pathlib import Path

from app.storage import file_digest
from workers.workspace import RECENT_SECONDS, BlobCache


def made(folder: Path, number: int) -> Path:
    """A file of 1,000 bytes like no other."""
    path = folder / str(number)
    path.write_bytes(number.to_bytes(4) * 250)
    return path


def test_what_is_made_here_keeps_to_the_bound_too(tmp_path: Path) -> None:
    kept, files = tmp_path / "kept", tmp_path / "files"
    files.mkdir()
    cache = BlobCache(kept, limit_bytes=10_000)
    for number in range(40):
        path = made(files, number)
        cache.adopt(file_digest(path), path)
        for copy in kept.iterdir():
            os.utime(copy, (0, copy.stat().st_mtime - 2 * RECENT_SECONDS))
    assert 5 <= len(list(kept.iterdir())) <= 11

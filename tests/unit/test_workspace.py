"""The copies of blobs that a machine keeps: within a bound, whether they were fetched or made here."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from app.storage import FolderStore, file_digest
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


def test_two_threads_that_fetch_one_blob_at_a_time_both_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, copy, both = FolderStore(tmp_path / "store"), shutil.copyfile, Barrier(2, timeout=60)
    digest, _size = store.put("prj", made(tmp_path, 1))

    def written_together(source: Path, part: Path) -> None:
        copy(source, part)
        both.wait()

    monkeypatch.setattr("app.storage.shutil.copyfile", written_together)
    with ThreadPoolExecutor(2) as pool:
        fetches = [pool.submit(store.get, "prj", digest, tmp_path / "target") for _ in range(2)]
    assert [fetch.exception() for fetch in fetches] == [None, None]
    assert file_digest(tmp_path / "target") == digest

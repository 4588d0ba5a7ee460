"""Long fits, saved now and then, so that the worker that comes after a lost one goes on where it stood."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import structlog

from app.errors import DatabaseUnavailable, DigestMismatch, NotFound, StoreUnavailable
from app.storage import BlobStore

log = structlog.get_logger()

MAGIC = b"trainhouse checkpoint 1\n"
COST_SHARE, LONGEST_STRETCH = 0.05, 1.2
"""A model whose saving takes more than this share of the fit is saved more rarely, but not much: work is lost by that."""

Note = Callable[[Mapping[str, Any]], None]
"""Writes down where the fits of a stage or trial stand, by key; raises LeaseLost where they are another worker's now."""


class StoredCheckpoints:
    """Checkpoints of one stage or trial in the object store; see `workers.context.Checkpoints`.

    A saved fit is one blob: a line that says what it is, and the model so far. Each takes the place of the one before.

    Args:
        store: Keeps the blobs, under `project_id`.
        folder: For files of this process.
        subject: Digest of all that decides what the fits give; what was saved for another is not gone on with.
        interval: Seconds of fitting between two of them.
        known: What an earlier attempt had noted.
        note: See Note.
    """

    def __init__(  # a place, a name, a pace and two ways
        self,
        store: BlobStore,
        project_id: str,
        folder: Path,
        *,
        subject: str,
        interval: float,
        known: Mapping[str, Any] | None,
        note: Note,
    ) -> None:
        self._store, self._project_id, self._folder, self._subject = store, project_id, folder, subject
        self._interval, self._known, self._note = interval, dict(known or {}), note
        self._turn = Lock()
        """Fits that run at the same time write down where they stand one after another."""
        self._due: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        """By key, seconds that earlier attempts spent on what is gone on with."""

    def resume(self, key: str) -> Path | None:
        """See `workers.context.Checkpoints`; what is damaged or gone is begun anew.

        Raises:
            StoreUnavailable
        """
        noted = self._known.get(key)
        if noted is None:
            return None
        saved, model = self._folder / f"{key}.saved", self._folder / f"{key}.resumed"
        try:
            self._store.get(self._project_id, noted["digest"], saved)
            header = _unpack(saved, model)
        except (NotFound, DigestMismatch, ValueError, OSError) as error:
            log.warning("checkpoint_not_used", key=key, reason=type(error).__name__)
            return None
        if (header["key"], header["subject"]) != (key, self._subject):
            return None
        self._spent[key] = header["seconds"]
        log.info("fit_resumed", key=key, iteration=header["iteration"], seconds=header["seconds"])
        return model

    def offer(self, key: str, iteration: int, save: Callable[[Path], None]) -> None:
        """See `workers.context.Checkpoints`; a store or database that is away, or a full disk, costs a checkpoint, no fit.

        Raises:
            LeaseLost: the fit is another worker's now.
        """
        now = time.monotonic()
        began = self._began.setdefault(key, now)
        if now < self._due.setdefault(key, now + self._interval):
            return
        seconds = round(now - began + self._spent.get(key, 0.0), 3)
        header = {"key": key, "subject": self._subject, "iteration": iteration, "seconds": seconds}
        try:
            with self._turn:
                self._keep(key, header, save)
        except (StoreUnavailable, DatabaseUnavailable, OSError) as error:
            log.warning("checkpoint_missed", key=key, reason=type(error).__name__)
        cost = time.monotonic() - now
        stretch = min(max(self._interval, cost / COST_SHARE), self._interval * LONGEST_STRETCH)
        self._due[key] = time.monotonic() + stretch

    def clear(self) -> None:
        """Removes what was saved, once the stage or trial has ended and nothing names it any more."""
        for noted in self._known.values():
            self._forget(noted)
        self._known.clear()

    def _keep(self, key: str, header: Mapping[str, Any], save: Callable[[Path], None]) -> None:
        model, packed = self._folder / f"{key}.offered", self._folder / f"{key}.packed"
        save(model)
        _pack(header, model, packed)
        digest, size = self._store.put(self._project_id, packed)
        before, now = self._known.get(key), {"digest": digest, "size_bytes": size, **header}
        self._note({**self._known, key: now})
        self._known[key] = now
        if before is not None and before["digest"] != digest:
            self._forget(before)

    def _forget(self, noted: Mapping[str, Any]) -> None:
        try:
            self._store.remove(self._project_id, noted["digest"])
        except StoreUnavailable:
            log.warning("checkpoint_left_behind", key=noted["key"])


def _pack(header: Mapping[str, Any], model: Path, target: Path) -> None:
    with target.open("wb") as packed, model.open("rb") as bytes_of_model:
        packed.write(MAGIC + json.dumps(header).encode() + b"\n")
        shutil.copyfileobj(bytes_of_model, packed)


def _unpack(saved: Path, model: Path) -> dict[str, Any]:
    with saved.open("rb") as packed, model.open("wb") as bytes_of_model:
        if packed.readline() != MAGIC:
            raise ValueError("not a checkpoint")
        header: dict[str, Any] = json.loads(packed.readline())
        shutil.copyfileobj(packed, bytes_of_model)
    return header

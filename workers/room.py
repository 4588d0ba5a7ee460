"""What one worker process holds for all its tasks: settings, database, store, cache, vault."""

import os
from dataclasses import dataclass
from functools import lru_cache
from secrets import token_hex

from sqlalchemy import Engine

from app.db import make_engine
from app.secrets import Vault
from app.settings import Settings
from app.settings import settings as read_settings
from app.storage import S3Store
from workers import cores
from workers.cores import Cores
from workers.workspace import BlobCache


@dataclass(frozen=True)
class Room:
    """One process's means. `owner` names it in leases: the node, the process, and a word that is never used twice."""

    settings: Settings
    engine: Engine
    store: S3Store
    cache: BlobCache
    vault: Vault
    owner: str

    @property
    def cores(self) -> Cores:
        """The cores of this machine, which its workers share."""
        return Cores(self.settings.scratch_dir / "cores", cores.count(self.settings.cores))

    @property
    def most_threads(self) -> int:
        """The most threads of one fit in this process."""
        count = cores.count(self.settings.cores)
        return min(self.settings.worker_threads or count, count)


@lru_cache
def room() -> Room:
    """This process's room, made at its first task."""
    known = read_settings()
    return Room(
        settings=known, engine=make_engine(known, application="worker", pool_size=3), store=S3Store(known),
        cache=BlobCache(known.scratch_dir / "blobs", limit_bytes=known.scratch_bytes),
        vault=Vault(known.secret_keys.get_secret_value()), owner=f"{known.node}:{os.getpid()}:{token_hex(4)}",
    )  # fmt: skip

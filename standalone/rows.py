"""What the supervisor itself writes in the service's engines: the first key, the bucket, the leases of dead workers.

Imported late: the service's own modules take a second to load, which most starts need not pay.
"""

from collections.abc import Mapping
from typing import Any

from app.accounts.bootstrap import bootstrap
from app.db import make_engine
from app.settings import Settings
from app.storage import S3Store
from workers.clerk import release_node


def first_key(variables: Mapping[str, str]) -> str:
    """The first project's admin key; empty where there is a key already.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    return bootstrap(settings(variables)) or ""


def release(variables: Mapping[str, str], node: str) -> None:
    """Frees the leases of `node`'s workers, none of which may live, so that their jobs go on at once.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    release_node(make_engine(settings(variables), application="release", pooled=False), node)


def ensure_bucket(variables: Mapping[str, str]) -> None:
    """Makes the service's bucket where it is missing.

    Raises:
        StoreUnavailable: the store does not answer, or refuses.
    """
    S3Store(settings(variables)).ensure_bucket()


def settings(variables: Mapping[str, str]) -> Settings:
    """The settings that `variables`, on top of this process's environment, say."""
    known: dict[str, Any] = {name.removeprefix("TRAINHOUSE_").lower(): value for name, value in variables.items()}
    return Settings(**known)

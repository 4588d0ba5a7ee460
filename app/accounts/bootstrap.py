"""The first project and the first key: `python -m app.accounts.bootstrap` prints the key, once."""

import sys

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.accounts import service
from app.accounts.schemas import KeyRequest
from app.db import make_engine, transaction
from app.secrets import Vault
from app.settings import Settings
from app.settings import settings as read_settings
from app.tables import ApiKey

FIRST_PROJECT = "default"


def bootstrap(settings: Settings) -> str | None:
    """Makes the project `default` with an admin key where no key exists yet; returns the key, or None.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    engine = make_engine(settings, application="bootstrap", pooled=False)
    try:
        with transaction(engine) as session:
            session.execute(text("select pg_advisory_xact_lock(7242)"))
            if session.query(ApiKey.id).first() is not None:
                return None
            return _first_key(session, Vault(settings.secret_keys.get_secret_value()))
    finally:
        engine.dispose()


def _first_key(session: Session, vault: Vault) -> str:
    project = service.make_project(session, FIRST_PROJECT)
    wanted = KeyRequest(name="first key", scopes=["read", "train", "review", "admin"])
    return service.make_key(session, vault, wanted, asking=project.id).key


def main() -> int:
    """Prints the first key on standard output; says on standard error where there is one already."""
    key = bootstrap(read_settings())
    if key is None:
        sys.stderr.write("There is a key already; an admin makes more at POST /v1/keys.\n")
        return 0
    sys.stdout.write(f"{key}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A project's signing key: made when it is first needed, sealed at rest, its public half open to all who may read."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.ids import new_id
from app.receipts import public_text
from app.secrets import Vault
from app.tables import SigningKey


def private_key(session: Session, vault: Vault, project_id: str) -> Ed25519PrivateKey:
    """The key that the project signs with now."""
    newest = select(SigningKey).where(SigningKey.project_id == project_id).order_by(SigningKey.id.desc()).limit(1)
    row = session.scalar(newest)
    if row is None:
        made = Ed25519PrivateKey.generate()
        fresh = insert(SigningKey).values(
            id=new_id("sig"), project_id=project_id, public_key=public_text(made.public_key()), first=True,
            sealed_private=vault.seal(made.private_bytes_raw().hex()),
        )  # fmt: skip
        session.execute(fresh.on_conflict_do_nothing())
        row = session.scalars(newest).one()
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vault.unseal(row.sealed_private)))


def public_keys(session: Session, project_id: str) -> list[SigningKey]:
    """The project's keys, newest first."""
    query = select(SigningKey).where(SigningKey.project_id == project_id).order_by(SigningKey.id.desc())
    return list(session.scalars(query))

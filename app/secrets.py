"""Seals secrets at rest, and makes and recognises API keys and webhook secrets."""

import base64
import hashlib
import hmac
import json
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.errors import MachineError

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Vault:
    """Seals with the newest key, opens with any; the keys come from `TRAINHOUSE_SECRET_KEYS`."""

    def __init__(self, secret_keys: str) -> None:
        self._raw = [key.strip().encode() for key in secret_keys.split(",") if key.strip()]
        self._fernet = MultiFernet([Fernet(key) for key in self._raw])

    def seal(self, secret: Mapping[str, str] | str) -> bytes:
        """`secret` encrypted and authenticated."""
        return self._fernet.encrypt(json.dumps(secret).encode())

    def unseal(self, sealed: bytes) -> str:
        """The text that `seal` was given.

        Raises:
            MachineError: none of the service's keys sealed this.
        """
        text = self._open(sealed)
        return text if isinstance(text, str) else json.dumps(text)

    def unseal_mapping(self, sealed: bytes | None) -> dict[str, str]:
        """The mapping that `seal` was given; empty for None."""
        opened = self._open(sealed) if sealed else {}
        return opened if isinstance(opened, dict) else {}

    def _open(self, sealed: bytes) -> str | dict[str, str]:
        try:
            opened: str | dict[str, str] = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise MachineError(
                "A stored secret cannot be opened with this service's keys.", code="unsealable"
            ) from None
        return opened

    def row_secrets(self, project_id: str) -> list[bytes]:
        """The secrets of the project's row keys, one for each of the service's keys, the newest first."""
        return [hmac.digest(key, f"row-keys/{project_id}".encode(), "sha256") for key in self._raw]

    def key_digest(self, api_key: str) -> bytes:
        """The keyed hash under which a new API key is stored."""
        return hmac.digest(self._raw[0], api_key.encode(), hashlib.sha256)

    def knows(self, api_key: str, digest: bytes) -> bool:
        """Whether `digest` is the keyed hash of `api_key` under any of the service's keys."""
        candidates = [hmac.digest(key, api_key.encode(), hashlib.sha256) for key in self._raw]
        matches = [hmac.compare_digest(candidate, digest) for candidate in candidates]  # all of them, in equal time
        return any(matches)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))


@dataclass(frozen=True)
class FreshKey:
    """A new API key: `text` is shown once, `lookup` finds its row."""

    text: str
    lookup: str


def new_api_key() -> FreshKey:
    """A key with 256 bits of chance: `th_live_<lookup>_<secret><checksum>`.

    The prefix lets secret scanners find it, the checksum lets a typo be refused without the database.
    """
    lookup = _base62(secrets.randbits(47), 8)
    body = f"th_live_{lookup}_{_base62(secrets.randbits(256), 43)}"
    return FreshKey(body + _base62(zlib.crc32(body.encode()), 6), lookup)


def lookup_of(api_key: str) -> str | None:
    """The lookup part of `api_key`, or None where its form or its checksum is wrong."""
    parts = api_key.split("_")
    if len(parts) != 4 or parts[:2] != ["th", "live"] or len(parts[3]) != 49 or not api_key.isascii():
        return None
    body, checksum = api_key[:-6], api_key[-6:]
    return parts[2] if hmac.compare_digest(checksum, _base62(zlib.crc32(body.encode()), 6)) else None


def new_webhook_secret() -> str:
    """A Standard Webhooks secret: `whsec_` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()

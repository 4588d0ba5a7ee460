"""Opaque ids: a prefix that says the kind, then 26 characters that sort by time of making."""

import uuid

import uuid_utils

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32


def new_id(prefix: str) -> str:
    """A fresh id such as `job_06f…`; later ids sort after earlier ones (UUIDv7)."""
    return f"{prefix}_{_text(uuid_utils.uuid7().int)}"


def derived_id(prefix: str, *parts: str) -> str:
    """The same id for the same parts, always (UUIDv5): for what must come into being only once."""
    return f"{prefix}_{_text(uuid.uuid5(uuid.NAMESPACE_URL, '/'.join(parts)).int)}"


def _text(number: int) -> str:
    digits = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))

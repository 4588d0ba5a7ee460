"""Which rows a version learned from, as keyed hashes: enough to say whether a person is among them, and no more.

The key of a row is HMAC-SHA256 (RFC 2104) of its id columns under a secret of the project, the first 8 bytes of it. Whoever
has a file of keys, but not the secret, learns nothing of the rows.
"""

import hmac
import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

SIZE = 8
WHOLE = re.compile(r"[+-]?\d{1,300}(\.0*)?")
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")
MOST_EXACT = 2.0**53
BEYOND_INT64 = 2**63
"""From here on a column of whole numbers is one of floats, and its keys are made of these."""


def key_of(secret: bytes, row: Mapping[str, Any]) -> bytes | None:
    """The key of a row with the id columns `row`; None where none of them has a value.

    The order of the columns does not matter, and `7`, `7.0`, `"7"` and `"007"` are one value, as are ways to write a time.
    """
    told = {name: text for name, value in row.items() if (text := canonical(value)) is not None}
    if not told:
        return None
    content = "\x1e".join(f"{name}\x1f{told[name]}" for name in sorted(told))
    return hmac.digest(secret, content.encode(), "sha256")[:SIZE]


def mark_of(secret: bytes) -> bytes:
    """What stands among the keys that `secret` made, and is no row's: it tells whether a secret can ask them."""
    return hmac.digest(secret, b"\x1dkeys of this secret", "sha256")[:SIZE]


def canonical(value: Any) -> str | None:
    """`value` as the one text that all ways to write it share; None for what is missing."""
    if value is None or value != value:  # noqa: PLR0124  # NaN is a missing value
        return None
    if isinstance(value, bool | int):
        return str(value).lower() if abs(value) < BEYOND_INT64 else canonical(float(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < MOST_EXACT else repr(value)
    if isinstance(value, datetime):
        return _time(value)
    return _of_text(str(value).strip())


def _of_text(text: str) -> str | None:
    if WHOLE.fullmatch(text):
        return canonical(int(text.split(".", 1)[0]))
    if DECIMAL.fullmatch(text) and math.isfinite(number := float(text)):
        return canonical(number)
    try:
        return _time(datetime.fromisoformat(text)) if DATE.fullmatch(text) else text
    except ValueError:
        return text


def _time(at: datetime) -> str:
    plain = at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
    return plain.isoformat(timespec="microseconds")


class Keys:
    """Sorted keys and their secret's mark, as a file holds them one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @classmethod
    def of(cls, secret: bytes, keys: Iterable[bytes]) -> "Keys":
        """The rows' keys that `secret` made, with its mark."""
        return cls(b"".join(sorted({*keys, mark_of(secret)})))

    @property
    def content(self) -> bytes:
        """What a file of them holds."""
        return self._content

    def made_by(self, secrets: Iterable[bytes]) -> bytes | None:
        """The one of `secrets` that made them; None where it is not among these."""
        return next((secret for secret in secrets if mark_of(secret) in self), None)

    def __len__(self) -> int:
        return len(self._content) // SIZE

    def __getitem__(self, place: int) -> bytes:
        return self._content[place * SIZE : (place + 1) * SIZE]

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, bytes):
            return False
        place = bisect_left(self, key)
        return place < len(self) and self[place] == key

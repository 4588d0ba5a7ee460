"""Decision receipts: what a version was let through by, as a document that anybody can check without this service.

A receipt is signed over its canonical JSON (RFC 8785) with Ed25519 (RFC 8032), and names the digest of the model's
receipt before it: a chain in which no link can be changed, left out or put elsewhere unnoticed.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT = "trainhouse-receipt-1"
MOST_EXACT = 2**53 - 1


class Broken(Exception):
    """A receipt, or a chain of them, is not what was signed; the text says where and how."""


def canonical(document: Any) -> bytes:
    """The bytes that are digested and signed: canonical JSON (RFC 8785), whose numbers are all floats.

    An integer beyond 2**53 - 1 is the float nearest to it: a database and other readers of JSON write floats that large
    as integers.
    """
    return rfc8785.dumps(_as_floats(document))


def _as_floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_floats(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_floats(inner) for inner in value]
    return float(value) if isinstance(value, int) and abs(value) > MOST_EXACT else value


def digest_of(document: Any) -> str:
    """`sha256:…` of the canonical bytes."""
    return "sha256:" + hashlib.sha256(canonical(document)).hexdigest()


def signed(document: Mapping[str, Any], private: Ed25519PrivateKey) -> dict[str, Any]:
    """The receipt: the document with its digest, its signature and the key to check it by."""
    return {
        "document": dict(document), "digest": digest_of(document),
        "signature": base64.b64encode(private.sign(canonical(document))).decode(),
        "public_key": public_text(private.public_key()),
    }  # fmt: skip


def public_text(key: Ed25519PublicKey) -> str:
    """The key's 32 bytes in base64."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def fingerprint(public_key: str) -> str:
    """A short name of a key, `ed25519:` and the first 16 hexadecimal digits of its SHA-256."""
    return "ed25519:" + hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:16]


def verify(receipt: Mapping[str, Any], *, public_key: str | None = None) -> None:
    """Nothing, where the receipt is as it was signed.

    Args:
        public_key: The key that must have signed it; left out, the one that the receipt names.

    Raises:
        Broken
    """
    try:
        document, signature = receipt["document"], base64.b64decode(receipt["signature"], validate=True)
        named = receipt["public_key"]
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key or named, validate=True))
        content, known, format_ = canonical(document), receipt["digest"], document.get("format")
    except (
        KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, binascii.Error, rfc8785.CanonicalizationError,
    ) as error:  # fmt: skip
        raise Broken(f"it is no receipt: {type(error).__name__}") from None
    if format_ != FORMAT:
        raise Broken(f"its format is {format_!r}, and this reads {FORMAT}")
    if public_key is not None and public_key != named:
        raise Broken(f"it was signed with {fingerprint(named)}, not with {fingerprint(public_key)}")
    if "sha256:" + hashlib.sha256(content).hexdigest() != known:
        raise Broken("its digest is not that of its document")
    try:
        key.verify(signature, content)
    except InvalidSignature:
        raise Broken("its signature is not that of its document") from None


def verify_chain(receipts: Sequence[Any], *, public_key: str | None = None) -> None:
    """Nothing, where each receipt is as it was signed and follows the one before it, from version 1 or from any other.

    Args:
        public_key: The key that must have signed them; left out, the one that the first of them names.

    Raises:
        Broken: the text begins with the version at which the chain breaks.
    """
    before: Mapping[str, Any] | None = None
    for place, receipt in enumerate(receipts, start=1):
        named = receipt.get("document") if isinstance(receipt, Mapping) else None
        link = (
            f"version {named['version']}" if isinstance(named, Mapping) and "version" in named else f"receipt {place}"
        )
        try:
            verify(receipt, public_key=public_key)
        except Broken as why:
            raise Broken(f"{link}: {why}") from None
        if before is not None:
            _follows(receipt["document"], before, link)
        before, public_key = receipt, public_key or receipt["public_key"]


def _follows(document: Mapping[str, Any], before: Mapping[str, Any], link: str) -> None:
    earlier = before["document"]
    if document.get("model") != earlier.get("model"):
        raise Broken(f"{link}: it is of {document.get('model')}, and the one before it of {earlier.get('model')}")
    if document.get("previous") != before["digest"]:
        raise Broken(f"{link}: it does not follow the receipt of version {earlier.get('version')}")

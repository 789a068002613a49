"""Signatures as the Standard Webhooks specification has them (v1, symmetric): https://www.standardwebhooks.com."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from app.webhooks.secret import key_of


def headers_of(secrets: Sequence[str], delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that name, date and sign ``body``, with each of ``secrets``: a receiver has one of them.
    ``timestamp`` is in seconds since 1970."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    digests = [hmac.new(key_of(secret), signed, hashlib.sha256).digest() for secret in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }

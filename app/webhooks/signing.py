"""Signatures as the Standard Webhooks specification has them (v1, symmetric): https://www.standardwebhooks.com."""

import base64
import hashlib
import hmac

from app.webhooks.secret import key_of


def headers_of(secret: str, delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that name, date and sign ``body``. ``timestamp`` is in seconds since 1970."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }

"""What a store of tokens promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.tokens import Scope


@dataclass(frozen=True)
class TokenRow:
    """A token as stored: ``sha256`` of it in hex, and ``prefix``, its first characters. Times are RFC 3339, UTC."""

    token_id: str
    name: str
    prefix: str
    sha256: str
    scopes: tuple[Scope, ...]
    created_at: str
    expires_at: str | None = None
    last_used_at: str | None = None


class TokenStore(Protocol):
    """Tokens beside the owner's. Every method is one transaction, durable when it returns, safe from any thread."""

    def add(self, token: TokenRow) -> bool:
        """Store a token; False when another has its name."""

    def all(self) -> Sequence[TokenRow]:
        """Every token, oldest first."""

    def remove(self, token_id: str) -> bool:
        """Forget a token; False when there is none."""

    def used(self, token_id: str, time: str) -> None:
        """Note when a token was used; one that is gone is left alone."""

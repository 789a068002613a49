"""Who may do what: the owner's token, which may everything, and those that were made from it, each with its scopes.

A token is 256 random bits, so its SHA-256 is as good as a slow hash would be: there is nothing to guess, as there is with
a password. What is compared are hashes, in constant time.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from ulid import ULID

from app.clock import from_now, now, seconds_until
from app.problems import Refusal
from app.store.interface import StoreUnavailable
from app.store.token_interface import TokenRow, TokenStore
from schemas.problems import NextAction
from schemas.tokens import ALLOWS, MadeToken, Scope, TokenRequest, TokenView

PREFIX = "ptt_"
MOST_TOKENS = 1000

_SHOWN_CHARACTERS = len(PREFIX) + 6
_COARSE_SECONDS = 3600.0
_ID = "token_"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grant:
    """What the holder of a token may do. ``holder`` is the token's id; ``name`` is for people."""

    holder: str
    name: str
    scopes: frozenset[Scope]


OWNER = Grant("owner", "the owner's token", ALLOWS["admin"])
# Where the service asks for no token.
ANYONE = Grant("anyone", "anyone", ALLOWS["admin"])


class Tokens:
    """Makes, lists, revokes and recognizes tokens. One service, or one command where none runs, uses a store at a time, so
    what is stored is known here; safe from any thread."""

    def __init__(self, store: TokenStore, owner: str) -> None:
        self._store = store
        self._owner = _hash_of(owner)
        self._known = {row.sha256: row for row in store.all()}
        self._used = {row.token_id: row.last_used_at for row in self._known.values() if row.last_used_at}

    def make(self, wanted: TokenRequest) -> MadeToken:
        """A new token, which is told here and never again. Raises Refusal (409) when its name is taken, or there are a
        thousand."""
        if len(self._known) >= MOST_TOKENS:
            raise Refusal("token_refused", f"There are {MOST_TOKENS} tokens; revoke those that nobody uses.")
        token = PREFIX + secrets.token_urlsafe(32)
        lasts = wanted.expires_in_seconds
        row = TokenRow(
            token_id=f"{_ID}{ULID()}",
            name=wanted.name,
            prefix=token[:_SHOWN_CHARACTERS],
            sha256=_hash_of(token),
            scopes=tuple(dict.fromkeys(wanted.scopes)),
            created_at=now(),
            expires_at=None if lasts is None else from_now(lasts),
        )
        if not self._store.add(row):
            raise Refusal("token_refused", f"There is a token named {row.name!r}. Revoke it, or choose another name.")
        self._known[row.sha256] = row
        _log.info("The token %s (%s, %s) was made.", row.name, row.prefix, ", ".join(row.scopes))
        return MadeToken(**self._view(row).model_dump(), token=token)

    def list(self) -> list[TokenView]:
        """Every token but the owner's, oldest first."""
        return [self._view(row) for row in self._by_age()]

    def revoke(self, which: str) -> TokenView:
        """End a token, named by its id or its name: from now on nobody gets in by it. Raises Refusal (404)."""
        rows = self._by_age()
        row = next((row for row in rows if row.token_id == which), None)
        row = row or next((row for row in rows if row.name == which), None)
        if row is None:
            there = f" There are: {', '.join(row.name for row in rows[:20])}." if rows else " There is none."
            detail = f"There is no token with the id or name {which[:80]!r}.{there}"
            raise Refusal("token_not_found", detail, next_action=NextAction(operation="list_tokens"))
        self._store.remove(row.token_id)
        self._known.pop(row.sha256, None)
        _log.info("The token %s (%s) was revoked.", row.name, row.prefix)
        return self._view(row)

    def grant_of(self, token: str) -> Grant:
        """What the holder of ``token`` may do. Raises Refusal (401) for none, an unknown or an expired one."""
        if not token:
            raise _unauthorized("A token is needed.")
        given = _hash_of(token)
        if hmac.compare_digest(given, self._owner):
            return OWNER
        row = self._known.get(given)
        if row is None or not hmac.compare_digest(given, row.sha256):
            raise _unauthorized("This token is not the service's.")
        if row.expires_at is not None and seconds_until(row.expires_at) <= 0:
            raise _unauthorized(f"The token {row.name!r} has expired ({row.expires_at}).")
        return Grant(row.token_id, row.name, frozenset().union(*(ALLOWS[scope] for scope in row.scopes)))

    def _by_age(self) -> Sequence[TokenRow]:
        return sorted(self._known.copy().values(), key=lambda row: row.token_id)

    def unnoted(self, grant: Grant) -> bool:
        """Whether the last use on record is so long ago that this one is worth writing down."""
        used = self._used.get(grant.holder)
        return grant.holder.startswith(_ID) and (used is None or -seconds_until(used) >= _COARSE_SECONDS)

    def note(self, grant: Grant) -> None:
        """Write down that the token is used. For whoever cleans up, so a store out of order is no obstacle."""
        time = self._used[grant.holder] = now()
        try:
            self._store.used(grant.holder, time)
        except StoreUnavailable as error:
            _log.warning("The use of the token %s is not noted: %s", grant.name, error)

    def _view(self, row: TokenRow) -> TokenView:
        return TokenView(
            token_id=row.token_id,
            name=row.name,
            prefix=row.prefix,
            scopes=list(row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=self._used.get(row.token_id),
        )


def _hash_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _unauthorized(what: str) -> Refusal:
    detail = f"{what} Send Authorization: Bearer TOKEN; `pytorch-trainer token` prints the owner's."
    return Refusal("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="pytorch-trainer"'})

"""Tokens beside the owner's: what they may do, and how they are asked for and shown."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.base import Document

Scope = Literal["read", "submit", "control", "admin"]

# What each scope lets its holder do. Every token can read; admin is everything, and other people's tokens with it.
ALLOWS: dict[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"read", "submit"}),
    "control": frozenset({"read", "control"}),
    "admin": frozenset(get_args(Scope)),
}

assert set(ALLOWS) == set(get_args(Scope))


class TokenRequest(Document):
    """A token to be made."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64, description="Who will use it; no two are alike."),
    ]
    scopes: Annotated[
        list[Scope],
        Field(
            min_length=1,
            max_length=4,
            description="read: look; submit: queue trainings, which run code; control: pause, resume, stop, cancel, "
            "delete; admin: everything, tokens included. Each can read.",
        ),
    ]
    expires_in_seconds: Annotated[
        float | None, Field(gt=0, le=3_153_600_000, description="When it ends by itself; absent: never.")
    ] = None


class TokenView(Document):
    """A token, as it is listed: never the token itself, which nobody has but its holder."""

    token_id: str
    name: str
    prefix: Annotated[str, Field(description="How the token begins, to know it by.")]
    scopes: list[Scope]
    created_at: str
    expires_at: str | None = None
    last_used_at: Annotated[str | None, Field(description="To the hour.")] = None


class MadeToken(TokenView):
    """The answer to a request for a token."""

    token: Annotated[str, Field(description="Shown this once; the service keeps its SHA-256 alone.")]


class TokenList(Document):
    """Every token but the owner's, oldest first."""

    tokens: list[TokenView]

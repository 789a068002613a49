"""Commands on tokens: the owner's, printed; others, made, listed and revoked.

Through the service where one runs; where none does, in its database, under the lock that a service would hold: there is
one writer at any moment.
"""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from app.cli.address import Whereabouts
from app.cli.errors import shown
from app.cli.exits import CommandError, Exit
from app.cli.output import remark, write_json, write_table
from app.settings import Settings

Json = dict[str, Any]


def owners(arguments: Namespace) -> int:
    """The owner's token, or the file that holds it; the service makes it at its first start."""
    whereabouts = Whereabouts.from_environment()
    path, found = whereabouts.token_file, whereabouts.read_token()
    if found is None:
        raise CommandError(
            Exit.INVALID_INPUT, f"There is no token at {path} yet; the service makes it: pytorch-trainer serve"
        )
    if arguments.json:
        write_json({"token": found, "path": str(path)})
    else:
        print(path if arguments.path else found)
    return Exit.SUCCESS


def create(arguments: Namespace) -> int:
    """A new token: alone on standard output, this once."""
    scopes = list(dict.fromkeys(arguments.scope))
    wanted = {"name": arguments.name, "scopes": scopes, "expiresInSeconds": arguments.expires}
    with _desk() as desk:
        made = desk.make_token({key: value for key, value in wanted.items() if value is not None})
    if arguments.json:
        write_json(made)
        return Exit.SUCCESS
    print(made["token"])
    until = f"until {made['expiresAt']}" if "expiresAt" in made else "until it is revoked"
    remark(
        f"{made['name']}: {', '.join(made['scopes'])}, {until}. It is not shown again.\n"
        f"Use it: PT_TOKEN=…   Revoke it: pytorch-trainer token revoke {made['name']}"
    )
    return Exit.SUCCESS


def list_tokens(arguments: Namespace) -> int:
    """Every token but the owner's."""
    with _desk() as desk:
        found = desk.tokens()
    if arguments.json:
        write_json(found)
    elif not found["tokens"]:
        remark("No tokens but the owner's. Make one: pytorch-trainer token create --name ci --scope submit")
    else:
        write_table(
            ("name", "begins with", "scopes", "created", "expires", "last used", "id"),
            (_cells(token) for token in found["tokens"]),
        )
    return Exit.SUCCESS


def _cells(token: Json) -> tuple[str, ...]:
    scopes = ", ".join(token["scopes"])
    expires, used = token.get("expiresAt", "never"), token.get("lastUsedAt", "never")
    return (shown(token["name"]), token["prefix"], scopes, token["createdAt"], expires, used, token["tokenId"])


def revoke(arguments: Namespace) -> int:
    """End a token."""
    with _desk() as desk:
        desk.revoke_token(arguments.token)
    if arguments.json:
        write_json({"revoked": arguments.token})
    else:
        remark(f"{shown(arguments.token)} is revoked: nobody gets in by it any more.")
    return Exit.SUCCESS


class _Desk(Protocol):
    """Where tokens are made."""

    def make_token(self, wanted: Json) -> Json: ...

    def tokens(self) -> Json: ...

    def revoke_token(self, which: str) -> None: ...


@contextmanager
def _desk() -> Iterator[_Desk]:
    whereabouts = Whereabouts.from_environment()
    client = whereabouts.client()
    if client is not None:
        yield client
        client.close()
    elif whereabouts.url is not None:
        raise whereabouts.missing()
    else:
        from app.cli.desk import Desk  # what a service loads: only where there is none

        with Desk.opened(Settings.from_environment()) as desk:
            yield desk

"""``webhook``: what receivers of webhooks check signatures with, and another in its place.

In the file that the service reads whenever it signs: it takes no running service, and a running one needs no restart.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from app.cli.exits import CommandError, Exit
from app.cli.output import remark, write_json
from app.settings import Settings
from app.webhooks.secret import Secret, read_or_make_secrets, replace_secret


def secret(arguments: Namespace) -> int:
    """The newest secret of this home, made when there is none yet."""
    return _print(arguments, read_or_make_secrets)


def rotate(arguments: Namespace) -> int:
    """A new secret; the one before signs beside it for a while."""
    return _print(arguments, lambda path: replace_secret(path, arguments.overlap))


def _print(arguments: Namespace, act: Callable[[Path], Sequence[Secret]]) -> int:
    path = Settings.from_environment().webhook_secret_file
    try:
        newest, *replaced = act(path)
    except (OSError, ValueError) as error:
        raise CommandError(Exit.INVALID_INPUT, f"{error}") from error
    if arguments.json:
        ending = [{"secret": old.text, "until": old.until} for old in replaced]
        write_json({"secret": newest.text, "path": str(path), "replaced": ending})
        return Exit.SUCCESS
    print(newest.text)
    for old in replaced:
        remark(f"One that was replaced signs beside it until {old.until}.")
    return Exit.SUCCESS

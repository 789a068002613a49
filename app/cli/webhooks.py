"""``webhook secret``: what receivers of webhooks check signatures with."""

from argparse import Namespace

from app.cli.exits import CommandError, Exit
from app.cli.output import write_json
from app.settings import Settings
from app.webhooks.secret import read_or_make_secret


def webhook(arguments: Namespace) -> int:
    """The secret of the service that runs on this home, made when there is none yet."""
    settings = Settings.from_environment()
    path = settings.webhook_secret_file
    try:
        secret = read_or_make_secret(path)
    except (OSError, ValueError) as error:
        raise CommandError(Exit.INVALID_INPUT, f"{error}") from error
    if arguments.json:
        write_json({"secret": secret, "path": str(path)})
    else:
        print(secret)
    return Exit.SUCCESS

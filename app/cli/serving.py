"""``serve``: the service in the foreground."""

import json
from argparse import Namespace
from dataclasses import replace

from app.cli.exits import CommandError, Exit
from app.instance import AlreadyRunning
from app.main import serve as serve_forever
from app.settings import Settings
from app.store.interface import StoreUnavailable

# Options of the command line, and the settings that they override.
_OVERRIDES = {
    "home": "PT_HOME",
    "workspace": "PT_WORKSPACE",
    "host": "PT_HOST",
    "port": "PT_PORT",
    "devices": "PT_DEVICES",
    "slots": "PT_SLOTS",
    "mlflow_uri": "PT_MLFLOW_URI",
}


def serve(arguments: Namespace) -> int:
    """Serve until a signal says to end; trainings outlive the service. One line on stdout once it answers."""
    options = vars(arguments)
    said = {variable: str(options[name]) for name, variable in _OVERRIDES.items() if options[name] is not None}
    settings = replace(Settings.from_environment(said), auth=not arguments.no_auth)

    def announce(url: str) -> None:
        print(json.dumps(_facts(url, settings)) if arguments.json else _line(url, settings), flush=True)

    try:
        serve_forever(settings, announce)
    except (AlreadyRunning, StoreUnavailable, OSError, RuntimeError, ValueError) as error:
        raise CommandError(Exit.INVALID_INPUT, str(error)) from error
    except SystemExit as error:
        # uvicorn's own way out, with a status that means something else here.
        raise CommandError(Exit.INVALID_INPUT, "The service could not start; the lines above say why.") from error
    return Exit.SUCCESS


def _facts(url: str, settings: Settings) -> dict[str, str]:
    token = {"tokenPath": str(settings.token_file)} if settings.auth else {}
    return {
        "url": url,
        "docs": f"{url}/docs",
        "home": str(settings.home),
        "workspace": str(settings.workspace),
        **token,
    }


def _line(url: str, settings: Settings) -> str:
    token = f"token in {settings.token_file}" if settings.auth else "no token asked for"
    return (
        f"pytorch-trainer serves {settings.workspace} on {url} · docs {url}/docs · home {settings.home} · {token} "
        "· Ctrl-C ends it, trainings go on"
    )

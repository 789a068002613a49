"""Has the service's libraries loaded, and forks a whole service (HTTP, store, supervisor) for each line of standard input.

A line is a JSON object: the settings, and ``command``, which starts a worker. The answer is the number and the URL of a
service that listens.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.http.server import Server
from app.instance import Instance
from app.main import create_app
from app.settings import Settings


def serve(order: dict[str, Any], announcing: int) -> None:
    """Serve until told to end, or killed; the URL goes to the descriptor ``announcing``."""
    command = order.pop("command")
    settings = Settings(home=Path(order.pop("home")), workspace=Path(order.pop("workspace")), port=0, **order)

    def announce(url: str) -> None:
        os.write(announcing, url.encode())
        os.close(announcing)

    with Instance(settings.home) as instance:
        Server(create_app(settings, command), settings, instance, announce).run_here()


def reap(*_: object) -> None:
    """Take services that were killed from the kernel's table: their numbers are looked for there."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> None:
    """Service after service; each is independent, and outlives this process."""
    signal.signal(signal.SIGCHLD, reap)
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(reading)
            serve(json.loads(line), writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as announced:
            print(json.dumps([child, announced.read()]), flush=True)


if __name__ == "__main__":
    main()

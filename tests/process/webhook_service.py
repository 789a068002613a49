"""A service that tries webhooks again soon, as a process to be killed: ``python webhook_service.py HOME WORKSPACE``."""

import sys
from pathlib import Path

from app.http.server import Server
from app.instance import Instance
from app.main import create_app
from app.settings import Settings
from tests.app.scene import STAND_IN


def main(home: Path, workspace: Path) -> None:
    """Serve until killed; the URL is printed once it answers."""
    settings = Settings(
        home=home, workspace=workspace, port=0, webhook_hosts=("127.0.0.1",), webhook_first_wait_seconds=0.05
    )
    with Instance(home) as instance:
        Server(create_app(settings, STAND_IN), settings, instance, lambda url: print(url, flush=True)).run_here()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""The service as a child of a command: ``python -P -m app.cli.embedded_service OVERRIDES``.

Says its URL as one line on standard output once it answers. Ends when its standard input does, that is, when the
command that started it has ended, however that came. Workers go on.
"""

import json
import os
import signal
import sys
import threading

from app.cli.embedded import HOME_IS_TAKEN
from app.instance import AlreadyRunning
from app.main import serve
from app.settings import Settings
from app.store.interface import StoreUnavailable

# A service that cannot end in good order ends all the same: its store is safe at any moment.
_LONGEST_ENDING_SECONDS = 15.0

# A nursery would be warm only when the one job of the command has long begun, and take the processor from it meanwhile.
_ITS_OWN = {"PT_HOST": "127.0.0.1", "PT_PORT": "0", "PT_WARM": "off"}


def main() -> int:
    """Serve on a free port of the loopback address; when it cannot, the reason on standard error, and exit status 1,
    or ``HOME_IS_TAKEN``."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    overrides = json.loads(sys.argv[1])
    try:
        serve(Settings.from_environment({**overrides, **_ITS_OWN}), _announce)
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return HOME_IS_TAKEN
    except (ValueError, StoreUnavailable, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _announce(url: str) -> None:
    print(url, flush=True)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_LONGEST_ENDING_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

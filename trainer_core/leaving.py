"""How a worker process ends."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End the process as Python does, but for waiting for threads: one that the user's code left running would keep the
    process, and with it the job's lock, for ever."""
    atexit._run_exitfuncs()
    for printed in (sys.stdout, sys.stderr):
        # On a full disk what was printed last is lost; the status is not.
        with suppress(OSError):
            printed.flush()
    os._exit(status)

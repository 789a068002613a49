"""How a worker process ends."""

import atexit
import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def leave(status: int) -> NoReturn:
    """End the process as Python does, but for waiting for threads: one that the user's code left running would keep the
    process, and with it the job's lock, for ever."""
    atexit._run_exitfuncs()
    for printed in (sys.stdout, sys.stderr):
        # On a full disk what was printed last is lost; the status is not.
        with suppress(OSError):
            printed.flush()
    os._exit(status)


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

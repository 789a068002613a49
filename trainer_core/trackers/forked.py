"""A child that was forked and runs a function of this program, with what ``subprocess.Popen`` offers of another one."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class Forked:
    """Calls ``work`` in a child: in ``folder``, with a pipe for its standard input, ``log`` (an open file) for what it says,
    and no other file of this process. Only while this process has one thread. Raises OSError."""

    def __init__(self, work: Callable[[], object], folder: Path, log: int) -> None:
        read, write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _work(work, folder, read, log)
        os.close(read)
        self.stdin = os.fdopen(write, "wb")
        self.returncode: int | None = None
        self._descriptor = os.pidfd_open(self.pid)

    def wait(self, timeout: float) -> int:
        """Its exit status, or minus its signal. Raises subprocess.TimeoutExpired when it has not ended by then."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            if not poll.poll(1000 * timeout):
                raise subprocess.TimeoutExpired(sys.argv, timeout)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._descriptor)
        return self.returncode

    def kill(self) -> None:
        """Send SIGKILL. Raises PermissionError where a guard forbids it."""
        if self.returncode is None:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)


def _work(work: Callable[[], object], folder: Path, read: int, log: int) -> NoReturn:
    os.dup2(read, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    try:
        os.chdir(folder)
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)

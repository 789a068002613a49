"""The birth of a worker: what makes a forked process one that was started for a single job."""

import ctypes
import os
import socket
import sys
import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

from schemas.nursery import BEGIN, MARK, Birth


class Mark:
    """The mark in the memory that the kernel shows as this process's environment (``/proc/PID/environ``).

    That is what a process was started with, whatever it has set since: a forked one shows its parent's. The nursery was
    started with a mark that is long enough to be written over.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        libc.getenv.restype = ctypes.c_void_p
        self._place = libc.getenv(MARK.encode())
        self._room = len(os.environb.get(MARK.encode(), b""))

    def fits(self, value: str) -> bool:
        """Whether there is room for ``value``."""
        return self._place is not None and len(os.fsencode(value)) <= self._room

    def write(self, value: str) -> None:
        """Show ``value``."""
        assert self.fits(value)
        ctypes.memset(self._place, 0, self._room)
        ctypes.memmove(self._place, os.fsencode(value), len(os.fsencode(value)))


def enter(
    birth: Birth,
    lock: int,
    log: int,
    line: socket.socket,
    others: Iterable[socket.socket],
    mark: Mark,
    by_libraries: Mapping[str, str],
) -> NoReturn:
    """Become the warden of the attempt, when the service says so on ``line``; leave when it is gone.

    ``others`` are sockets of the nursery, ``by_libraries`` the variables that libraries set when they were loaded.
    """
    os.setsid()
    for other in others:
        other.close()
    if line.recv(len(BEGIN)) != BEGIN:
        os._exit(0)
    line.close()
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    _close_all_but(lock)
    # As in a process of its own: programs that it executes hold the job's lock as well.
    os.set_inheritable(lock, True)
    mark.write(birth.environment[MARK])
    _settle(birth, by_libraries)
    from trainer_core import warden, worker

    warden.main(Path(birth.attempt_folder), partial(worker.main, start="warm"))


def _settle(birth: Birth, by_libraries: Mapping[str, str]) -> None:
    """Nothing of the nursery's: environment, folder, arguments, temporary folder, randomness that was drawn before."""
    os.environ.clear()
    os.environ.update({**by_libraries, **birth.environment})
    os.chdir(birth.attempt_folder)
    sys.argv[1:] = [birth.attempt_folder]
    tempfile.tempdir = None
    # All workers would draw the same: these two were seeded when they were loaded. That of random is seeded by Python.
    import numpy as np
    import torch

    np.random.seed()
    torch.default_generator.seed()


def _close_all_but(kept: int) -> None:
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))

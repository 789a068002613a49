"""One service per home: a lock for life, and a file that says where it listens."""

import fcntl
import json
import os
import select
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schemas.files import write_atomically

LOCK_FILE = "service.lock"
SERVICE_FILE = "service.json"

_MOMENT_SECONDS = 1.0
_LOOK_SECONDS = 0.02


class AlreadyRunning(Exception):
    """Another service holds this home."""


class Instance:
    """The right to serve ``home``, held while entered. Entering raises AlreadyRunning, which names the other
    one, and OSError for a home that cannot be made or written.

    The lock is freed by the kernel however this process ends; no worker inherits it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = -1

    def __enter__(self) -> Self:
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self._home / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = f"{self._home} cannot be the data folder: {error.strerror}. Set PT_HOME to another one."
            raise OSError(error.errno, what) from error
        try:
            self._take()
        except BlockingIOError:
            os.close(self._lock)
            raise AlreadyRunning(
                f"A service runs on {self._home} already{self._whereabouts()}. Use it, end it, or set PT_HOME."
            ) from None
        # What a service that was killed left behind is about nobody.
        (self._home / SERVICE_FILE).unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.withdraw()
        os.close(self._lock)

    def announce(self, url: str) -> None:
        """Say where the service listens. The file is whole at any moment."""
        document = {"url": url, "pid": os.getpid()}
        write_atomically(self._home / SERVICE_FILE, json.dumps(document).encode())

    def withdraw(self) -> None:
        """Nobody listens any more."""
        (self._home / SERVICE_FILE).unlink(missing_ok=True)

    def _take(self) -> None:
        """Take the lock. Raises BlockingIOError.

        Where a service was killed while it started a worker, that process has the lock for a moment more.
        """
        patience = time.monotonic() + _MOMENT_SECONDS
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > patience or _lives(self._said().get("pid")):
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                return

    def _whereabouts(self) -> str:
        said = self._said()
        return f": {said.get('url')}, process {said.get('pid')}" if said else ""

    def _said(self) -> dict[str, Any]:
        """What the service that has the lock has announced; nothing when it has not yet."""
        try:
            said = json.loads((self._home / SERVICE_FILE).read_bytes())
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}


def _lives(pid: object) -> bool:
    """Whether there is a process of this number that has not ended."""
    try:
        descriptor = os.pidfd_open(pid) if isinstance(pid, int) else -1
    except OSError:
        return False
    if descriptor < 0:
        return False
    ended, _, _ = select.select([descriptor], [], [], 0)
    os.close(descriptor)
    return not ended

"""A service for the length of one command: the one that already runs on this home, or a child process.

The child holds the read end of a pipe whose write end is here: however this process ends, the pipe closes and the
service leaves. Its workers stay, and the next service on the same home adopts them.
"""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from app.cli.address import Whereabouts
from app.cli.client import Address, Client
from app.cli.exits import CommandError, Exit, Left, Refusal, Unreachable
from app.cli.follow import Line
from app.cli.output import remark

LOG_FILE = "embedded.log"

# Exit status of a child that found another service on its home.
HOME_IS_TAKEN = 75

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0

# Another command may be starting a service, or one may be ending: how often to try before giving up.
_LOOKS = 5
_LOOK_PAUSE_SECONDS = 1.0

# How long a service that somebody else runs may be away before this command starts one in its place.
_TAKE_OVER_SECONDS = 10.0


class Host:
    """Finds the service that runs, or starts one and ends it on leaving. ``overrides`` are ``PT_`` settings of it."""

    def __init__(self, overrides: Mapping[str, str]) -> None:
        self._whereabouts = Whereabouts.from_environment()
        self._overrides = overrides
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._child is None:
            return
        if isinstance(error, Refusal) and error.code == Exit.UNREACHABLE:
            remark(f"The log of the service: {self._whereabouts.home / LOG_FILE}")
        assert self._child.stdin is not None
        self._child.stdin.close()
        if kind not in (Left, KeyboardInterrupt):
            _reap(self._child)

    @property
    def embedded(self) -> bool:
        """Whether the service is a child of this command."""
        return self._child is not None

    def line(self) -> Line:
        """A line to the service, started now if none runs. Raises Unreachable, or CommandError when the service that
        runs works in another folder than asked for."""
        found = self._found()
        if found is not None:
            self._require_workspace(found)
        return Line(found or self._start(), self.connect)

    def connect(self, outage_seconds: float) -> Client:
        """A client of the service after its connection was lost; of a new one when it stays away. Raises Unreachable."""
        client = self._found()
        if client is not None:
            return client
        ours_ended = self._child is not None and self._child.poll() is not None
        if self._whereabouts.url is None and (ours_ended or outage_seconds >= _TAKE_OVER_SECONDS):
            return self._start()
        raise self._whereabouts.missing()

    def _found(self) -> Client | None:
        client = self._whereabouts.client()
        if client is None and self._whereabouts.url is not None:
            raise self._whereabouts.missing()
        return client

    def _require_workspace(self, client: Client) -> None:
        wanted = self._overrides.get("PT_WORKSPACE")
        if wanted is None or (workspace := client.capabilities()["workspace"]) == wanted:
            return
        raise CommandError(
            Exit.INVALID_INPUT,
            f"The service at {client.address.url} works in {workspace}, and this needs one that works in {wanted}.\n"
            "End that one, or use another data folder for this: PT_HOME=/another/folder",
        )

    def _start(self) -> Client:
        """A client of a new child, or of the service that was quicker than it."""
        home = self._whereabouts.home
        _make(home)
        for _ in range(_LOOKS):
            self._child = _spawn(home / LOG_FILE, self._overrides)
            url = _announced(self._child)
            if url is not None:
                return Client(Address(url, self._whereabouts.read_token()))
            status, self._child = _reap(self._child), None
            client = self._whereabouts.client()
            if client is not None:
                return client
            if status != HOME_IS_TAKEN:
                break
            threading.Event().wait(_LOOK_PAUSE_SECONDS)
        raise Unreachable(f"No service runs on {home}, and one could not be started:\n{_tail(home / LOG_FILE)}")


def _make(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CommandError(
            Exit.INVALID_INPUT, f"The data folder {home} cannot be made: {error.strerror}. Set PT_HOME to another one."
        ) from error


def _spawn(log: Path, overrides: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The child, in its own session: Ctrl-C on the terminal is ours alone to handle."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            # -P: a folder named app in the user's workspace is not ours.
            [sys.executable, "-P", "-m", "app.cli.embedded_service", json.dumps(dict(overrides))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def _announced(child: subprocess.Popen[bytes]) -> str | None:
    """The URL that the child says when it listens, or None when it ends, or stays silent, instead."""
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], _START_SECONDS)
    return child.stdout.readline().decode().strip() or None if ready else None


def _reap(child: subprocess.Popen[bytes]) -> int:
    """End the child; its exit status."""
    for pipe in (child.stdin, child.stdout):
        assert pipe is not None
        pipe.close()
    try:
        return child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) or f"(nothing in {log})"

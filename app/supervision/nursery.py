"""The nursery, as the service sees it: started in the background, started again when it dies, asked for workers.

Warm start is an optimisation: where there is no nursery, where it is not ready or refuses, the caller starts a program.
"""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from app.settings import Settings
from app.supervision.assigning import shared_environment
from app.supervision.processes import Process
from schemas.nursery import BEGIN, LONGEST_MESSAGE, MARK, READY, UNFIT, Birth, Born, Ended

NURSERY_COMMAND = (sys.executable, "-P", "-m", "trainer_core.nursery")

State = Literal["off", "warming", "ready"]

# A machine may be busy.
_ANSWER_SECONDS = 10.0
_LONGEST_PATH = 4096
# Before it is started again; twice as long each time, until it has been ready.
_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Forked:
    """A worker that the nursery has forked. It waits to be told to begin, and ends if this service does before that."""

    def __init__(self, process: Process, line: socket.socket) -> None:
        self.process = process
        self._line = line

    def begin(self) -> None:
        """Let it work. Nothing happens when it has ended."""
        with suppress(OSError):
            self._line.send(BEGIN)

    def status(self) -> int | None:
        """Of a worker that has ended: its exit status, or minus its signal; its number is nobody else's until ``release``.
        None when the nursery is gone."""
        try:
            return Ended.model_validate_json(self._line.recv(LONGEST_MESSAGE)).status
        except (OSError, ValidationError):
            return None

    def release(self) -> None:
        """Nothing more is asked of it."""
        self._line.close()


class NoNursery:
    """No warm start: every worker is started as a program."""

    @property
    def state(self) -> State:
        """Whether workers are forked: ``off``, ``warming`` (not now), ``ready``."""
        return "off"

    def start(self) -> None:
        """Begin to warm up. In the thread of the event loop, as ``close``."""

    def fork(self, folder: Path, environment: Mapping[str, str], lock: int, log: int) -> Forked | None:
        """A worker for the attempt in ``folder`` that holds the open ``lock`` and writes to ``log``; None where it has to be
        started as a program. From any thread."""
        return None

    def close(self) -> None:
        """End it. Its workers go on."""


NO_NURSERY = NoNursery()


@dataclass(frozen=True)
class _Running:
    """A nursery process."""

    child: subprocess.Popen[bytes]
    process: Process
    control: socket.socket


class Nursery(NoNursery):
    """One nursery process, which is there again some time after it has died."""

    def __init__(self, command: Sequence[str], answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._command = command
        self._answer_seconds = answer_seconds
        self._running: _Running | None = None
        self.ready = asyncio.Event()
        self._rest = _REST_SECONDS
        self._again: asyncio.TimerHandle | None = None
        # Threads ask while the event loop's takes note of a death.
        self._guard = threading.Lock()

    @property
    def state(self) -> State:
        """As that of ``NoNursery``; ``off`` where this machine cannot have one."""
        if self.ready.is_set():
            return "ready"
        return "warming" if self._running is not None or self._again is not None else "off"

    def start(self) -> None:
        """Begin to warm up."""
        self._loop = asyncio.get_running_loop()
        self._again = None
        try:
            running = _start(self._command)
        except OSError as error:
            self._start_again(f"it could not be started: {error}")
            return
        self._running = running
        self._loop.add_reader(running.control, self._hear, running)
        self._loop.add_reader(running.process.descriptor, self._bury, running)

    def fork(self, folder: Path, environment: Mapping[str, str], lock: int, log: int) -> Forked | None:
        """A worker that waits for its beginning."""
        order = Birth(attempt_folder=str(folder), environment=dict(environment)).model_dump_json(by_alias=True).encode()
        with ExitStack() as unless_born:
            line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            unless_born.callback(line.close)
            line.settimeout(self._answer_seconds)
            with theirs:
                if not self._ask(order, lock, log, theirs.fileno()):
                    return None
            born = self._answer(line)
            if born is not None:
                unless_born.pop_all()
            return born

    def close(self) -> None:
        """End the process: it keeps nothing that anybody needs."""
        if self._again is not None:
            self._again.cancel()
        if self._running is not None:
            self._forget(self._running)

    def _ask(self, order: bytes, *descriptors: int) -> bool:
        with self._guard:
            if self._running is None or not self.ready.is_set():
                return False
            try:
                socket.send_fds(self._running.control, [order], descriptors, socket.MSG_DONTWAIT)
            except OSError as error:
                _log.warning("A worker is not forked: the nursery cannot be asked: %s", error)
                return False
            return True

    def _answer(self, line: socket.socket) -> Forked | None:
        try:
            message, descriptors, _, _ = socket.recv_fds(line, LONGEST_MESSAGE, 1)
            born = Born.model_validate_json(message)
        except TimeoutError:
            _log.warning("The nursery did not answer within %g s, and is ended", self._answer_seconds)
            # It could hold the job's lock for ever.
            self._kill()
            return None
        except (OSError, ValidationError):
            return None
        if born.pid is None:
            _log.info("A worker is not forked: %s", born.refusal)
            return None
        process = Process.of_descriptor(born.pid, descriptors[0])
        return None if process is None else Forked(process, line)

    def _kill(self) -> None:
        with self._guard:
            if self._running is not None:
                self._running.child.kill()
                self._running.child.wait()

    def _hear(self, running: _Running) -> None:
        said = running.control.recv(LONGEST_MESSAGE)
        if said == READY:
            self._rest = _REST_SECONDS
            self.ready.set()
            _log.info("Workers are forked from process %d from now on", running.child.pid)
        elif said == UNFIT:
            self._forget(running)
        else:
            self._loop.remove_reader(running.control)

    def _bury(self, running: _Running) -> None:
        self._forget(running)
        self._start_again(f"process {running.child.pid} ended with status {running.child.returncode}")

    def _start_again(self, reason: str) -> None:
        _log.warning("Workers are not forked, but started, for %g s: %s", self._rest, reason)
        self._again = self._loop.call_later(self._rest, self.start)
        self._rest = min(2 * self._rest, _LONGEST_REST_SECONDS)

    def _forget(self, running: _Running) -> None:
        self._loop.remove_reader(running.control)
        self._loop.remove_reader(running.process.descriptor)
        self.ready.clear()
        with self._guard:
            self._running = None
            running.child.kill()
            running.child.wait()
            running.control.close()
        running.process.release()


def build_nursery(settings: Settings) -> NoNursery:
    """The nursery that the settings ask for."""
    if not settings.warm:
        return NO_NURSERY
    return Nursery([*NURSERY_COMMAND, *(["mlflow"] if settings.mlflow_uri is not None else [])])


def _start(command: Sequence[str]) -> _Running:
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            child = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Room for the mark of each worker, which is written over it.
                env={**shared_environment(), MARK: " " * _LONGEST_PATH},
                cwd="/",
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        except OSError:
            control.close()
            raise
    process = Process.find(child.pid)
    assert process is not None  # not yet waited for, so its number is taken
    return _Running(child, process, control)

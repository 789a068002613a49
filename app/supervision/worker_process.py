"""The worker process: started with its job's lock in hand, found again after a restart, stopped, killed whole.

A worker is no part of the service: it lives in a session of its own, and goes on when the service ends. Its job's
lock file is locked before it exists and the open file is handed to it, so the kernel holds the lock exactly as long
as the worker lives, without a gap at the start and however it ends. (Forked children, such as a DataLoader's, hold
it with the worker; they are killed with it.)
"""

import fcntl
import os
import signal
import subprocess
from asyncio import Event, get_running_loop
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from app.foreign_files import open_foreign
from app.supervision.attempt_folder import AttemptFolder
from app.supervision.nursery import NO_NURSERY, NoNursery
from app.supervision.processes import Process, descendants, kill_all, kill_marked, marked, processor_seconds
from schemas.files import write_for_now
from schemas.nursery import MARK

_PID_FILE = "worker.pid"
_PID_FILE_BYTES = 100
_DUMP_MILLISECONDS = 2000


class Child(Protocol):
    """A worker that this service has started, whose end it learns."""

    @property
    def process(self) -> Process:
        """The process itself."""

    def begin(self) -> None:
        """Let it work; before that it may already do so, or wait."""

    def status(self) -> int | None:
        """Of a worker that has ended: its exit status, or minus its signal; its number is nobody else's until ``release``.
        None when nobody knows."""

    def release(self) -> None:
        """Nothing more is asked of it. It is taken from the kernel's table if it has ended."""


class Program:
    """A worker started as a program of its own."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        process = Process.find(popen.pid)
        assert process is not None  # not yet reaped, so its number is taken
        self.process = process

    def begin(self) -> None:
        """It has begun."""

    def status(self) -> int | None:
        """As ``Child``."""
        ended = os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None  # only with WNOHANG
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def release(self) -> None:
        """As ``Child``."""
        self._popen.poll()


class WorkerProcess:
    """A worker of this machine: started by this service, or adopted from one that has ended."""

    def __init__(self, folder: AttemptFolder, process: Process, child: Child | None) -> None:
        self._folder = folder
        self._process = process
        self._child = child

    @staticmethod
    def spawn(
        command: Sequence[str], folder: AttemptFolder, environment: Mapping[str, str], nursery: NoNursery = NO_NURSERY
    ) -> "WorkerProcess":
        """Let ``nursery`` fork a worker or, where it does not, start ``command`` with the attempt's folder as its last
        argument.

        Raises OSError: BlockingIOError when another worker of the job lives, others when it cannot be started.
        """
        environment = {**environment, MARK: str(folder.path)}
        lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(lock, folder.lock)
            with folder.log.open("ab") as log:
                child: Child = nursery.fork(folder.path, environment, lock, log.fileno()) or _start(
                    command, folder, environment, lock, log.fileno()
                )
        finally:
            os.close(lock)
        worker = WorkerProcess(folder, child.process, child)
        try:
            write_for_now(folder.path / _PID_FILE, f"{worker.pid} {child.process.started}\n".encode())
        except OSError:
            # It would run although its job is said not to have started.
            child.process.send(signal.SIGKILL)
            worker.clear()
            worker.release()
            raise
        child.begin()
        return worker

    @staticmethod
    def adopt(folder: AttemptFolder) -> "WorkerProcess | None":
        """The worker that an earlier service started and that lives; None when it has ended."""
        if not _is_locked(folder.lock):
            return None
        try:
            with open_foreign(folder.path / _PID_FILE) as noted:
                pid, started = map(int, noted.read(_PID_FILE_BYTES).split())
        except (FileNotFoundError, ValueError):
            # The service ended between starting the worker and noting it, or the worker has spoilt the note.
            process = next(filter(None, map(Process.find, marked(_mark_of(folder)))), None)
        else:
            process = Process.find(pid)
            if process is not None and process.started != started:
                process.release()
                process = None
        return None if process is None else WorkerProcess(folder, process, None)

    @property
    def pid(self) -> int:
        """Number of the process, and of its session and process group."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was started, by whichever service."""
        return self._process.age

    @contextmanager
    def watched(self) -> Iterator[Event]:
        """An event that is set when the worker ends. Once per worker; it is let go of afterwards."""
        loop, ended = get_running_loop(), Event()

        def tell() -> None:
            loop.remove_reader(self._process.descriptor)
            ended.set()

        loop.add_reader(self._process.descriptor, tell)
        try:
            yield ended
        finally:
            loop.remove_reader(self._process.descriptor)
            self.release()

    def ask_to_stop(self) -> None:
        """SIGTERM, to the worker alone: one that has ranks hands it on to them itself."""
        self._process.send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the worker and all that came from it: first to those who have only their warden to be found by."""
        kill_all(lambda: descendants(self.pid))
        if not self._process.has_ended():
            _kill_group(self.pid)
        kill_marked(_mark_of(self._folder))

    def abort(self) -> None:
        """Make every process of the attempt write the stacks of its threads to the log, then kill all.

        SIGABRT is what Python's fault handler answers with a dump, whatever holds the interpreter. The warden ignores it.
        """
        found = [process for process in map(Process.find, [self.pid, *descendants(self.pid)]) if process is not None]
        # One after the other, for all write to one log. The warden and its worker last: ranks die with the worker, whatever
        # they have not yet written.
        for together in (*([process] for process in found[2:]), found[:2]):
            for process in together:
                process.send(signal.SIGABRT)
            for process in together:
                process.has_ended(_DUMP_MILLISECONDS)
                process.release()
        self.kill()

    def processor_seconds(self) -> float:
        """Processor time that the worker and all that came from it have used."""
        return processor_seconds([self.pid, *descendants(self.pid)])

    def clear(self) -> int | None:
        """Kill what an ended worker has left behind; its exit status, or minus its signal, or None where nobody knows."""
        status = None if self._child is None else self._child.status()
        if status is not None:
            # Until it is released nobody else can have its group's number.
            _kill_group(self.pid)
        clear(self._folder)
        return status

    def release(self) -> None:
        """Let go of it; one that lives goes on."""
        self._process.release()
        if self._child is not None:
            self._child.release()


def _start(
    command: Sequence[str], folder: AttemptFolder, environment: Mapping[str, str], lock: int, log: int
) -> Program:
    # It inherits what is held back: nobody is asked to stop before somebody listens, and the warden lets the signal in.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        return Program(
            subprocess.Popen(
                [*command, str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # Not the service's folder: -m would look for modules there first.
                cwd=folder.path,
                start_new_session=True,
                pass_fds=(lock,),
            )
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def clear(folder: AttemptFolder) -> bool:
    """Kill what is left of an attempt whose worker has ended, and take away its temporary files, which a warden that was
    killed could not; whether no process is left."""
    none_left = kill_marked(_mark_of(folder))
    folder.remove_scratch()
    return none_left


def _mark_of(folder: AttemptFolder) -> str:
    return f"{MARK}={folder.path}"


def _kill_group(number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another worker of this job is alive and holds its lock", path) from None


def _is_locked(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False

"""The tracker process, as its worker sees it: started, told the end, waited for in bounds, ended."""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from schemas.assignment import Assignment, Outcome
from schemas.events import Start
from schemas.result import Tracking
from trainer_core.channel import Channel
from trainer_core.trackers.csv import write_metrics
from trainer_core.trackers.destination import find_destination
from trainer_core.trackers.forked import Forked
from trainer_core.trackers.report import read_report, report_file

LOG_FILE = "tracker.log"

_LOOK_SECONDS = 0.05
_KILL_SECONDS = 5.0
_REMEDY = "The job's event log holds it all: python -m trainer_core.trackers.main {} < /dev/null"


@dataclass(frozen=True)
class Patience:
    """How long the end of a run waits for its trackers: since their latest sign of life, and in all.

    A report is a sign of life, and so is work: on a busy machine the import of MLflow alone takes a while.
    """

    quiet_seconds: float = 10.0
    total_seconds: float = 60.0


# How much such a process works is not seen from inside a container: only its reports are.
_PATIENCE_APART = Patience(quiet_seconds=30.0)


class _Child:
    """A tracker process that was started."""

    def __init__(self, process: "subprocess.Popen[bytes] | Forked", signs: list[Path], patience: Patience) -> None:
        self.pid = process.pid
        self._process = process
        self._signs = signs
        self._patience = patience

    def end(self, state: str) -> str | None:
        """Tell the process that the run ended in ``state``; gone when this returns. Why it had to go, if it had to."""
        assert self._process.stdin is not None
        # It may be dead: then the pipe is broken, and waiting for it tells.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{state}\n".encode())
            self._process.stdin.close()
        trouble = self._wait()
        if self._process.returncode is None:
            # A guarded worker may not: its warden does, when the worker has ended.
            with contextlib.suppress(PermissionError):
                self._process.kill()
            # In vain while the kernel waits for a dead file system: then it is left behind.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_SECONDS)
        return trouble

    def _wait(self) -> str | None:
        start = sign = time.monotonic()
        seen = self._newest_signs()
        while (now := time.monotonic()) < start + self._patience.total_seconds:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(_LOOK_SECONDS)
                return None if status == 0 else f"The tracker process ended with status {status}."
            if (newest := self._newest_signs()) != seen:
                seen, sign = newest, now
            elif now > sign + self._patience.quiet_seconds:
                return f"The tracker process was ended after {self._patience.quiet_seconds:g} s without a sign of life."
        return f"The tracker process was ended; it had {self._patience.total_seconds:g} s after the run."

    def _newest_signs(self) -> list[int]:
        return [_processor_ticks(self.pid), *_times_of(self._signs)]


def _times_of(signs: list[Path]) -> list[int]:
    return [sign.stat().st_mtime_ns for sign in signs if sign.exists()]


def _processor_ticks(pid: int) -> int:
    """Processor time that a process has used; 0 where the system does not say (it is Linux that does)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


class _Inherited:
    """A tracker process that another one has started, outside of this one's container: it hears us by one pipe, and
    holds the other as long as it lives."""

    pid = None

    def __init__(self, ends: tuple[int, int], signs: list[Path], patience: Patience) -> None:
        self._telling, self._living = ends
        self._signs = signs
        self._patience = patience

    def end(self, state: str) -> str | None:
        """As that of a child; one that does not end is ended by the warden."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._telling, f"{state}\n".encode())
        os.close(self._telling)
        ended = select.poll()
        ended.register(self._living, select.POLLHUP)
        start = sign = time.monotonic()
        seen = _times_of(self._signs)
        while (now := time.monotonic()) < start + self._patience.total_seconds:
            if ended.poll(_LOOK_SECONDS * 1000):
                return None
            if (newest := _times_of(self._signs)) != seen:
                seen, sign = newest, now
            elif now > sign + self._patience.quiet_seconds:
                break
        return f"The tracker process was left behind after {now - start:.0f} s."


class _Unstarted:
    """A tracker process that could not be started."""

    pid = None

    def __init__(self, error: OSError) -> None:
        self._error = error

    def end(self, _state: str) -> str | None:
        """Why there is no process."""
        return f"The tracker process could not be started: {self._error}."


class TrackerProcess:
    """The trackers of one attempt, outside the worker: they can neither delay its steps nor fail its job."""

    def __init__(
        self,
        assignment: Assignment,
        patience: Patience,
        start: Start = "cold",
        ends: tuple[int, int] | None = None,
    ) -> None:
        self._attempt_folder = Path(assignment.attempt_folder)
        self._run_folder = Path(assignment.run_folder)
        destination = find_destination(assignment)
        self._planned = [] if destination is None else [destination.tracking("It never reported.")]
        try:
            begin = _fork if start == "warm" else _spawn
            self._child: _Child | _Inherited | _Unstarted = (
                _Child(begin(self._attempt_folder), self._reports(), patience)
                if ends is None
                else _Inherited(ends, self._reports(), patience)
            )
        except OSError as error:
            self._child = _Unstarted(error)

    @classmethod
    def start(cls, assignment: Assignment, patience: Patience | None = None, start: Start = "cold") -> Self:
        """Start the process and return at once: as a program or, ``warm``, forked from this process, which has loaded what
        it needs and has one thread. That it could not be started is said by ``finish``."""
        return cls(assignment, patience or Patience(), start)

    @classmethod
    def inherit(cls, assignment: Assignment, ends: tuple[int, int], patience: Patience | None = None) -> Self:
        """The process that ``start_apart`` has started."""
        for end in ends:
            os.set_inheritable(end, False)
        return cls(assignment, patience or _PATIENCE_APART, ends=ends)

    @property
    def pid(self) -> int | None:
        """Of the process, when there is one."""
        return self._child.pid

    def finish(self, outcome: Outcome, channel: Channel) -> list[Tracking]:
        """Tell the trackers that the run is over, wait within bounds, end them, and say what became of them.

        A tracker that does not hold the whole run is a warning on the channel, and so is a metrics.csv that could not
        be written; otherwise it is whole when this returns, whatever the process did.
        """
        trouble = self._child.end(outcome.state)
        try:
            write_metrics(self._attempt_folder, self._run_folder)
        except OSError as error:
            channel.warn("metrics_file_failed", f"metrics.csv could not be written: {error}.")
        trackings = [self._settle(planned, trouble) for planned in self._planned]
        for tracking in trackings:
            if tracking.status == "failed":
                message = f"{tracking.tracker} does not hold the whole run. {tracking.message}"
                channel.warn("tracking_failed", message, remedy=_REMEDY.format(self._attempt_folder))
        return trackings

    def _reports(self) -> list[Path]:
        return [report_file(self._attempt_folder, planned.tracker) for planned in self._planned]

    def _settle(self, planned: Tracking, trouble: str | None) -> Tracking:
        tracking = read_report(self._attempt_folder, planned)
        if tracking.status == "complete" or trouble is None:
            return tracking
        return tracking.model_copy(update={"message": f"{trouble} Its last report: {tracking.message}"})


def start_apart(attempt_folder: Path) -> tuple[int, int]:
    """Start the process for a worker that this one will become, and that will not see it: the ends of two pipes, which
    it inherits. Raises OSError."""
    living, held = os.pipe()
    process = _spawn(attempt_folder, held)
    os.close(held)
    assert process.stdin is not None
    ends = os.dup(process.stdin.fileno()), living
    for end in ends:
        os.set_inheritable(end, True)
    return ends


def _fork(attempt_folder: Path) -> Forked:
    from trainer_core.trackers.main import main

    with _log(attempt_folder) as log:
        return Forked(partial(main, attempt_folder), attempt_folder, log)


def _spawn(attempt_folder: Path, *inherited: int) -> subprocess.Popen[bytes]:
    # -P: no file of the user's may stand in for a module of this process.
    command = [sys.executable, "-P", "-m", "trainer_core.trackers.main", str(attempt_folder)]
    with _log(attempt_folder) as log:
        return subprocess.Popen(
            command, cwd=attempt_folder, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=inherited
        )


@contextlib.contextmanager
def _log(attempt_folder: Path) -> Iterator[int]:
    log = os.open(attempt_folder / LOG_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield log
    finally:
        os.close(log)

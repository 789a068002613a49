"""Processes of this machine, as Linux shows them in ``/proc`` and holds them by descriptor."""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_KILL_ROUNDS = 20
_KILL_MILLISECONDS = 500
# A process that is being started gets its environment last. Microseconds, but on a machine that is busy, or a dead disk.
_START_SECONDS = 1.0
_LOOK_SECONDS = 0.001
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of linux/sched.h


@dataclass(frozen=True)
class Process:
    """A process held by descriptor (pidfd): no signal can hit another one that took over its number.

    ``started`` is its start in clock ticks since boot; number and start together name a process for ever.
    """

    pid: int
    started: int
    descriptor: int

    @staticmethod
    def find(pid: int) -> "Process | None":
        """The process numbered ``pid`` now, or None when there is none (a zombie is one)."""
        try:
            descriptor = os.pidfd_open(pid)
        except (ProcessLookupError, OverflowError):
            return None
        return Process.of_descriptor(pid, descriptor)

    @staticmethod
    def of_descriptor(pid: int, descriptor: int) -> "Process | None":
        """The process that ``descriptor`` holds, which is numbered ``pid``; None when it has ended and was waited for."""
        started = _started(pid)
        if started is None:
            os.close(descriptor)
            return None
        return Process(pid, started, descriptor)

    @property
    def age(self) -> float:
        """Seconds since its start, by a clock that nobody can set and that runs while the machine sleeps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / _TICKS_PER_SECOND

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    def has_ended(self, wait_milliseconds: int = 0) -> bool:
        """Whether it has ended (reaped or not), after waiting for that at most so long."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(wait_milliseconds))

    def release(self) -> None:
        """Let go of the descriptor; the process goes on."""
        os.close(self.descriptor)


def marked(mark: str) -> list[int]:
    """Processes that were started with ``mark`` (``NAME=value``) in their environment, oldest first.

    A mark is inherited by every descendant, in whatever session, and whoever its parent has become.
    """
    others = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    found = [pid for pid in others if pid != os.getpid() and is_marked(pid, mark)]
    return sorted(found, key=lambda pid: (_started(pid) or 0, pid))


def is_marked(pid: int, mark: str) -> bool:
    """Whether the process was started with ``mark``; of one that is being started, as soon as it says so."""
    # Ended meanwhile, or of another user, hence not ours.
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        return mark.encode() in _environment(pid).split(b"\0")
    return False


def descendants(ancestor: int) -> list[int]:
    """Processes that came from ``ancestor`` and still have it above them, in whatever session and environment."""
    parents = {}
    for entry in Path("/proc").iterdir():
        fields = _fields(int(entry.name)) if entry.name.isdecimal() else None
        if fields is not None and fields[0] != "Z":
            parents[int(entry.name)] = int(fields[1])
    found = [ancestor]
    for known in found:
        found.extend(pid for pid, parent in parents.items() if parent == known)
    return found[1:]


def kill_marked(mark: str) -> bool:
    """Kill every process with ``mark`` and wait for their ends; whether none is left."""
    return kill_all(lambda: marked(mark))


def kill_all(find: Callable[[], list[int]]) -> bool:
    """Kill what ``find`` finds and wait for its end, until it finds nothing; whether that was reached.

    In rounds, since one may fork while the others are being killed. One that the kernel holds (input/output that
    does not return) may remain.
    """
    for _ in range(_KILL_ROUNDS):
        processes = [process for process in map(Process.find, find()) if process is not None]
        if not processes:
            return True
        for process in processes:
            process.send(signal.SIGKILL)
        for process in processes:
            process.has_ended(_KILL_MILLISECONDS)
            process.release()
    return False


def processor_seconds(pids: Iterable[int]) -> float:
    """Processor time that these processes have used so far, and their children that have ended and were waited for."""
    ticks = 0
    for pid in pids:
        fields = _fields(pid)
        if fields is not None:
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_SECOND


def _environment(pid: int) -> bytes:
    path, patience = Path(f"/proc/{pid}/environ"), time.monotonic() + _START_SECONDS
    while not (found := path.read_bytes()):
        if not _is_being_started(pid) or time.monotonic() > patience:
            return path.read_bytes()
        time.sleep(_LOOK_SECONDS)
    return found


def _is_being_started(pid: int) -> bool:
    """Whether it is within execve(2), with the new program's memory, but no environment in that yet."""
    fields = _fields(pid)
    return fields is not None and fields[0] not in "ZX" and not int(fields[6]) & _KERNEL_THREAD and fields[48] == "0"


def _started(pid: int) -> int | None:
    fields = _fields(pid)
    return None if fields is None else int(fields[19])


def _fields(pid: int) -> list[str] | None:
    """``/proc/PID/stat`` from the state on, its third field (proc_pid_stat(5)); the second may hold blanks and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()

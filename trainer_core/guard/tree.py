"""All processes that came from this one, and what they take. Little is imported here: the warden stays small."""

import os
import signal
from dataclasses import dataclass

_PAGE = os.sysconf("SC_PAGE_SIZE")
# Numbers of processes are used again: a stranger's is looked at again after so many looks.
_LOOKS_REMEMBERED = 50


@dataclass(frozen=True)
class Member:
    """A process. ``resident`` counts its pages in memory, those that it shares with others too."""

    pid: int
    threads: int
    resident: int


class Tree:
    """The descendants of this process. One that has lost its parent is its child, since it is a subreaper."""

    def __init__(self) -> None:
        self._members: set[int] = {os.getpid()}
        self._strangers: set[int] = set()
        self._looks = 0

    def look(self) -> list[Member]:
        """The descendants now, without those that have ended. Costs little: of strangers only new ones are read."""
        self._looks += 1
        if self._looks % _LOOKS_REMEMBERED == 0:
            self._strangers.clear()
        there = {int(name) for name in os.listdir("/proc") if name.isdecimal()}
        self._members &= there
        self._strangers &= there
        found = {pid: fields for pid in there - self._strangers if (fields := _fields(pid)) is not None}
        self._adopt({pid: int(fields[1]) for pid, fields in found.items()})
        me = os.getpid()
        # The third field is the state, of which Z is ended; the twentieth the threads, the 24th pages (proc_pid_stat(5)).
        return [
            Member(pid, int(fields[17]), int(fields[21]) * _PAGE)
            for pid, fields in found.items()
            if pid in self._members and pid != me and fields[0] != b"Z"
        ]

    def _adopt(self, parents: dict[int, int]) -> None:
        """Those of ``parents`` whose parent is one of us are of us; the rest are strangers."""
        unknown = [pid for pid in parents if pid not in self._members]
        while new := {pid for pid in unknown if parents[pid] in self._members}:
            self._members |= new
            unknown = [pid for pid in unknown if pid not in new]
        self._strangers.update(unknown)

    def kill(self) -> None:
        """End all of them, however fast they multiply: first none may run, then none may be."""
        stopped: set[int] = set()
        while new := {member.pid for member in self.look()} - stopped:
            _send(new, signal.SIGSTOP)
            stopped |= new
        _send(stopped, signal.SIGKILL)


def shared_fairly(members: list[Member]) -> int:
    """Bytes in memory of ``members`` together, each page that n processes share counted as an n-th for each of them."""
    return sum(_proportional(member) for member in members)


def _proportional(member: Member) -> int:
    try:
        with open(f"/proc/{member.pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except PermissionError:
        return member.resident
    return 0


def _fields(pid: int) -> list[bytes] | None:
    """``/proc/PID/stat`` from the state on; None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue

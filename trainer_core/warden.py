"""The warden: ``python -m trainer_core.warden ATTEMPT_FOLDER`` runs a worker in a child and lets nothing outlive it.

Processes that the user's code starts may leave the worker's session, empty their environment and lose their parent.
They still come back to the warden, which is their subreaper (prctl(2)): when the worker has ended, however that came,
the warden ends every process it has left, and then itself as the worker ended. It also ends a worker that takes more
than its assignment allows, and says so in its place. It imports little, so that it stays
small beside a worker, and forks before there is any thread. (``trainer_core.nursery`` forks wardens that are warm: all that
their workers need is loaded.)
"""

import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from trainer_core.guard.watch import Excess, Watch
from trainer_core.leaving import leave

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

# A process that the kernel holds (input/output that does not return) is left behind after so long.
_LONGEST_CLEARING_SECONDS = 10.0
_LOOK_SECONDS = 0.005
_WATCH_MILLISECONDS = 100
# The program that makes a container, and the name of the first process in it.
_CONTAINER = "bwrap"


def main(attempt_folder: Path, work: Callable[[Path], int] | None = None) -> NoReturn:
    """Run the worker of ``attempt_folder``, or ``work``, in a child; exit status and signal are those of the child."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Nobody is asked to stop before somebody listens: the worker lets the signal in when it does.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    warden = os.getpid()
    assignment = json.loads((attempt_folder / "assignment.json").read_bytes())
    watch = Watch.of(assignment)
    contained = assignment.get("isolation") == "contained"
    worker = os.fork()
    if not worker:
        _work(attempt_folder, warden, work or (_enter if contained else _worker))
    request = _StopRequest(worker, contained=contained)
    request.listen()
    status, excess = _wait(worker, watch, request)
    clear()
    _remove(attempt_folder / "tmp")
    if excess is not None:
        _leave_word(attempt_folder, excess)
    _end_as(status)


def clear() -> bool:
    """Kill all children, and those who become children when their parents die; whether none is left."""
    deadline = time.monotonic() + _LONGEST_CLEARING_SECONDS
    while time.monotonic() < deadline:
        for child in _children(os.getpid()):
            os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        time.sleep(_LOOK_SECONDS)
    return False


def _worker(attempt_folder: Path) -> int:
    from trainer_core import worker

    return worker.main(attempt_folder)


def _enter(attempt_folder: Path) -> NoReturn:
    from trainer_core import contained

    contained.enter(attempt_folder)


def _work(attempt_folder: Path, warden: int, work: Callable[[Path], int]) -> NoReturn:
    """The child: it dies with the warden, whom nobody else would clear up after."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != warden:
        os._exit(1)
    try:
        status = work(attempt_folder)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    leave(status)


class _StopRequest:
    """SIGTERM to the warden, passed on to the worker: its child, or the one in the container that its child has made."""

    def __init__(self, child: int, *, contained: bool) -> None:
        self._child = child
        self._contained = contained
        self._waiting = False

    def listen(self) -> None:
        """From now on; before, the signal waited."""
        signal.signal(signal.SIGTERM, self._take)
        # Whoever wants to see the worker's stacks sends this to all of its processes.
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self._waiting = True
        self.pass_on()

    def pass_on(self) -> None:
        """Pass on a signal that has not been, as soon as there is somebody to hear it."""
        worker = self._worker() if self._waiting else None
        if worker is not None:
            self._waiting = False
            os.kill(worker, signal.SIGTERM)

    def _worker(self) -> int | None:
        if not self._contained:
            # Not yet waited for: until then nobody else can have its number.
            return self._child
        made = next((pid for pid in _children(self._child) if _name_of(pid) == _CONTAINER), None)
        return None if made is None else next(iter(_children(made)), None)


def _wait(worker: int, watch: Watch, request: _StopRequest) -> tuple[int, Excess | None]:
    """The worker's wait status, and what it was ended for, if it was. Strangers that came back to us and ended are taken
    from the kernel's table meanwhile."""
    ended = select.poll()
    ended.register(os.pidfd_open(worker), select.POLLIN)
    excess = None
    while not ended.poll(_WATCH_MILLISECONDS):
        _reap_strangers(worker)
        request.pass_on()
        excess = excess or watch.look()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return os.waitpid(worker, 0)[1], excess


def _reap_strangers(worker: int) -> None:
    while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if ended.si_pid == worker:
            return
        os.waitpid(ended.si_pid, 0)


def _remove(scratch: Path) -> None:
    """Take away what the worker had for temporary files; what cannot be removed is left to the service."""
    if scratch.exists():
        from schemas.scratch import remove_scratch

        remove_scratch(scratch)


def _leave_word(attempt_folder: Path, excess: Excess) -> None:
    """Leave the outcome of a worker that was ended for what it took, unless it has left its own."""
    from schemas.assignment import OUTCOME_FILE, Outcome
    from trainer_core.failure import Failure
    from trainer_core.outcomes import leave_outcome

    failure = Failure(excess.code, excess.message, next_move=excess.next_move)
    if not os.path.lexists(attempt_folder / OUTCOME_FILE):
        leave_outcome(attempt_folder, Outcome(state="failed", error=failure.error))


def _end_as(status: int) -> NoReturn:
    """End with the exit status, or by the signal, of ``status``; without a second dump of a core or of stacks."""
    if os.WIFSIGNALED(status):
        import faulthandler
        import resource

        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _children(parent: int) -> list[int]:
    """Processes whose parent is ``parent``, the oldest first."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            with open(f"/proc/{entry.name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The field after the state, and the 22nd (proc_pid_stat(5)); a zombie waits for its parent and for no signal.
        if int(fields[1]) == parent and fields[0] != b"Z":
            found.append((int(fields[19]), int(entry.name)))
    return [pid for _, pid in sorted(found)]


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option} is refused")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

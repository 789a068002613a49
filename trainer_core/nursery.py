"""The nursery: ``python -P -m trainer_core.nursery [mlflow] SOCKET``, a process with torch loaded that forks workers.

A worker that is forked from it trains at once, instead of importing for seconds. It speaks with the service that
started it over the socket of that number (``schemas.nursery``), has one thread, never touches a device, imports nothing
of the user's, and ends when the service does; its workers go on.
"""

import importlib.machinery
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from schemas.assignment import ASSIGNMENT_FILE, Assignment
from schemas.nursery import LONGEST_MESSAGE, OWN_VARIABLES, READY, UNFIT, Birth, Born, Ended
from trainer_core import birth
from trainer_core.warmth import settle, unfit, warm_up


@dataclass(frozen=True)
class _Worker:
    """A child, and its line to the service."""

    pid: int
    process: int
    line: socket.socket


class Nursery:
    """Forks workers for the service at the other end of ``control``, and tells it how each has ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._environment = _shared(dict(os.environ))
        self._mark = birth.Mark()
        self._workers: dict[int, _Worker] = {}
        self._ended: dict[int, _Worker] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def abandoned(self) -> bool:
        """Whether the service is gone."""
        return bool(self._poll.poll(0))

    def serve(self) -> None:
        """Until the service is gone."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._workers:
                    self._tell_end(self._workers[descriptor])
                elif descriptor in self._ended:
                    self._let_go(self._ended[descriptor])
                elif not self._take():
                    return

    def _take(self) -> bool:
        """Take one order; False when the service is gone."""
        message, descriptors, _, _ = socket.recv_fds(self._control, LONGEST_MESSAGE, 3)
        if not message:
            return False
        lock, log, number = descriptors
        line = socket.socket(fileno=number)
        try:
            self._bear(Birth.model_validate_json(message), lock, log, line)
        finally:
            os.close(lock)
            os.close(log)
        return True

    def _bear(self, order: Birth, lock: int, log: int, line: socket.socket) -> None:
        refusal = self._refusal(order)
        if refusal is None:
            try:
                pid = _fork()
            except OSError as error:
                refusal = f"no process can be forked: {error.strerror}"
        if refusal is not None:
            _say(line, Born(refusal=refusal))
            line.close()
            return
        if not pid:
            known = [worker.line for worker in (*self._workers.values(), *self._ended.values())]
            birth.enter(order, lock, log, line, [self._control, *known], self._mark, self._by_libraries())
        process = os.pidfd_open(pid)
        self._workers[process] = _Worker(pid, process, line)
        self._poll.register(process, select.POLLIN)
        _say(line, Born(pid=pid), process)

    def _refusal(self, order: Birth) -> str | None:
        """Why a worker of this process would not be as one that was started for the job alone."""
        if not self._mark.fits(order.attempt_folder):
            return "the path of its folder is too long"
        environment = _shared(order.environment)
        if environment != self._environment:
            names = sorted(dict(environment.items() ^ self._environment.items()))
            return f"its environment is another one ({', '.join(names)})"
        try:
            assignment = Assignment.model_validate_json((Path(order.attempt_folder) / ASSIGNMENT_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            return f"its assignment cannot be read: {error}"
        if assignment.isolation == "contained":
            return "a container is made around a program"
        folders = {assignment.workspace, str(Path(assignment.request.model_path).parent)}
        hidden = next((path for folder in sorted(folders) for path in _hidden(folder)), None)
        return None if hidden is None else f"{hidden} would be imported in place of a library that is loaded already"

    def _by_libraries(self) -> dict[str, str]:
        given = self._environment
        return {name: value for name, value in _shared(dict(os.environ)).items() if given.get(name) != value}

    def _tell_end(self, worker: _Worker) -> None:
        """Say how it ended; it is not waited for, so that its number is nobody else's, until the service lets go."""
        ended = os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None  # only with WNOHANG
        _say(worker.line, Ended(status=ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status))
        self._poll.unregister(worker.process)
        del self._workers[worker.process]
        os.close(worker.process)
        self._ended[worker.line.fileno()] = worker
        self._poll.register(worker.line, select.POLLIN)

    def _let_go(self, worker: _Worker) -> None:
        if _says_more(worker.line):
            return  # The word to begin, to one that had ended before it heard it.
        self._poll.unregister(worker.line)
        del self._ended[worker.line.fileno()]
        worker.line.close()
        os.waitpid(worker.pid, 0)


def _fork() -> int:
    """Fork a child that nobody asks to stop before it listens: it holds SIGTERM back, and its warden lets it in."""
    before, pid = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}), -1
    try:
        pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _say(line: socket.socket, message: Born | Ended, *descriptors: int) -> None:
    try:
        socket.send_fds(line, [message.model_dump_json().encode()], descriptors)
    except (BrokenPipeError, ConnectionResetError):
        # The service has given the worker up, or is gone: the control socket tells which.
        return


def _says_more(line: socket.socket) -> bool:
    """Take what the other side has said; False when it has closed the line."""
    try:
        return bool(line.recv(LONGEST_MESSAGE))
    except ConnectionResetError:  # It did not listen to the end.
        return False


def _shared(environment: dict[str, str]) -> dict[str, str]:
    """What must be the same for every worker: libraries read it while they are loaded."""
    return {name: value for name, value in environment.items() if name not in OWN_VARIABLES}


def _hidden(folder: str) -> Iterator[str]:
    """Files of ``folder`` that a process of its own would import by the name of a module that is loaded here."""
    try:
        names = {entry.partition(".")[0] for entry in os.listdir(folder)}
    except OSError:
        return
    for name in sorted(names & sys.modules.keys()):
        found = importlib.machinery.PathFinder.find_spec(name, [folder])
        loaded = getattr(sys.modules[name], "__spec__", None)
        if found is not None and found.loader is not None and (loaded is None or found.origin != loaded.origin):
            yield str(found.origin)


def main(number: int, *, mlflow: bool) -> int:
    """Warm up, say ``READY``, and serve; exit status 1 when this process must not fork."""
    nursery = Nursery(control := socket.socket(fileno=number))
    for _ in warm_up(mlflow=mlflow):
        if nursery.abandoned():
            return 0
    if (trouble := unfit()) is not None:
        print(f"pytorch-trainer: workers cannot be forked from a warm process: {trouble}.", file=sys.stderr)
        control.send(UNFIT)
        return 1
    settle()
    control.send(READY)
    nursery.serve()
    return 0


if __name__ == "__main__":
    status = main(int(sys.argv[-1]), mlflow="mlflow" in sys.argv[1:-1])
    os._exit(status)

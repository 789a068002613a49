"""Has torch loaded and forks a process for each run that standard input asks for; says how each ended.

A line is a JSON object: ``assignment``; ``seconds`` until the run is killed, counted from ``from`` (``start``; ``model``: its
model is loaded; a number: it begins its n-th save); ``fault``, for which ``faults.c`` must be preloaded. Without ``fork`` the run is
this process's own: it imports what torch imports when it is first used. What a run that was killed had started ends with it,
as a warden has it: ranks, loaders of data.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from schemas.assignment import EVENTS_FILE, OUTCOME_FILE, Assignment
from schemas.events import EventData
from trainer_core.channel import FileChannel
from trainer_core.stop import Stop
from trainer_core.worker import run

_PR_SET_CHILD_SUBREAPER = 36


class Fuse(FileChannel):
    """Burns from the moment that the model is loaded."""

    seconds = 0.0

    def emit(self, data: EventData) -> None:
        """Say it, and begin to count when it is time."""
        super().emit(data)
        if data.event_type == "model.loaded" and self.seconds:
            signal.setitimer(signal.ITIMER_REAL, self.seconds)


def burn_from_save(number: int, seconds: float) -> None:
    """The kernel ends this process so many seconds after it has begun its n-th save: a folder ``….tmp`` is made then."""
    left = number

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "os.mkdir" and str(arguments[0]).endswith(".tmp"):
            left -= 1
            if left == 0:
                signal.setitimer(signal.ITIMER_REAL, seconds)

    sys.addaudithook(look)


def train(order: dict[str, Any]) -> None:
    """One run; its outcome is left as a worker leaves it."""
    assignment = Assignment.model_validate(order["assignment"])
    folder = Path(assignment.attempt_folder)
    channel = Fuse(folder / EVENTS_FILE)
    if order.get("from") == "start":
        signal.setitimer(signal.ITIMER_REAL, order["seconds"])
    elif order.get("from") == "model":
        channel.seconds = order["seconds"]
    elif "from" in order:
        burn_from_save(order["from"], order["seconds"])
    faults = ctypes.CDLL(None)
    if (fault := order.get("fault")) is not None:
        faults.fault_arm(fault["path"].encode(), fault["number"], fault["kind"])
    outcome = run(assignment, channel, Stop())
    if fault is not None:
        (folder / "operations").write_text(str(faults.fault_disarm()))
    (folder / OUTCOME_FILE).write_text(outcome.model_dump_json(by_alias=True))


def children() -> set[int]:
    """Of this process, those included that have become its own when their parent ended."""
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def end_all_but(known: set[int]) -> None:
    """Kill all children of this process but those that were ``known`` before a run."""
    while left := children() - known:
        for process in left:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def main() -> None:
    """Run after run, until standard input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for line in sys.stdin:
        order = json.loads(line)
        if not order["fork"]:
            train(order)
            print(0, flush=True)
            continue
        known = children()
        child = os.fork()
        if not child:
            train(order)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        end_all_but(known)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()

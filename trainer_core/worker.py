"""The worker: ``trainer_core.warden`` runs it; ``python -m trainer_core.worker ATTEMPT_FOLDER`` does so unguarded.

Reads the assignment, opens the channel, goes through the engine's door, and leaves one outcome file, whatever
happened. The job's lock is inherited as an open file (held before this process existed, freed by the kernel
however it ends), so the service may restart meanwhile and find the job alive.
"""

import os
import platform
import signal
import sys
import traceback
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from schemas.assignment import (
    ASSIGNMENT_FILE,
    DISK_FULL_STATUS,
    EVENTS_FILE,
    Assignment,
    Outcome,
    StopReason,
)
from schemas.engines import EngineName
from schemas.events import JobStarted, Start
from trainer_core import registry
from trainer_core.channel import Channel, FileChannel
from trainer_core.checkpoints.checkpoint_folder import complete_checkpoints
from trainer_core.failure import Failure, is_disk_full
from trainer_core.guard.guard import confine, explained
from trainer_core.guard.paths import require_unmoved
from trainer_core.leaving import leave
from trainer_core.lost_loader import lost_loader
from trainer_core.outcomes import leave_outcome
from trainer_core.registry import Ending
from trainer_core.stop import Stop, Stopped
from trainer_core.trackers.process import TrackerProcess

_PACKAGES = ("pytorch-trainer", "torch", "numpy", "scikit-learn", "mlflow")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries a run depends on, read without importing them."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def guarded(assignment: Assignment, channel: Channel, stop: Stop, start: Start = "cold") -> Outcome:
    """One attempt, held to its level of isolation before any code of the user is loaded; it has not begun where that
    cannot be had."""
    try:
        isolation = confine(assignment)
    except Failure as failure:
        return Outcome(state="failed", error=failure.error)
    started = JobStarted(
        pid=os.getpid(),
        engine=assignment.engine,
        devices=assignment.devices,
        versions=versions(),
        isolation=isolation,
        start=start,
    )
    channel.emit(started)
    return explained(run(assignment, channel, stop), isolation)


def run(assignment: Assignment, channel: Channel, stop: Stop) -> Outcome:
    """One attempt, from the engine's door to its outcome. This is the worker's one broad ``except``."""
    try:
        ending = train(assignment, channel, stop)
    except Stopped:
        ending = Ending("stopped")
    except Exception as error:
        # Torch's handler says again, wherever we are by then, that a loader process has died.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        failure = lost_loader(error) or (error if isinstance(error, Failure) else None)
        if failure is None:
            traceback.print_exc()
            failure = _unforeseen(error)
        return Outcome(state="failed", error=failure.error)
    if ending.state != "stopped":
        return Outcome(state=ending.state, artifacts=ending.artifacts)
    order = stop.order(Path(assignment.attempt_folder))
    reason = ending.reason or order or "cancelled"
    elsewhere = order is None and ending.reason is not None
    return _stopped(reason, assignment, elsewhere).model_copy(
        update={"artifacts": ending.artifacts, "asked_elsewhere": elsewhere}
    )


def _stopped(reason: StopReason, assignment: Assignment, elsewhere: bool) -> Outcome:
    if reason == "paused":
        return Outcome(state="paused")
    if reason == "stopped":
        return Outcome(state="early_stopped")
    where = " on another node" if elsewhere else ""
    if reason == "timeout":
        limit = "" if elsewhere else f" ({assignment.request.limits.max_seconds} s)"
        timeout = Failure("timeout", f"The job ran longer than limits.maxSeconds{limit}{where} and was stopped.")
        return Outcome(state="failed", error=timeout.error)
    message = f"The job was cancelled{where}; its last checkpoint, where there is one, is kept."
    return Outcome(state="cancelled", error=Failure("cancelled", message).error)


def train(assignment: Assignment, channel: Channel, stop: Stop) -> Ending:
    """Train, through the engine's door; a later attempt from the job's own newest whole checkpoint, where it has one."""
    with stop.breaking_off():
        engine = registry.door(cast(EngineName, assignment.engine))
    run_folder = Path(assignment.run_folder)
    if not (assignment.go_on and complete_checkpoints(run_folder)):
        return engine(assignment, channel, stop)
    try:
        return engine(_going_on(assignment), channel, stop)
    except Failure as failure:
        if not _is_of_no_use(failure):
            raise
        message = (
            f"This attempt cannot go on from what the one before it saved in {run_folder}, and begins anew: {failure}"
        )
        channel.warn("began_anew", message)
    return engine(assignment, channel, stop)


def _going_on(assignment: Assignment) -> Assignment:
    request = assignment.request
    own = request.checkpoint_config.model_copy(update={"resume_from": assignment.run_folder})
    return assignment.model_copy(update={"request": request.model_copy(update={"checkpoint_config": own})})


def _is_of_no_use(failure: Failure) -> bool:
    """Whether no checkpoint is whole, or the estimator is one that cannot go on from any."""
    place = failure.error.place
    cannot_go_on = place is not None and place.pointer == "/checkpointConfig/resumeFrom"
    return failure.error.code == "checkpoint_corrupt" or (failure.error.code == "input_invalid" and cannot_go_on)


def _unforeseen(error: Exception) -> Failure:
    """The failure that an exception nobody foresaw amounts to."""
    detail = traceback.format_exc()
    if isinstance(error, MemoryError):
        return Failure("out_of_memory", "The worker ran out of memory.", detail=detail)
    if is_disk_full(error):
        where = getattr(error, "filename", None) or "the run"
        return Failure("disk_full", f"No space left on the disk of {where}.", detail=detail)
    return Failure("internal", f"The worker met an unexpected {type(error).__name__}.", detail=detail)


def main(attempt_folder: Path, start: Start = "cold", tracker_ends: tuple[int, int] | None = None) -> int:
    """Run the assignment found in ``attempt_folder``; exit status 0 whenever an outcome was written, ``DISK_FULL_STATUS``
    when there was no room for one. ``start`` is how this process came to be, ``tracker_ends`` are those of a tracker that
    runs already."""
    try:
        return _work(attempt_folder, start, tracker_ends)
    except OSError as error:
        if is_disk_full(error):
            return DISK_FULL_STATUS
        raise


def _work(attempt_folder: Path, start: Start, tracker_ends: tuple[int, int] | None) -> int:
    stop = Stop()
    stop.listen()
    # They were held back until somebody listens.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGABRT})
    assignment = Assignment.model_validate_json((attempt_folder / ASSIGNMENT_FILE).read_bytes())
    try:
        require_unmoved(assignment)
    except Failure as failure:
        leave_outcome(attempt_folder, Outcome(state="failed", error=failure.error))
        return 0
    os.chdir(assignment.workspace)
    channel = FileChannel(attempt_folder / EVENTS_FILE)
    # It runs no code of the user and writes where that may not: it is started before the guard is there.
    if tracker_ends is None:
        tracker = TrackerProcess.start(assignment, start=start)
    else:
        tracker = TrackerProcess.inherit(assignment, tracker_ends)
    outcome = guarded(assignment, channel, stop, start)
    outcome = outcome.model_copy(update={"tracking": tracker.finish(outcome, channel)})
    channel.close()
    leave_outcome(attempt_folder, outcome)
    return 0


if __name__ == "__main__":
    leave(main(Path(sys.argv[1]), tracker_ends=(int(sys.argv[2]), int(sys.argv[3])) if sys.argv[2:] else None))

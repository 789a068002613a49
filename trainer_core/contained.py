"""The way into a container: what a warden's child does to become the worker of an attempt whose level is contained."""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from schemas.assignment import ASSIGNMENT_FILE, EVENTS_FILE, Assignment, Outcome
from trainer_core.channel import FileChannel
from trainer_core.failure import Failure
from trainer_core.guard.container import containing
from trainer_core.guard.paths import require_unmoved
from trainer_core.outcomes import leave_outcome
from trainer_core.trackers.process import start_apart


def enter(attempt_folder: Path) -> NoReturn:
    """Become the worker of ``attempt_folder``, in its container. Its tracker stays outside, where the store is.

    Whoever makes the container answers no signal: SIGTERM and SIGABRT are for the worker in it.
    """
    assignment = Assignment.model_validate_json((attempt_folder / ASSIGNMENT_FILE).read_bytes())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGABRT})
    try:
        require_unmoved(assignment)
        # The tracker reads what is there.
        FileChannel(attempt_folder / EVENTS_FILE).close()
        ends = map(str, start_apart(attempt_folder))
        worker = [sys.executable, "-m", "trainer_core.worker", str(attempt_folder), *ends]
        command = containing(assignment, worker)
        os.execvp(command[0], command)
    except Failure as failure:
        leave_outcome(attempt_folder, Outcome(state="failed", error=failure.error))
    except OSError as error:
        unavailable = Failure("isolation_unavailable", f"The container cannot be made: {error.strerror or error}.")
        leave_outcome(attempt_folder, Outcome(state="failed", error=unavailable.error))
    os._exit(1)

"""The way into a container: what a warden's child does to become the worker of an attempt whose level is contained."""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from schemas.assignment import ASSIGNMENT_FILE, EVENTS_FILE, OUTCOME_FILE, Assignment, Outcome
from schemas.files import write_atomically
from trainer_core.channel import FileChannel
from trainer_core.failure import Failure
from trainer_core.guard.container import containing
from trainer_core.trackers.process import start_apart


def enter(attempt_folder: Path) -> NoReturn:
    """Become the worker of ``attempt_folder``, in its container. Its tracker stays outside, where the store is.

    Whoever makes the container answers no signal: SIGTERM and SIGABRT are for the worker in it.
    """
    assignment = Assignment.model_validate_json((attempt_folder / ASSIGNMENT_FILE).read_bytes())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGABRT})
    # The tracker reads what is there.
    FileChannel(attempt_folder / EVENTS_FILE).close()
    try:
        ends = map(str, start_apart(attempt_folder))
        worker = [sys.executable, "-m", "trainer_core.worker", str(attempt_folder), *ends]
        command = containing(assignment, worker)
        os.execvp(command[0], command)
    except OSError as error:
        failure = Failure("isolation_unavailable", f"The container cannot be made: {error.strerror or error}.")
        outcome = Outcome(state="failed", error=failure.error)
        content = outcome.model_dump_json(by_alias=True, exclude_none=True).encode()
        write_atomically(attempt_folder / OUTCOME_FILE, content)
        os._exit(1)

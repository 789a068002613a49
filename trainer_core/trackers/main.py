"""The tracker process: ``python -m trainer_core.trackers.main ATTEMPT_FOLDER``.

It lives and dies with its worker, which holds the other end of its standard input: one line there, the state in which
the run ended, or the end of the file, when the worker is gone. Started by hand on the folder of a settled attempt
(``< /dev/null``) it delivers what was not delivered before.
"""

import os
import signal
import sys
from pathlib import Path

from schemas.assignment import ASSIGNMENT_FILE, OUTCOME_FILE, Assignment, Outcome
from schemas.result import Tracking
from trainer_core.trackers.csv import MetricsTable
from trainer_core.trackers.delivery import Consumer, Delivery, Ending
from trainer_core.trackers.destination import find_destination
from trainer_core.trackers.mlflow import MlflowRun
from trainer_core.trackers.report import write_report

# The worker comes first: on a busy machine this process gets about a tenth of a core.
_NICENESS = 10
# After the end was told. A worker that is still there is less patient (see process.py).
_LONGEST_END_SECONDS = 90.0

# Nothing leaves the machine but what was asked for; a server that does not answer is given up soon.
_FORCED = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
_DEFAULTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def consumers(assignment: Assignment, attempt_folder: Path) -> list[Consumer]:
    """The trackers of an attempt. A new tracker is one line here."""
    found: list[Consumer] = [MetricsTable(Path(assignment.run_folder))]
    destination = find_destination(assignment)
    if destination is not None:

        def report(tracking: Tracking) -> None:
            write_report(attempt_folder, tracking)

        found.append(MlflowRun(assignment, destination, report))
    return found


def _await_end(attempt_folder: Path) -> str:
    """The state the worker tells; that of the outcome file when it tells nothing; ``lost`` when there is none."""
    told = sys.stdin.buffer.readline().decode().strip()
    if told:
        return told
    try:
        return Outcome.model_validate_json((attempt_folder / OUTCOME_FILE).read_bytes()).state
    except FileNotFoundError:
        return "lost"


def main(attempt_folder: Path) -> int:
    """Deliver until the run ends and all is said; exit status 1 when something was still undelivered by then."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    os.environ.update(_FORCED | {name: os.environ.get(name, value) for name, value in _DEFAULTS.items()})
    assignment = Assignment.model_validate_json((attempt_folder / ASSIGNMENT_FILE).read_bytes())
    ending = Ending()
    deliveries = [Delivery(consumer, attempt_folder, ending) for consumer in consumers(assignment, attempt_folder)]
    for delivery in deliveries:
        delivery.start()
    ending.tell(_await_end(attempt_folder))
    for delivery in deliveries:
        delivery.join(_LONGEST_END_SECONDS)
    sys.stdout.flush()
    # Not sys.exit: a library's thread that hangs must not keep the process.
    os._exit(int(any(delivery.is_alive() for delivery in deliveries)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

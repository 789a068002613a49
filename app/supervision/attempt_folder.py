"""The folder of an attempt: what the service puts there for the worker, and what the worker leaves."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.foreign_files import open_foreign, size_of_foreign
from app.job_folder import MODEL_FILE
from app.supervision.verdict import training_error
from app.worker_log import read_tail
from schemas.assignment import (
    ASSIGNMENT_FILE,
    EVENTS_FILE,
    LOCK_FILE,
    LOG_FILE,
    OUTCOME_FILE,
    STOP_FILE,
    Assignment,
    Outcome,
    StopOrder,
    StopReason,
)
from schemas.files import write_atomically
from schemas.scratch import SCRATCH_FOLDER, remove_scratch

_LOG_LINES = 40
_OUTCOME_BYTES = 16 << 20


@dataclass(frozen=True)
class AttemptFolder:
    """``jobs/JOB_ID/attempts/ATTEMPT``."""

    jobs: Path
    job_id: str
    attempt: int

    @property
    def job(self) -> Path:
        """The folder of the job."""
        return self.jobs / self.job_id

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.job / "attempts" / str(self.attempt)

    @property
    def lock(self) -> Path:
        """Locked while a worker of the job lives."""
        return self.job / LOCK_FILE

    @property
    def model(self) -> Path:
        """The model file as it was when the job was accepted: what runs."""
        return self.job / MODEL_FILE

    @property
    def events(self) -> Path:
        """What the worker says."""
        return self.path / EVENTS_FILE

    @property
    def log(self) -> Path:
        """The worker's standard output and error."""
        return self.path / LOG_FILE

    def prepare(self, assignment: Assignment) -> None:
        """Make the folder and put the assignment in it. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.path / ASSIGNMENT_FILE, assignment.model_dump_json(by_alias=True, exclude_none=True).encode()
        )

    def order_stop(self, reason: StopReason) -> None:
        """Leave the reason of a stop, in place of an earlier one."""
        write_atomically(self.path / STOP_FILE, StopOrder(reason=reason).model_dump_json().encode())

    def stop_order(self) -> StopOrder | None:
        """Why the worker was asked to stop; None when it was not."""
        try:
            return StopOrder.model_validate_json(self._read(STOP_FILE))
        except (FileNotFoundError, ValidationError):
            return None

    def outcome(self) -> Outcome | None:
        """What the worker left; None when it left nothing."""
        try:
            return Outcome.model_validate_json(self._read(OUTCOME_FILE))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            cause = training_error("internal", "The worker left an outcome.json that cannot be read.", str(error))
            return Outcome(state="failed", error=cause)

    def said_nothing(self) -> bool:
        """Whether the worker left neither an event nor an outcome."""
        return not size_of_foreign(self.events) and not size_of_foreign(self.path / OUTCOME_FILE)

    def remove_scratch(self) -> None:
        """Take away the temporary files of a worker that has ended; what cannot be removed goes with the job."""
        remove_scratch(self.path / SCRATCH_FOLDER)

    def log_tail(self) -> str:
        """The last lines of the worker's log: untrusted text."""
        return read_tail(self.jobs, self.job_id, self.attempt, _LOG_LINES).text

    def _read(self, name: str) -> bytes:
        """A small file of the attempt: of a longer one so much that it cannot be valid."""
        with open_foreign(self.path / name) as file:
            return file.read(_OUTCOME_BYTES)

"""Outcomes of attempts that could not begin."""

import errno

from pydantic import ValidationError

from app.supervision.verdict import training_error
from schemas.assignment import Outcome
from schemas.problems import PatchOperation


def too_many_devices(asked: int, most: int) -> Outcome:
    """More devices than there are: it would wait for ever."""
    message = f"The job asks for {asked} devices; this service has {most}."
    fix = [PatchOperation(op="replace", path="/trainingConfig/devices", value=most)]
    error = training_error("device_unavailable", message).model_copy(update={"fix": fix})
    return Outcome(state="failed", error=error)


def not_started(error: OSError | ValidationError) -> Outcome:
    """No worker could be started for ``error``."""
    if isinstance(error, ValidationError):
        message = "The stored request is not valid in this release; it was accepted by another one."
        return Outcome(state="failed", error=training_error("input_invalid", message, str(error)))
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    message = f"The worker could not be started: {error.strerror}: {error.filename}."
    return Outcome(state="failed", error=training_error("disk_full" if full else "internal", message))


def without_model(path: str) -> Outcome:
    """The copy of the model file that the job was accepted with, ``path``, is not there any more."""
    message = (
        f"The job's own copy of its model file is gone: {path}. Somebody has removed it from the service's folder."
    )
    move = "Retry the job: it is accepted anew, with the model file as it is now."
    error = training_error("internal", message).model_copy(update={"next_move": move, "retryable": False})
    return Outcome(state="failed", error=error.model_copy(update={"recovery": "use_other_operation"}))

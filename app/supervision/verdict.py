"""The verdict: how an attempt ended, from what its worker left and from how its process ended."""

import signal
from dataclasses import dataclass

from schemas.assignment import DISK_FULL_STATUS, Outcome, StopOrder
from schemas.failures import FAILURES, FailureCode
from schemas.result import TrainingError
from schemas.text import untrusted

_SIGNAL_NAMES = {number.value: number.name for number in signal.Signals}


@dataclass(frozen=True)
class Remains:
    """What there is to judge by, once no process of the attempt is left."""

    outcome: Outcome | None
    stop: StopOrder | None
    returncode: int | None
    """Exit status, minus the signal's number, or None when nobody knows: neither this service nor its nursery was the worker's parent."""
    log_tail: str
    max_seconds: float | None
    ended: tuple[FailureCode, str] | None = None
    """Why the service ended the worker on its own account."""


def training_error(code: FailureCode, message: str, detail: str | None = None) -> TrainingError:
    """A failure found by the service. ``detail`` is text of a worker and is passed on as untrusted."""
    entry = FAILURES[code]
    return TrainingError(
        code=code,
        message=message,
        retryable=entry.retryable,
        recovery=entry.recovery,
        next_move=entry.next_move,
        untrusted=untrusted(detail) if detail else None,
    )


def judge(remains: Remains) -> Outcome:
    """The outcome: the worker's own, or the one that stands for a worker that left none.

    A cancel that came too late changes nothing: what the worker wrote counts.
    """
    if remains.outcome is not None:
        return _whole(_obeyed(remains.outcome, remains.stop))
    if remains.ended is not None:
        code, message = remains.ended
        return Outcome(state="failed", error=training_error(code, message, remains.log_tail))
    unasked = remains.stop is None or remains.stop.reason in ("paused", "stopped")
    if remains.returncode == DISK_FULL_STATUS and unasked:
        message = "The worker's disk was full: it could not even say so in its folder. What it had saved is kept."
        return Outcome(state="failed", error=training_error("disk_full", message, remains.log_tail))
    if remains.stop is not None and remains.stop.reason == "paused":
        message = f"The worker was asked to pause and ended before it had saved: {_manner(remains)}"
        return Outcome(state="failed", error=training_error("worker_lost", message, remains.log_tail))
    if remains.stop is None:
        error = training_error(
            "worker_lost", f"The worker ended without a result: {_manner(remains)}", remains.log_tail
        )
        return Outcome(state="failed", error=error)
    if remains.stop.reason == "timeout":
        limit = "its limit" if remains.max_seconds is None else f"limits.maxSeconds ({remains.max_seconds:g} s)"
        message = f"The job ran longer than {limit}; it did not stop by itself and was killed."
        return Outcome(state="failed", error=training_error("timeout", message, remains.log_tail))
    verb = "cancelled" if remains.stop.reason == "cancelled" else "told to stop"
    message = f"The job was {verb}; its worker ended without a result of its own, the last checkpoint is kept."
    return Outcome(state="cancelled", error=training_error("cancelled", message, remains.log_tail))


def nothing_kept_of(outcome: Outcome) -> Outcome:
    """A run that was told to stop before it had saved anything has no result."""
    if outcome.state != "early_stopped":
        return outcome
    error = training_error("cancelled", "The job was told to stop before it had saved anything; there is no result.")
    return outcome.model_copy(update={"state": "cancelled", "error": error})


def _obeyed(outcome: Outcome, stop: StopOrder | None) -> Outcome:
    """A worker that says it has paused: saved, and ended. A later order to a worker that was pausing counts instead."""
    if outcome.state != "paused" or (stop is not None and stop.reason == "paused"):
        return outcome
    if stop is None:
        error = training_error("internal", "The worker says that it has paused, and nobody had asked for it.")
        return Outcome(state="failed", error=error)
    if stop.reason == "stopped":
        return outcome.model_copy(update={"state": "early_stopped"})
    if stop.reason == "timeout":
        error = training_error("timeout", "The job reached its limit while it was pausing.")
        return outcome.model_copy(update={"state": "failed", "error": error})
    error = training_error("cancelled", "The job was cancelled while it was pausing; its last checkpoint is kept.")
    return outcome.model_copy(update={"state": "cancelled", "error": error})


def _whole(outcome: Outcome) -> Outcome:
    """An outcome that did not go well always says why."""
    if outcome.error is not None or outcome.state in ("succeeded", "early_stopped", "paused"):
        return outcome
    if outcome.state == "cancelled":
        error = training_error("cancelled", "The job was cancelled.")
    else:
        error = training_error("internal", "The worker failed and did not say why.")
    return outcome.model_copy(update={"error": error})


def _manner(remains: Remains) -> str:
    """How the process ended, for a person."""
    code = remains.returncode
    if code is None:
        return "it ended while the service, or the process that it was forked from, was away, so how is not known."
    if code >= 0:
        return f"exit code {code}."
    name = _SIGNAL_NAMES.get(-code, f"signal {-code}")
    if -code == signal.SIGKILL:
        return f"killed by {name}; the kernel's out-of-memory killer is a likely cause."
    return f"killed by {name}."

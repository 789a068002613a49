"""Orders to a job: what a client may ask of one that has not ended, written down before its worker hears of it."""

from collections.abc import Callable
from dataclasses import dataclass

from app.store.interface import IllegalTransition, JobRow, Store
from app.supervision.history import history_of
from app.supervision.settlement import events_of, settle
from app.supervision.verdict import training_error
from schemas.assignment import Outcome, StopReason
from schemas.events import EventData, JobCancelling, JobPaused, JobPausing, JobStopping
from schemas.job import TRANSITIONS, JobState


@dataclass(frozen=True)
class Order:
    """What is asked, the state in which the job obeys, and those in which it has obeyed."""

    reason: StopReason
    state: JobState
    event: Callable[..., EventData]
    fulfilled: frozenset[JobState]


CANCEL = Order("cancelled", "cancelling", JobCancelling, frozenset({"cancelled"}))
STOP = Order("stopped", "stopping", JobStopping, frozenset())
PAUSE = Order("paused", "pausing", JobPausing, frozenset({"paused"}))

# What a job's state says of the order that its worker has.
ORDERED: dict[JobState, StopReason] = {order.state: order.reason for order in (CANCEL, STOP, PAUSE)}


def write_down(store: Store, row: JobRow, order: Order, why: str = "A client asked for it.") -> bool:
    """Make ``order`` durable, with ``why``; False when the job's state has changed since ``row`` was read.

    A job without a worker obeys at once. Raises IllegalTransition when there is no such way from its state.
    """
    if row.state == order.state or row.state in order.fulfilled:
        return True
    if order is CANCEL and row.state in ("queued", "paused"):
        where = "in the queue" if row.state == "queued" else "paused"
        error = training_error("cancelled", f"The job was cancelled while it was {where}.")
        return settle(store, row, Outcome(state="cancelled", error=error))
    at_once = order is PAUSE and row.state == "queued"
    wanted: JobState = "paused" if at_once else order.state
    if wanted not in TRANSITIONS[row.state]:
        raise IllegalTransition(row, wanted)
    try:
        if at_once:
            paused = JobPaused(from_checkpoint=history_of(events_of(store, row.job_id)).checkpoint)
            # It may have been claimed, and asked to pause by another client: its worker has not saved then.
            store.say(row.job_id, paused, state=wanted, from_state="queued", reason=(order.reason, why))
        else:
            store.say(row.job_id, order.event(reason=why), state=wanted, reason=(order.reason, why))
    except IllegalTransition:
        return False
    return True

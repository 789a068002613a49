"""Lines of a worker, checked before they are stored. What is wrong in one becomes a ``log`` event that says so.

A worker runs code of the user, so its event file is not trusted: a bad line must neither stop the job nor reach a
follower, and no line may pretend to come from the service.
"""

from datetime import datetime

from pydantic import ValidationError

from app.clock import now
from app.store.rows import to_text
from schemas.events import (
    EVENT_DATA,
    AttemptFailed,
    EventData,
    JobCancelling,
    JobCompleted,
    JobPaused,
    JobPausing,
    JobQueued,
    JobResumed,
    JobStopping,
    Log,
    WorkerLine,
)
from schemas.text import untrusted

OF_THE_SERVICE = frozenset(
    data.event_type
    for data in (
        JobQueued,
        JobPausing,
        JobPaused,
        JobResumed,
        JobStopping,
        JobCancelling,
        AttemptFailed,
        JobCompleted,
    )
)


def typed_line(line: WorkerLine) -> tuple[EventData, str]:
    """The data of ``line`` as its own class, and its time; a ``log`` event, now, when it cannot be taken as said."""
    try:
        if line.type in OF_THE_SERVICE:
            raise ValueError("only the service says this")
        if line.type not in EVENT_DATA:
            raise ValueError("no such type of event")
        if datetime.fromisoformat(line.time).tzinfo is None:
            raise ValueError(f"the time {line.time!r} has no zone")
        data = EVENT_DATA[line.type].model_validate(line.data)
        # Lone surrogates and infinities inside free-form data: legal in Python, not in JSON.
        to_text(data.to_json()).encode()
    except (ValueError, RecursionError) as error:
        return unreadable(f"The worker said {line.type!r}, which is left out: {cause_of(error)}"), now()
    if isinstance(data, Log):
        data = data.model_copy(update={"text": untrusted(data.text)})
    return data, line.time


def cause_of(error: ValueError | RecursionError) -> str:
    """The first things wrong with a line, in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_url=False, include_context=False, include_input=False)[:3]
    return "; ".join(f"{'.'.join(map(str, wrong['loc'])) or 'line'}: {wrong['msg']}" for wrong in found)


def unreadable(text: str) -> Log:
    """A log event about a line that could not be read."""
    return Log(level="warning", stream="service", text=untrusted(text))

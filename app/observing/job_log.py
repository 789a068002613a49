"""What becomes of jobs, in the service's log."""

import logging
from collections.abc import Sequence
from typing import Any

from app.store.interface import JobRow
from schemas.events import (
    AttemptFailed,
    Event,
    JobCancelling,
    JobCompleted,
    JobPaused,
    JobPausing,
    JobQueued,
    JobResumed,
    JobStarted,
    JobStopping,
)

_TOLD = frozenset(
    data.event_type
    for data in (
        JobQueued,
        JobStarted,
        AttemptFailed,
        JobPausing,
        JobPaused,
        JobResumed,
        JobStopping,
        JobCancelling,
        JobCompleted,
    )
)
_log = logging.getLogger(__name__)


class JobLog:
    """One line for each turn in the life of a job."""

    def told(self, row: JobRow, events: Sequence[Event]) -> None:
        """Write the lines of ``events``."""
        for event in events:
            if event.type in _TOLD:
                _write(event, row.engine)

    def committed(self, seconds: float) -> None:
        """Nothing to say of that."""


def _write(event: Event, engine: str) -> None:
    how = _how(event)
    fields: dict[str, Any] = {
        "jobId": event.job_id,
        "attempt": event.attempt,
        "event": event.type,
        "seq": event.seq,
        "engine": engine,
        **how,
    }
    said = f" ({', '.join(how.values())})" if how else ""
    attempt = f" attempt {event.attempt}" if event.attempt else ""
    failed = event.type == AttemptFailed.event_type or how.get("state") == "failed"
    level = logging.WARNING if failed else logging.INFO
    _log.log(level, "%s%s: %s%s", event.job_id, attempt, event.type, said, extra={"fields": fields})


def _how(event: Event) -> dict[str, str]:
    """How it ended, or failed: states and codes, nothing that user code has worded."""
    if event.type == AttemptFailed.event_type:
        return {"code": str(event.data["code"])}
    if event.type == JobCompleted.event_type:
        error = event.data["output"].get("error")
        return {"state": event.data["state"], **({"code": error["code"]} if error else {})}
    return {}

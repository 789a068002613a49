"""The trace of a job, told by its events: when it waited, which attempts it took, when each epoch was trained."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from app.store.interface import JobRow
from schemas.events import AttemptFailed, EpochCompleted, EpochStarted, Event, JobCompleted, JobPaused, JobQueued

# Of a longer job every n-th epoch has a span.
MOST_EPOCHS = 256

_OUTSIDE = frozenset({"job.queued", "job.pausing", "job.paused", "job.resumed", "job.completed", "attempt.failed"})
_FIGURES = {
    "trainLoss": "train_loss",
    "valLoss": "val_loss",
    "samplesPerSecond": "samples_per_second",
    "isBest": "is_best",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Piece:
    """A stretch of a job. Times are in nanoseconds since 1970; ``error`` is a code of failure; ``parts`` lie within it."""

    name: str
    start: int
    end: int
    attributes: dict[str, str | bool | int | float] = field(default_factory=dict)
    error: str | None = None
    parts: list["Piece"] = field(default_factory=list)


def trace_of(row: JobRow, events: Iterable[Event]) -> Piece:
    """The whole job, once it has settled. A worker's clock is not believed where it leads out of the job's time."""
    story = _Story(row)
    for event in events:
        story.hear(event)
    return story.told()


class _Story:
    def __init__(self, row: JobRow) -> None:
        self._begin = self._end = nanoseconds(row.created_at)
        self._row = row
        self._whole = Piece("job", self._begin, self._begin, {"job.id": row.job_id, "job.engine": row.engine})
        self._attempt: Piece | None = None
        self._waits_since: int | None = self._begin
        self._epoch: tuple[int, int] | None = None

    def hear(self, event: Event) -> None:
        """Take one event."""
        moment = self._end = max(self._end, nanoseconds(event.time))
        if event.type not in _OUTSIDE and self._attempt is None and event.attempt:
            self._begin_attempt(event.attempt, moment)
        match event.type:
            case JobQueued.event_type | "job.resumed":
                self._waits_since = moment
            case EpochStarted.event_type:
                self._epoch = (event.data["epoch"], moment)
            case EpochCompleted.event_type:
                self._end_epoch(event, moment)
            case AttemptFailed.event_type:
                self._end_attempt(moment, event.data["code"])
                self._waits_since = moment
            case JobPaused.event_type:
                self._end_attempt(moment, None)
                self._waits_since = None
            case JobCompleted.event_type:
                self._settle(event, moment)

    def told(self) -> Piece:
        """The job, with its epochs thinned."""
        for attempt in self._whole.parts:
            every = -(-len(attempt.parts) // MOST_EPOCHS) or 1
            attempt.parts = attempt.parts[::every]
        return self._whole

    def _begin_attempt(self, number: int, moment: int) -> None:
        if number == 1 and self._row.started_at is not None:
            # When it was claimed; what a worker says first is said when it has started.
            moment = min(moment, max(self._begin, nanoseconds(self._row.started_at)))
        self._end_wait(moment)
        devices = ",".join(self._row.assigned) if number == self._row.attempt else ""
        attributes: dict[str, Any] = {"attempt.number": number, **({"attempt.devices": devices} if devices else {})}
        self._attempt = Piece("attempt", moment, moment, attributes)
        self._whole.parts.append(self._attempt)

    def _end_wait(self, moment: int) -> None:
        if self._waits_since is not None:
            self._whole.parts.append(Piece("queue wait", self._waits_since, moment))
            self._waits_since = None

    def _end_epoch(self, event: Event, moment: int) -> None:
        if self._attempt is None or self._epoch is None or self._epoch[0] != event.data["epoch"]:
            return
        figures = {
            f"epoch.{name}": event.data[key] for key, name in _FIGURES.items() if event.data.get(key) is not None
        }
        number, start = self._epoch
        self._attempt.parts.append(Piece("epoch", start, moment, {"epoch.number": number, **figures}))
        self._epoch = None

    def _end_attempt(self, moment: int, error: str | None) -> None:
        if self._attempt is not None:
            self._attempt.end, self._attempt.error = moment, error
        self._attempt = self._epoch = None

    def _settle(self, event: Event, moment: int) -> None:
        state, error = event.data["state"], event.data["output"].get("error")
        code = error["code"] if error is not None and state == "failed" else None
        self._end_attempt(moment, code)
        self._end_wait(moment)
        self._whole.end, self._whole.error = moment, code
        self._whole.attributes |= {"job.state": state, "job.attempts": self._row.attempt}


def nanoseconds(time: str) -> int:
    """``time``, RFC 3339, since 1970."""
    return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1) * 1000

"""What a job has been through: attempts that were lost, what it has saved, how long it has run."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.events import AttemptFailed, CheckpointSaved, Event, JobPausing, JobQueued, JobResumed

# Said by the service while no worker of the job may live: they tell nothing of how long an attempt ran.
_OUTSIDE = frozenset(data.event_type for data in (JobQueued, JobPausing, JobResumed))


@dataclass
class History:
    """Folded from a job's events. ``checkpoint`` is the newest that the job itself has saved, in attempt ``saved_in``."""

    lost: int = 0
    checkpoint: str | None = None
    saved_in: int = 0
    _spoke: dict[int, tuple[str, str]] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Hear one event."""
        if event.type == AttemptFailed.event_type:
            # Without a rest before the next one it was ended with the service, which is no loss of the job's own making.
            self.lost += event.data.get("afterSeconds") is not None
        elif event.type == CheckpointSaved.event_type:
            self.checkpoint, self.saved_in = event.data["path"], event.attempt
        if event.attempt and event.type not in _OUTSIDE:
            first, _ = self._spoke.get(event.attempt, (event.time, ""))
            self._spoke[event.attempt] = (first, event.time)

    def seconds_before(self, attempt: int) -> float:
        """How long the attempts before ``attempt`` ran, from the first to the last that was said in each."""
        lengths = (
            (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
            for number, (first, last) in self._spoke.items()
            if number < attempt
        )
        return sum(max(0.0, length) for length in lengths)


def history_of(events: Iterable[Event]) -> History:
    """The history that ``events`` tell."""
    history = History()
    for event in events:
        history.take(event)
    return history

"""How much of what a worker says is stored: a worker runs code of the user and can talk without end."""

from collections.abc import Sequence

from app.clock import now
from schemas.events import Alert, EventData, Log, Step

# Bytes of an attempt's event file within which everything is stored.
TALK_BYTES = 16 << 20

Said = tuple[EventData, str]


def within_bounds(said: Sequence[Said], begin: int, end: int) -> Sequence[Said]:
    """``said`` between the bytes ``begin`` and ``end`` of the event file, as much of it as is stored.

    Beyond the first ``TALK_BYTES`` only what the result is made of: no log lines, no alerts, and of the steps that are
    read at once the newest. A log line of the service says where that begins. The bound is a place in the file, so it
    holds over restarts of the service.
    """
    if end <= TALK_BYTES:
        return said
    newest = next((data for data, _ in reversed(said) if isinstance(data, Step)), None)
    kept = [(data, time) for data, time in said if not isinstance(data, Log | Alert | Step) or data is newest]
    return kept if begin > TALK_BYTES else [*kept, (_notice(), now())]


def _notice() -> Log:
    text = (
        f"The job has said more than {TALK_BYTES >> 20} MiB; from here on its log lines and alerts are left out, and "
        "steps are thinned. The worker's own log has what it printed."
    )
    return Log(level="warning", stream="service", text=text)

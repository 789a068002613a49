"""The time, as documents spell it."""

from datetime import UTC, datetime, timedelta


def now() -> str:
    """This moment: RFC 3339, UTC, milliseconds."""
    return from_now(0)


def from_now(seconds: float) -> str:
    """The moment so many seconds from now (or before it, when negative), spelt as ``now`` is."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_until(time: str) -> float:
    """Seconds from now to ``time``; negative when it is over."""
    return (datetime.fromisoformat(time) - datetime.now(UTC)).total_seconds()

"""The time, as documents spell it."""

from datetime import UTC, datetime


def now() -> str:
    """This moment: RFC 3339, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

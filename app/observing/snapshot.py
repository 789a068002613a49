"""A snapshot of the service: what is so at the moment when somebody measures it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.store.interface import JobRow
from schemas.job import JobState


@dataclass(frozen=True)
class Snapshot:
    """Figures that are read and not counted. ``jobs`` and ``active`` are None while the store cannot be read."""

    jobs: Mapping[JobState, int] | None
    active: Sequence[JobRow] | None
    devices: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Kind of device -> (in use, all)."""
    followers: Mapping[str, int] = field(default_factory=dict)
    disk_free_bytes: int = 0
    draining: bool = False
    webhooks_pending: int | None = None

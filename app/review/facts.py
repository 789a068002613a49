"""What is known of a run when it has ended: the ground of its summary and of what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.data import FORMATS
from schemas.effects import holds
from schemas.engines import ENGINES
from schemas.events import CheckpointSaved, EpochStarted, Event, JobStarted
from schemas.problems import PatchOperation
from schemas.recovery import RecoveryEntry
from schemas.result import EpochRow, TrainingError
from schemas.tuning import TuningEntry


@dataclass
class Spent:
    """Seconds that no row of the curve has, as events tell them: of starting, and of checkpoints (``in_epochs``: of those,
    in mid-epoch, which the epoch's own seconds include)."""

    start_up: float = 0.0
    checkpoints: float = 0.0
    in_epochs: float = 0.0
    _started: str | None = None

    def take(self, event: Event) -> None:
        """Hear one event. A long run has many: only checkpoints are looked into."""
        if event.type == JobStarted.event_type:
            self._started = event.time
        elif event.type == EpochStarted.event_type and self._started is not None:
            passed = datetime.fromisoformat(event.time) - datetime.fromisoformat(self._started)
            self.start_up += max(0.0, passed.total_seconds())
            self._started = None
        elif event.type == CheckpointSaved.event_type:
            stalled = float(event.data.get("stallSeconds") or 0.0)
            self.checkpoints += stalled
            self.in_epochs += stalled if event.data.get("kind") == "step" else 0.0


@dataclass(frozen=True)
class Features:
    """Columns of a table that name its rows, and the ``others`` that are learnt from; both empty where none does."""

    identifiers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Of a run that ended in ``state``: its curve, which epoch is the best, the request with every choice filled in, codes of
    its alerts, its newest checkpoint (empty without one), what it found out by trying, how many training samples
    each class has (empty: unknown), which columns of a table name its rows, what it did by itself, and the bytes that its device had in use and has (0: unknown)."""

    state: str
    rows: Sequence[EpochRow]
    best_epoch: int | None
    resolved: Mapping[str, Any]
    error: TrainingError | None = None
    alerts: frozenset[str] = frozenset()
    latest_path: str = ""
    spent: Spent = field(default_factory=Spent)
    tuning: Sequence[TuningEntry] = ()
    class_counts: Mapping[str, int] = field(default_factory=dict)
    features: Features = field(default_factory=Features)
    recoveries: Sequence[RecoveryEntry] = ()
    memory: int = 0
    memory_limit: int = 0

    @property
    def monitor(self) -> str:
        """The loss by which the curve is judged."""
        return "valLoss" if any(row.val_loss is not None for row in self.rows) else "trainLoss"

    @property
    def losses(self) -> list[tuple[EpochRow, float]]:
        """Rows in which that loss was measured, and it."""
        return [(row, value) for row in self.rows if (value := row.figure(self.monitor)) is not None]

    def setting(self, pointer: str, default: Any = None) -> Any:
        """What the request has at ``pointer``."""
        place: Any = self.resolved
        for part in pointer.removeprefix("/").split("/"):
            if not isinstance(place, Mapping) or part not in place:
                return default
            place = place[part]
        return place

    def number(self, pointer: str, default: float = 0) -> float:
        """The number at ``pointer``; ``default`` where there is none."""
        value = self.setting(pointer)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else default

    def change(self, pointer: str, value: Any) -> PatchOperation:
        """The operation that puts ``value`` at ``pointer`` of the request."""
        there = holds(dict(self.resolved), pointer)
        return PatchOperation(op="replace" if there else "add", path=pointer, value=value)

    def reads(self, pointer: str) -> bool:
        """Whether engine and data format of this run look at the setting."""
        engine, format = self.setting("/engine"), self.setting("/dataConfig/format")
        unread = (
            *(ENGINES[engine].unread if engine in ENGINES else ()),
            *(FORMATS[format].unread if format in FORMATS else ()),
        )
        return pointer not in unread

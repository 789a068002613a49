"""The story of a run as its events tell it: what is known by the last of them, of what came to stay."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.review.facts import Features
from schemas.events import (
    Alert,
    AttemptFailed,
    CheckpointSaved,
    DataLoaded,
    EpochCompleted,
    EpochStarted,
    Event,
    EventData,
    ExportCompleted,
    JobPaused,
    JobStarted,
    RecoveryMade,
    RunFinalizing,
    RunResolved,
    RunRestored,
    RunTuned,
    Step,
)
from schemas.recovery import RecoveryEntry
from schemas.result import Attempt, EpochRow, Export, RunWarning
from schemas.tuning import TuningEntry

_FOLDED = frozenset(
    data.event_type
    for data in (
        Alert,
        AttemptFailed,
        CheckpointSaved,
        DataLoaded,
        EpochCompleted,
        EpochStarted,
        ExportCompleted,
        JobPaused,
        JobStarted,
        RecoveryMade,
        RunFinalizing,
        RunResolved,
        RunRestored,
        RunTuned,
    )
)
_OF_THE_RUN = (_FOLDED | {Step.event_type}) - {AttemptFailed.event_type, JobPaused.event_type}


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk, and the epoch whose end it holds (or in which it was made)."""

    path: str
    epoch: int | None


@dataclass
class Story:
    """What the events have told so far."""

    curve: dict[int, EpochRow] = field(default_factory=dict)
    best_epoch: int | None = None
    best_saved: Saved | None = None
    latest_saved: Saved | None = None
    warnings: dict[RunWarning, None] = field(default_factory=dict)
    recoveries: list[RecoveryEntry] = field(default_factory=list)
    tuning: dict[str, TuningEntry] = field(default_factory=dict)
    exports: dict[str, Export] = field(default_factory=dict)
    resolved: dict[str, Any] = field(default_factory=dict)
    class_counts: dict[str, int] = field(default_factory=dict)
    features: Features = field(default_factory=Features)
    started: JobStarted | None = None
    finalizing: RunFinalizing | None = None
    first_time: str | None = None
    last_time: str | None = None
    seconds_before: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Hear one event. Those that tell the payload nothing are not even parsed: a long run has many steps."""
        if event.type in _OF_THE_RUN:
            self.last_time = event.time
        if event.type not in _FOLDED:
            return
        match event.typed():
            case JobStarted() as started:
                self._begin(started, event)
            case AttemptFailed(code=code):
                self._end_attempt(code)
            case JobPaused():
                self._end_attempt("paused")
            case EpochStarted(epoch=epoch):
                self.first_time = self.first_time or event.time
                self._forget_from(epoch)
            case heard:
                self._hear(heard)

    def _hear(self, data: EventData) -> None:
        """Hear of the run itself."""
        match data:
            case RunResolved(resolved=resolved):
                self.resolved = resolved
            case DataLoaded(profile=profile):
                self.class_counts = _counts(profile)
                self.features = _described_by(profile)
            case RunRestored() as restored:
                self._restore(restored)
            case EpochCompleted() as completed:
                self._complete(completed)
            case CheckpointSaved(path=path, epoch=epoch, is_best=is_best):
                self.latest_saved = Saved(path, epoch)
                self.best_saved = self.latest_saved if is_best else self.best_saved
            case Alert() as alert:
                warning = RunWarning(code=alert.code, level=alert.level, message=alert.message, remedy=alert.remedy)
                self.warnings[warning] = None
                # Else the payload would name a folder that is not there.
                if alert.code == "best_checkpoint_gone":
                    self.best_saved = None
            case RecoveryMade() as made:
                self.recoveries.append(RecoveryEntry.model_validate(made.model_dump()))
            case RunTuned(setting=setting) as tuned:
                self.tuning[setting] = TuningEntry.model_validate(tuned.model_dump())
            case ExportCompleted(format=name) as made:
                self.exports[name] = Export.model_validate(made.model_dump())
            case RunFinalizing() as finalizing:
                self.finalizing = finalizing

    def _begin(self, started: JobStarted, event: Event) -> None:
        self.started, self.finalizing, self.seconds_before, self.first_time = started, None, 0.0, None
        self.exports = {}
        self.attempts.append(Attempt(number=event.attempt, started_at=event.time))

    def _end_attempt(self, how: str) -> None:
        """No result yet: another attempt will follow."""
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1] = self.attempts[-1].model_copy(update={"ended": how})

    def _forget_from(self, epoch: int) -> None:
        """What is trained again is known no more: an attempt before this one had come further, and had not saved it."""
        if epoch in self.curve:
            self.curve = {number: row for number, row in self.curve.items() if number < epoch}
        if self.best_epoch is not None and self.best_epoch >= epoch:
            self.best_epoch = None

    def _restore(self, restored: RunRestored) -> None:
        """Go back to the checkpoint: what was trained after it is trained again."""
        self.curve = {row.epoch: row for row in restored.history}
        if self.first_time is None:
            # The attempt goes on from here; one that goes back on its way has counted that time itself.
            self.seconds_before = restored.epoch_seconds + sum(row.seconds or 0.0 for row in restored.history)
            if self.attempts:
                self.attempts[-1] = self.attempts[-1].model_copy(update={"from_checkpoint": restored.path or None})
        self.best_epoch = restored.best_epoch
        self.best_saved = Saved(restored.best_path, restored.best_epoch) if restored.best_path else None
        self.latest_saved = Saved(restored.path, restored.epoch)

    def _complete(self, completed: EpochCompleted) -> None:
        self.curve[completed.epoch] = EpochRow.model_validate(completed.model_dump(exclude={"is_best"}))
        if completed.is_best:
            self.best_epoch = completed.epoch

    def checkpoint(self) -> Saved:
        """The best checkpoint, else the latest, else one without a path."""
        return self.best_saved or self.latest_saved or Saved("", None)

    def best_row(self) -> EpochRow | None:
        """The row of the epoch whose weights the checkpoint holds: figures of others would be another model's.

        Without a checkpoint of a whole epoch: the row that was called best, else the last; None before the first.
        """
        for epoch in (self.checkpoint().epoch, self.best_epoch, max(self.curve, default=None)):
            if epoch in self.curve:
                return self.curve[epoch]
        return None

    def seconds(self) -> float:
        """Training time of the whole curve: of what came with the checkpoint, an epoch in progress included, and of the
        attempt that went on.

        That is as long as it said itself, else from its first epoch to its last event.
        """
        if self.finalizing is not None:
            return self.seconds_before + self.finalizing.seconds
        if self.first_time is None or self.last_time is None:
            return self.seconds_before
        length = datetime.fromisoformat(self.last_time) - datetime.fromisoformat(self.first_time)
        return self.seconds_before + max(0.0, length.total_seconds())


def _counts(profile: dict[str, Any]) -> dict[str, int]:
    """Training samples of each class; a worker says it, so it may be anything."""
    counts = profile.get("classCounts")
    train = counts.get("train") if isinstance(counts, dict) else None
    whole = isinstance(train, dict) and all(type(count) is int and count >= 0 for count in train.values())
    return dict(train) if whole and train else {}


def _described_by(profile: dict[str, Any]) -> Features:
    """Columns that name the rows of a table, and the others."""
    found = profile.get("identifiers")
    sides = [_names(found.get(key)) for key in ("columns", "others")] if isinstance(found, dict) else []
    return Features(*sides) if sides and all(sides) else Features()


def _names(value: Any) -> tuple[str, ...]:
    """A list of names as one; else none."""
    return tuple(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else ()

"""The payload: what a job returns, folded from its events. Pure: nothing here looks at a disk or a clock."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal

from jsonschema import Draft202012Validator

from app.review.facts import Facts, Spent
from app.review.recommending import recommend
from app.review.summarizing import summarize
from app.store.interface import JobRow
from schemas.assignment import Outcome
from schemas.events import (
    Alert,
    AttemptFailed,
    CheckpointSaved,
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
from schemas.result import Attempt, EpochRow, Export, JobPayload, Metrics, Provenance, RunWarning
from schemas.tuning import TuningEntry

_STATUS: dict[str, Literal["success", "early_stopped", "error"]] = {
    "succeeded": "success",
    "early_stopped": "early_stopped",
    "failed": "error",
    "cancelled": "error",
}
_FOLDED = frozenset(
    data.event_type
    for data in (
        Alert,
        AttemptFailed,
        CheckpointSaved,
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
_WARNINGS_LIMIT = 200

_VALIDATORS = [
    Draft202012Validator(json.loads(files("schemas").joinpath("json", name).read_text()))
    for name in ("seed.output.schema.json", "output.schema.json")
]


def check(payload: dict[str, Any]) -> list[str]:
    """What is wrong with ``payload`` by the skill's output schema and by our own; empty when it is valid."""
    return [
        f"{error.json_path}: {error.message}" for validator in _VALIDATORS for error in validator.iter_errors(payload)
    ]


def fold(events: Iterable[Event], outcome: Outcome, row: JobRow) -> JobPayload:
    """The payload of the job ``row`` that said ``events`` and ended with ``outcome``.

    The same arguments give the same payload. A job that never started has one too.
    """
    story, spent = _Story(), Spent()
    for event in events:
        story.take(event)
        spent.take(event)
    best = story.best_row()
    facts = _facts(story, spent, best, outcome)
    summary = summarize(facts)
    return JobPayload(
        status=_STATUS[outcome.state],
        metrics=_metrics(story, best),
        checkpoint_path=story.checkpoint().path,
        learning_curve=[story.curve[epoch] for epoch in sorted(story.curve)],
        job_id=row.job_id,
        best_epoch=best.epoch if best else None,
        error=outcome.error,
        warnings=list(story.warnings)[-_WARNINGS_LIMIT:],
        recoveries=story.recoveries[-_WARNINGS_LIMIT:],
        attempts=story.attempts,
        tuning=list(story.tuning.values()),
        summary=summary,
        recommendations=recommend(facts, summary),
        artifacts=outcome.artifacts,
        exports=list(story.exports.values()),
        tracking=outcome.tracking,
        resolved=_resolved(story, row),
        provenance=_provenance(story, row),
    )


@dataclass(frozen=True)
class _Saved:
    """A checkpoint on disk, and the epoch whose end it holds (or in which it was made)."""

    path: str
    epoch: int | None


@dataclass
class _Story:
    """What the events have told so far."""

    curve: dict[int, EpochRow] = field(default_factory=dict)
    best_epoch: int | None = None
    best_saved: _Saved | None = None
    latest_saved: _Saved | None = None
    warnings: dict[RunWarning, None] = field(default_factory=dict)
    recoveries: list[RecoveryEntry] = field(default_factory=list)
    tuning: dict[str, TuningEntry] = field(default_factory=dict)
    exports: dict[str, Export] = field(default_factory=dict)
    resolved: dict[str, Any] = field(default_factory=dict)
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
            case RunRestored() as restored:
                self._restore(restored)
            case EpochCompleted() as completed:
                self._complete(completed)
            case CheckpointSaved(path=path, epoch=epoch, is_best=is_best):
                self.latest_saved = _Saved(path, epoch)
                self.best_saved = self.latest_saved if is_best else self.best_saved
            case Alert() as alert:
                warning = RunWarning(code=alert.code, level=alert.level, message=alert.message, remedy=alert.remedy)
                self.warnings[warning] = None
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
        self.best_saved = _Saved(restored.best_path, restored.best_epoch) if restored.best_path else None
        self.latest_saved = _Saved(restored.path, restored.epoch)

    def _complete(self, completed: EpochCompleted) -> None:
        self.curve[completed.epoch] = EpochRow.model_validate(completed.model_dump(exclude={"is_best"}))
        if completed.is_best:
            self.best_epoch = completed.epoch

    def checkpoint(self) -> _Saved:
        """The best checkpoint, else the latest, else one without a path."""
        return self.best_saved or self.latest_saved or _Saved("", None)

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


def _resolved(story: _Story, row: JobRow) -> dict[str, Any]:
    """The request as it ran. Where a later attempt went on from is no setting of it."""
    if not story.resolved:
        return row.request
    resume_from = row.request.get("checkpointConfig", {}).get("resumeFrom")
    checkpointing = {**story.resolved.get("checkpointConfig", {}), "resumeFrom": resume_from}
    if resume_from is None:
        del checkpointing["resumeFrom"]
    return {**story.resolved, **({"checkpointConfig": checkpointing} if checkpointing else {})}


def _metrics(story: _Story, best: EpochRow | None) -> Metrics:
    trained = story.finalizing.epochs_trained if story.finalizing else max(story.curve, default=0)
    figures = Metrics(epochs_trained=trained, training_time=story.seconds())
    if best is None:
        return figures
    return figures.model_copy(
        update={
            "train_loss": best.train_loss,
            "val_loss": best.val_loss,
            "train_accuracy": best.train_accuracy,
            "val_accuracy": best.val_accuracy,
            "samples_per_second": best.samples_per_second,
            "other": best.metrics,
        }
    )


def _facts(story: _Story, spent: Spent, best: EpochRow | None, outcome: Outcome) -> Facts:
    """What the review of the run goes by."""
    finalizing = story.finalizing
    return Facts(
        state=outcome.state,
        rows=[story.curve[epoch] for epoch in sorted(story.curve)],
        best_epoch=best.epoch if best else None,
        resolved=story.resolved,
        error=outcome.error,
        alerts=frozenset(warning.code for warning in story.warnings),
        latest_path=story.latest_saved.path if story.latest_saved else "",
        spent=spent,
        tuning=list(story.tuning.values()),
        memory=(finalizing.memory_bytes or 0) if finalizing else 0,
        memory_limit=(finalizing.memory_limit_bytes or 0) if finalizing else 0,
    )


def _provenance(story: _Story, row: JobRow) -> Provenance:
    training = (story.resolved or row.request).get("trainingConfig")
    seed = training.get("seed") if isinstance(training, dict) else None
    return Provenance(
        input_sha256=row.input_sha256,
        model_sha256=row.model_sha256,
        git_commit=row.git_commit,
        seed=seed if isinstance(seed, int) else None,
        engine=row.engine,
        versions=story.started.versions if story.started else {},
        devices=list(row.assigned) or (story.started.devices if story.started else []),
        isolation=story.started.isolation if story.started else None,
    )

"""The payload: what a job returns, folded from its events. Pure: nothing here looks at a disk or a clock."""

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Literal

from jsonschema import Draft202012Validator

from app.review.facts import Facts, Spent
from app.review.recommending import recommend
from app.review.summarizing import summarize
from app.store.interface import JobRow
from app.supervision.story import Story
from schemas.assignment import Outcome
from schemas.events import Event
from schemas.result import EpochRow, JobPayload, Metrics, Provenance

_STATUS: dict[str, Literal["success", "early_stopped", "error"]] = {
    "succeeded": "success",
    "early_stopped": "early_stopped",
    "failed": "error",
    "cancelled": "error",
}
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
    story, spent = Story(), Spent()
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


def _resolved(story: Story, row: JobRow) -> dict[str, Any]:
    """The request as it ran. Where a later attempt went on from is no setting of it."""
    if not story.resolved:
        return row.request
    resume_from = row.request.get("checkpointConfig", {}).get("resumeFrom")
    checkpointing = {**story.resolved.get("checkpointConfig", {}), "resumeFrom": resume_from}
    if resume_from is None:
        del checkpointing["resumeFrom"]
    return {**story.resolved, **({"checkpointConfig": checkpointing} if checkpointing else {})}


def _metrics(story: Story, best: EpochRow | None) -> Metrics:
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


def _facts(story: Story, spent: Spent, best: EpochRow | None, outcome: Outcome) -> Facts:
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
        class_counts=story.class_counts,
        features=story.features,
        recoveries=story.recoveries,
        memory=(finalizing.memory_bytes or 0) if finalizing else 0,
        memory_limit=(finalizing.memory_limit_bytes or 0) if finalizing else 0,
    )


def _provenance(story: Story, row: JobRow) -> Provenance:
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

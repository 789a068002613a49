"""A stored job as clients see it: one line, figures, and the call to make next."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from app.store.interface import DeliveryRow, JobRow
from schemas.job import ALLOWED_ACTIONS, TERMINAL, JobView, Progress, Reason
from schemas.problems import NextAction
from schemas.webhooks import Delivery

WAIT_SECONDS = 30


def view_of(row: JobRow, position: int | None) -> JobView:
    """The view of ``row``; ``position`` is the number of jobs ahead while it is queued."""
    return JobView(
        job_id=row.job_id,
        state=row.state,
        reason=_reason(row),
        summary=summary_of(row, position),
        engine=row.engine,
        labels=row.labels,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempt=row.attempt,
        position=position,
        progress=row.progress,
        last_seq=row.last_seq,
        allowed_actions=list(ALLOWED_ACTIONS[row.state]),
        links=links_of(row.job_id),
        next_action=next_action_of(row),
    )


def view_of_delivery(row: DeliveryRow) -> Delivery:
    """A webhook as clients see it. The query of its URL may be a secret between who sent the request and the receiver."""
    return Delivery(
        delivery_id=row.delivery_id,
        type=row.type,
        seq=row.seq,
        url=urlunsplit(urlsplit(row.url)._replace(query="", fragment="")),
        state=row.state,
        attempts=row.attempts,
        created_at=row.created_at,
        next_at=row.next_at,
        finished_at=row.finished_at,
        status=row.status,
        error=row.error,
    )


def links_of(job_id: str) -> dict[str, str]:
    """Paths of everything about a job."""
    base = f"/v1/jobs/{job_id}"
    return {
        "self": base,
        **{
            name: f"{base}/{name}"
            for name in ("events", "result", "logs", "deliveries", "pause", "resume", "stop", "cancel", "retry")
        },
    }


def next_action_of(row: JobRow) -> NextAction:
    """Wait while the job is active; resume a paused one; read the result once it has settled."""
    if row.state == "paused":
        return NextAction(operation="resume_job", arguments={"jobId": row.job_id})
    if row.state in TERMINAL:
        return NextAction(operation="get_job_result", arguments={"jobId": row.job_id})
    arguments = {"jobId": row.job_id, "wait": WAIT_SECONDS, "until": "terminal"}
    return NextAction(operation="get_job", arguments=arguments)


def summary_of(row: JobRow, position: int | None) -> str:
    """One line for a person or an agent: ``running: epoch 3 of 10, step 120 of 450, loss 0.4123, about 40 s left``."""
    figures = _figures(row.progress)
    match row.state:
        case "queued":
            said = f"{position} {'job' if position == 1 else 'jobs'} ahead" if position else "next in line"
            said += f", after {row.reason_code} in attempt {row.attempt}" if row.reason_code else ""
        case "pausing":
            said = "saving; then it frees its device"
        case "paused":
            said = ", ".join(["it waits to be resumed", *figures[:2]])
        case "stopping":
            said = "saving and stopping; what it has trained is its result"
        case "preparing":
            said = "loading the model and the data"
        case "running":
            said = ", ".join(figures) or "training begins"
        case "finalizing":
            said = ", ".join(["writing the results", *figures[:1]])
        case "cancelling":
            said = "saving and stopping; it may still end as succeeded"
        case "succeeded" | "early_stopped":
            said = _outcome(row.payload or {})
        case "failed" | "cancelled":
            said = row.reason_message or "no reason is known"
    return f"{row.state}: {said}"


def _reason(row: JobRow) -> Reason | None:
    if row.reason_code is None:
        return None
    return Reason(code=row.reason_code, message=row.reason_message or "")


def _figures(progress: Progress) -> list[str]:
    loss = progress.loss_average if progress.loss_average is not None else progress.loss
    said = [
        _of("epoch", progress.epoch, progress.epochs),
        _of("step", progress.step, progress.total_steps),
        None if loss is None else f"loss {loss:.4f}",
        None if progress.val_loss is None else f"val loss {progress.val_loss:.4f}",
        None if progress.val_accuracy is None else f"val accuracy {progress.val_accuracy:.2f}",
        None if progress.eta_seconds is None else f"about {_duration(progress.eta_seconds)} left",
    ]
    return [words for words in said if words is not None]


def _outcome(payload: dict[str, Any]) -> str:
    """Length of the run, and the figures of its best epoch."""
    metrics = payload.get("metrics", {})
    said = [f"{metrics.get('epochsTrained', 0)} epochs in {_duration(metrics.get('trainingTime', 0.0))}"]
    said += [f"val loss {metrics['valLoss']:.4f}"] if "valLoss" in metrics else []
    said += [f"val accuracy {metrics['valAccuracy']:.2f}"] if "valAccuracy" in metrics else []
    best = payload.get("bestEpoch")
    return ", ".join(said) if best is None else f"{', '.join(said)} (best: epoch {best})"


def _of(noun: str, number: int | None, total: int | None) -> str | None:
    if number is None:
        return None
    return f"{noun} {number}" if total is None else f"{noun} {number} of {total}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

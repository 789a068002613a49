"""Rows of the database to the documents of the interface, and back."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from app.store.interface import JobRow, NewJob
from schemas.events import Event
from schemas.job import Progress

T = TypeVar("T")


def to_text(document: Any) -> str:
    """A JSON document as it is stored. Raises ValueError on NaN and Infinity."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _document(text: str, read: Callable[[str], T] = json.loads) -> T:
    """The JSON document that was stored as ``text``. Raises sqlite3.DatabaseError when it is none any more."""
    try:
        return read(text)
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError("a document in it is not what was written") from error


def job_values(job: NewJob, created_at: str) -> dict[str, Any]:
    """The columns of a new job."""
    return {
        "job_id": job.job_id,
        "state": "queued",
        "request": to_text(job.request),
        "input_sha256": job.input_sha256,
        "model_sha256": job.model_sha256,
        "git_commit": job.git_commit,
        "engine": job.engine,
        "labels": to_text(job.labels),
        "devices": job.devices,
        "idempotency_key": job.idempotency_key,
        "created_at": created_at,
        "notify": to_text(list(job.notify)),
        "traceparent": job.traceparent,
    }


def job_of(row: sqlite3.Row) -> JobRow:
    """The job in ``row``."""
    return JobRow(
        job_id=row["job_id"],
        state=row["state"],
        reason_code=row["reason_code"],
        reason_message=row["reason_message"],
        request=_document(row["request"]),
        input_sha256=row["input_sha256"],
        model_sha256=row["model_sha256"],
        git_commit=row["git_commit"],
        engine=row["engine"],
        labels=_document(row["labels"]),
        devices=row["devices"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        attempt=row["attempt"],
        last_seq=row["last_seq"],
        progress=_document(row["progress"], Progress.model_validate_json),
        payload=None if row["payload"] is None else _document(row["payload"]),
        assigned=tuple(_document(row["assigned"])),
        rests_until=row["rests_until"],
        notify=tuple(_document(row["notify"])),
        traceparent=row["traceparent"],
    )


def event_values(event: Event) -> dict[str, Any]:
    """The columns of ``event``."""
    return {**event.model_dump(exclude={"data"}), "data": to_text(event.data)}


def event_of(row: sqlite3.Row) -> Event:
    """The event in ``row``."""
    return Event(
        seq=row["seq"],
        type=row["type"],
        time=row["time"],
        job_id=row["job_id"],
        attempt=row["attempt"],
        data=_document(row["data"]),
    )

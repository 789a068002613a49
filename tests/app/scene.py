"""What the tests of the queue share: jobs to accept and the lines that workers write."""

from itertools import count

from app.store.interface import NewJob
from schemas.events import EventData, WorkerLine

TIME = "2026-01-02T03:04:05.678Z"
_numbers = count(1)


def request(**sections: object) -> dict[str, object]:
    """A request as the service stores it: paths absolute."""
    return {"modelPath": "/workspace/model.py", "dataConfig": {"trainPath": "/workspace/data"}, **sections}


def new_job(**changes: object) -> NewJob:
    """A job nobody has seen before."""
    values: dict[str, object] = {
        "job_id": f"job_{next(_numbers):06}",
        "request": request(),
        "input_sha256": "a" * 64,
        "engine": "native",
        "labels": {},
        "devices": 1,
        "idempotency_key": None,
        "model_sha256": "b" * 64,
        "git_commit": None,
    }
    return NewJob(**{**values, **changes})  # type: ignore[arg-type]


def line(data: EventData) -> WorkerLine:
    """What a worker writes to say ``data``."""
    return WorkerLine(type=data.event_type, time=TIME, data=data.to_json())

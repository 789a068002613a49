"""What a webhook says: the event, and where to look for more."""

import json
from typing import Any

from app.store.interface import JobRow
from schemas.events import Event, JobCompleted

# A payload whose learning curve is longer is left out of the message; its link is there.
_LARGEST_OUTPUT = 256 * 1024


def body_of(row: JobRow, event: Event) -> bytes:
    """The same bytes however often it is sent: nothing of it changes once the event is stored."""
    data = dict(event.data)
    if event.type == JobCompleted.event_type and len(json.dumps(data["output"])) > _LARGEST_OUTPUT:
        del data["output"]
    base = f"/v1/jobs/{row.job_id}"
    document: dict[str, Any] = {
        "type": event.type,
        "timestamp": event.time,
        "data": {
            "jobId": row.job_id,
            "seq": event.seq,
            "attempt": event.attempt,
            "labels": row.labels,
            "event": data,
            "links": {"self": base, "events": f"{base}/events", "result": f"{base}/result"},
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

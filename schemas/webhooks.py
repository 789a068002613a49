"""Webhooks: of which events somebody is told, where, and how far each delivery has come."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Document

WebhookEvent = Literal[
    "job.queued", "job.started", "job.paused", "job.resumed", "attempt.failed", "alert", "job.completed"
]
# How one attempt to deliver went.
Sent = Literal["delivered", "tried_again", "failed"]
DeliveryState = Literal["pending", "delivered", "failed"]

MAX_TARGETS = 10
MAX_URL = 2048


class Target(Document):
    """Where a POST is sent, and of which events. Signed (Standard Webhooks); sent again, for about a day, until answered 2xx."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_URL,
            description="https, at a public address; the service's PT_WEBHOOK_HOSTS names hosts that may be others.",
        ),
    ]
    events: Annotated[
        list[WebhookEvent], Field(min_length=1, max_length=7, description="Types of events that are sent.")
    ] = Field(default_factory=lambda: ["job.completed"])  # type: ignore[arg-type]


class Delivery(Document):
    """One event on its way to one URL."""

    delivery_id: Annotated[str, Field(description="The webhook-id header; the same however often it is sent.")]
    type: str
    seq: Annotated[int, Field(description="seq of the event.")]
    url: Annotated[str, Field(description="Without its query, which may hold a secret.")]
    state: DeliveryState
    attempts: int
    created_at: str
    next_at: Annotated[str | None, Field(description="When it is sent next, while it is pending.")] = None
    finished_at: str | None = None
    status: Annotated[int | None, Field(description="HTTP status of the newest answer.")] = None
    error: Annotated[str | None, Field(description="Why the newest attempt did not succeed.")] = None


class DeliveryPage(Document):
    """The deliveries of a job, oldest first."""

    deliveries: list[Delivery]

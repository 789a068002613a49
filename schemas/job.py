"""The life of a job: states, the one table of legal transitions, and the job as clients see it."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.base import Document
from schemas.problems import NextAction, RequestError

JobState = Literal[
    "queued",
    "preparing",
    "running",
    "finalizing",
    "pausing",
    "paused",
    "stopping",
    "cancelling",
    "succeeded",
    "early_stopped",
    "failed",
    "cancelled",
]

TERMINAL: frozenset[JobState] = frozenset({"succeeded", "early_stopped", "failed", "cancelled"})

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    "queued": frozenset({"preparing", "paused", "cancelled", "failed"}),
    "preparing": frozenset({"queued", "running", "finalizing", "pausing", "stopping", "cancelling", *TERMINAL}),
    "running": frozenset({"queued", "finalizing", "pausing", "stopping", "cancelling", *TERMINAL}),
    "finalizing": frozenset({"queued", "cancelling", *TERMINAL}),
    # A worker that is lost before it has saved is no paused one: its job is tried again, or fails.
    "pausing": frozenset({"paused", "queued", "stopping", "cancelling", *TERMINAL}),
    "paused": frozenset({"queued", "cancelled"}),
    # A stop or cancel that comes too late ends as the run ended: a job that is cancelling may still succeed.
    "stopping": frozenset({"cancelling", *TERMINAL}),
    "cancelling": TERMINAL,
    "succeeded": frozenset(),
    "early_stopped": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

assert set(TRANSITIONS) == set(get_args(JobState))

# The states of a job that has a worker, or had one when the service ended.
ACTIVE: frozenset[JobState] = frozenset(TRANSITIONS) - TERMINAL - {"queued", "paused"}

# What an event of a worker says about the state of its job.
IMPLIED_BY_EVENT: dict[str, JobState] = {"epoch.started": "running", "run.finalizing": "finalizing"}

ALLOWED_ACTIONS: dict[JobState, tuple[str, ...]] = {
    "queued": ("pause", "cancel"),
    "preparing": ("pause", "stop", "cancel"),
    "running": ("pause", "stop", "cancel"),
    "finalizing": ("cancel",),
    "pausing": ("stop", "cancel"),
    "paused": ("resume", "cancel"),
    "stopping": ("cancel",),
    "cancelling": (),
    "succeeded": ("delete",),
    "early_stopped": ("delete",),
    "failed": ("retry", "delete"),
    "cancelled": ("retry", "delete"),
}

assert set(ALLOWED_ACTIONS) == set(get_args(JobState))


class Reason(Document):
    """Why a job is in its state."""

    code: str
    message: str


class Progress(Document):
    """The latest figures of a running job."""

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    loss_average: float | None = None
    accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    learning_rate: float | None = None
    samples_per_second: float | None = None
    eta_seconds: float | None = None


class JobView(Document):
    """A job, as the API shows it."""

    job_id: str
    state: JobState
    reason: Reason | None = None
    summary: Annotated[str, Field(description="One line for a person or an agent.")]
    engine: str
    labels: dict[str, str]
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    attempt: int
    position: Annotated[int | None, Field(description="Jobs ahead in the queue, while queued.")] = None
    progress: Progress
    last_seq: Annotated[int, Field(description="seq of the newest event.")]
    allowed_actions: list[str]
    links: dict[str, str]
    next_action: NextAction | None = None
    warnings: Annotated[
        list[RequestError] | None,
        Field(description="In the answer to a submission: what in its input has no effect, each with its fix."),
    ] = None


class JobPage(Document):
    """Jobs, newest first."""

    jobs: list[JobView]
    next_cursor: str | None = None

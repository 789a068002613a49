"""What the service hands a worker, and what the worker leaves: the two files of an attempt.

An attempt's folder holds ``assignment.json`` (written before the worker starts), ``events.jsonl`` (appended by
the worker), ``worker.log`` (its standard output and error), ``stop.json`` (only when it was asked to stop) and
``outcome.json`` (written atomically, last).
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, field_serializer

from schemas.base import Document
from schemas.isolation import Bounds, IsolationLevel
from schemas.request import TrainingRequest
from schemas.result import Artifact, Tracking, TrainingError

ASSIGNMENT_FILE = "assignment.json"
EVENTS_FILE = "events.jsonl"
LOG_FILE = "worker.log"
OUTCOME_FILE = "outcome.json"
LOCK_FILE = "lock"
STOP_FILE = "stop.json"

# Exit status of a worker whose disk had no room even for its outcome.
DISK_FULL_STATUS = 112


StopReason = Literal["paused", "stopped", "cancelled", "timeout"]
# A later one takes the place of an earlier.
STOP_REASONS: tuple[StopReason, ...] = get_args(StopReason)


class StopOrder(Document):
    """Why a worker is asked to stop; written beside the assignment before SIGTERM is sent."""

    reason: StopReason


class Assignment(Document):
    """Everything one attempt needs. All paths are absolute."""

    job_id: str
    attempt: Annotated[int, Field(ge=1, description="The fence: a later attempt has a higher number.")]
    request: Annotated[
        TrainingRequest,
        Field(description="Validated, paths absolute. Written without what was not asked for, which has its default."),
    ]
    engine: str
    workspace: str
    model_snapshot: Annotated[str, Field(description="Copy of the model file made at submit; this is what runs.")]
    model_sha256: str
    job_folder: str
    attempt_folder: str
    run_folder: Annotated[str, Field(description="Where checkpoints, metrics.csv and artifacts go.")]
    devices: Annotated[list[str], Field(min_length=1, description='One per rank: "cpu" or "cuda:0".')]
    mlflow_uri: Annotated[str | None, Field(description="Absent: not tracked in MLflow.")] = None
    git_commit: str | None = None
    go_on: Annotated[
        bool, Field(description="A later attempt: it goes on from the newest whole checkpoint in run_folder.")
    ] = False

    isolation: IsolationLevel = "none"
    bounds: Bounds = Field(default_factory=Bounds)
    home: Annotated[str | None, Field(description="The service's own folder: a guarded worker may not read it.")] = None
    readable: Annotated[list[str], Field(description="What a guarded worker may read beside the workspace.")] = Field(
        default_factory=list
    )

    @field_serializer("request")
    def _as_asked_for(self, request: TrainingRequest) -> dict[str, object]:
        """Without the defaults: the worker knows what was asked for."""
        return request.given()


class Outcome(Document):
    """How an attempt ended. What happened on the way is in its events."""

    state: Literal["succeeded", "early_stopped", "failed", "cancelled", "paused"]
    asked_elsewhere: Annotated[bool, Field(description="The order to stop was given to another node of the run.")] = (
        False
    )
    error: TrainingError | None = None
    artifacts: list[Artifact] = Field(default_factory=list)
    tracking: list[Tracking] = Field(default_factory=list)

"""Events: everything a job has to say, as numbered lines.

A worker writes an event as one line ``{"type", "time", "data"}``; the service gives it ``seq``, ``jobId`` and
``attempt`` when it stores it. Each class below is the ``data`` of one type.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from schemas.base import Document
from schemas.exporting import ExportFormat, ExportStage
from schemas.failures import FailureCode
from schemas.isolation import Isolation
from schemas.model import ModuleRow, Names, WeightsReport
from schemas.recovery import RecoveryEntry
from schemas.result import EpochRow, Export, JobPayload
from schemas.tuning import TuningEntry

Start = Literal["cold", "warm"]

# Rows of a model's summary that an event carries.
MAX_MODULES = 64


class EventData(Document):
    """Base of all event data; ``event_type`` is the wire name."""

    event_type: ClassVar[str]


class JobQueued(EventData):
    """The job is accepted and durable."""

    event_type: ClassVar[str] = "job.queued"
    position: Annotated[int, Field(ge=0, description="Jobs ahead in the queue.")]


class JobStarted(EventData):
    """A worker holds the job's lock."""

    event_type: ClassVar[str] = "job.started"
    pid: int
    engine: str
    devices: list[str]
    versions: dict[str, str]
    isolation: Annotated[Isolation | None, Field(description="How the worker is kept apart.")] = None
    start: Annotated[Start, Field(description="warm: forked from a process that had the libraries loaded.")] = "cold"


class RunResolved(EventData):
    """The request with every choice filled in, those of the worker included."""

    event_type: ClassVar[str] = "run.resolved"
    resolved: dict[str, Any]
    chosen: Annotated[
        dict[str, Any], Field(description="JSON pointer -> value, for what the request left open and the worker chose.")
    ]


class ModelLoaded(EventData):
    """The model is built."""

    event_type: ClassVar[str] = "model.loaded"
    name: str
    parameters: Annotated[int, Field(ge=0)]
    trainable_parameters: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(description="SHA-256 of the model file.")]
    weights: Annotated[WeightsReport | None, Field(description="What came from modelConfig.weights.")] = None
    frozen: Annotated[Names | None, Field(description="What modelConfig.freeze left untrained.")] = None
    without_decay: Annotated[
        Names | None,
        Field(
            description="Where there is weight decay: trained without it (biases, norms, embeddings, by parameterGroups)."
        ),
    ] = None
    modules: Annotated[
        list[ModuleRow], Field(max_length=MAX_MODULES, description="The first modules; all are in model_summary.txt.")
    ] = Field(default_factory=list)


class DataLoaded(EventData):
    """The data are read and split."""

    event_type: ClassVar[str] = "data.loaded"
    format: str
    task: str
    train_samples: Annotated[int, Field(ge=0)]
    val_samples: Annotated[int, Field(ge=0)]
    classes: list[str] | None = None
    profile: Annotated[dict[str, Any], Field(description="Shapes, types, missing values, class counts.")] = Field(
        default_factory=dict
    )


class RunRestored(EventData):
    """Training goes on from a checkpoint, or from its beginning (``path`` is then empty); the curve so far comes with it."""

    event_type: ClassVar[str] = "run.restored"
    path: str
    epoch: int
    step: int
    epoch_seconds: Annotated[
        float, Field(ge=0, description="What the epoch in progress had taken when the checkpoint was written.")
    ] = 0.0
    history: list[EpochRow]
    best_epoch: int | None = None
    best_path: str | None = None


class EpochStarted(EventData):
    """An epoch begins."""

    event_type: ClassVar[str] = "epoch.started"
    epoch: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=0, description="Optimizer steps in this epoch.")]


class Step(EventData):
    """Progress between two epochs; at most one every reportEverySeconds."""

    event_type: ClassVar[str] = "step"
    epoch: int
    step: Annotated[int, Field(description="Optimizer steps done since the beginning of the run.")]
    total_steps: int
    loss: Annotated[float | None, Field(description="Loss of the latest step; absent when not finite.")] = None
    loss_average: Annotated[float | None, Field(description="Mean training loss of the epoch so far.")] = None
    loss_moving_average: Annotated[
        float | None, Field(description="Mean loss of the last 100 steps, across the ends of epochs.")
    ] = None
    accuracy: Annotated[float | None, Field(description="Training accuracy of the epoch so far.")] = None
    learning_rate: float | None = None
    grad_norm: Annotated[float | None, Field(description="Gradient norm before clipping.")] = None
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    memory_bytes: Annotated[
        int | None, Field(description="Peak device memory, or the worker's resident set on a CPU.")
    ] = None
    memory_limit_bytes: Annotated[
        int | None,
        Field(description="What there is: of the device; on a CPU, what this process has and could still get."),
    ] = None
    data_wait_share: Annotated[
        float | None,
        Field(ge=0, le=1, description="Of the training time since the step event before: waiting for a batch."),
    ] = None


class EpochCompleted(EventData, EpochRow):
    """An epoch has ended and been evaluated."""

    event_type: ClassVar[str] = "epoch.completed"
    is_best: bool = False


class CheckpointSaved(EventData):
    """A checkpoint is complete on disk: renamed into place, manifest and folder synced."""

    event_type: ClassVar[str] = "checkpoint.saved"
    path: str
    kind: Literal["epoch", "step", "final", "cancel"]
    epoch: int
    step: int
    bytes: int
    sha256: Annotated[str, Field(description="SHA-256 of the checkpoint's manifest.")]
    is_best: bool = False
    seconds: Annotated[float | None, Field(ge=0, description="From the state that it holds until it was on disk.")] = (
        None
    )
    stall_seconds: Annotated[float | None, Field(ge=0, description="Of these, for which training stood still.")] = None


class Alert(EventData):
    """Something a person should know."""

    event_type: ClassVar[str] = "alert"
    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    level: Literal["info", "warning", "error"]
    message: str
    evidence: dict[str, Any] = Field(default_factory=dict)
    remedy: str | None = None


class RecoveryMade(EventData, RecoveryEntry):
    """The run helped itself instead of failing."""

    event_type: ClassVar[str] = "recovery"


class RunTuned(EventData, TuningEntry):
    """A setting was found out by trying."""

    event_type: ClassVar[str] = "run.tuned"


class EarlyStopTriggered(EventData):
    """Patience has run out."""

    event_type: ClassVar[str] = "early_stop.triggered"
    epoch: int
    best_epoch: int
    patience: int
    monitor: str


class RunFinalizing(EventData):
    """The loop has ended; results are being written."""

    event_type: ClassVar[str] = "run.finalizing"
    epochs_trained: int
    seconds: Annotated[float, Field(description="Training time, evaluation and checkpoints included.")]
    memory_bytes: Annotated[int | None, Field(description="Peak device memory; absent on a CPU.")] = None
    memory_limit_bytes: Annotated[int | None, Field(description="The device's memory; absent on a CPU.")] = None


class ExportProgress(EventData):
    """An export begins, comes to its next stage, or goes on: said every two seconds."""

    event_type: ClassVar[str] = "export.progress"
    format: ExportFormat
    stage: ExportStage
    seconds: Annotated[float, Field(ge=0, description="Since the export of this format began.")]


class ExportCompleted(EventData, Export):
    """A file is whole on disk, or there will be none."""

    event_type: ClassVar[str] = "export.completed"


class AttemptFailed(EventData):
    """One attempt has ended without a result."""

    event_type: ClassVar[str] = "attempt.failed"
    code: FailureCode
    will_retry: bool
    message: Annotated[str | None, Field(description="What happened, in our own words.")] = None
    from_checkpoint: Annotated[
        str | None, Field(description="The newest checkpoint of the job: the next attempt goes on from it.")
    ] = None
    after_seconds: Annotated[float | None, Field(ge=0, description="Pause before the next attempt.")] = None


class JobPausing(EventData):
    """A pause has been asked for; the worker saves and ends."""

    event_type: ClassVar[str] = "job.pausing"
    reason: str


class JobPaused(EventData):
    """The job has saved all that it has trained and holds no device; it waits to be resumed."""

    event_type: ClassVar[str] = "job.paused"
    from_checkpoint: Annotated[
        str | None, Field(description="The checkpoint it will go on from; absent when nothing was trained yet.")
    ] = None


class JobResumed(EventData):
    """A paused job is queued again."""

    event_type: ClassVar[str] = "job.resumed"
    reason: str


class JobStopping(EventData):
    """A stop has been asked for; the worker saves, and what it has trained is the result."""

    event_type: ClassVar[str] = "job.stopping"
    reason: str


class JobCancelling(EventData):
    """A cancel has been asked for; the worker saves and stops."""

    event_type: ClassVar[str] = "job.cancelling"
    reason: str


class Log(EventData):
    """A line for people. Text from user code is untrusted: capped and stripped of control characters."""

    event_type: ClassVar[str] = "log"
    level: Literal["debug", "info", "warning", "error"]
    stream: Literal["service", "worker", "stdout", "stderr"]
    text: str


class JobCompleted(EventData):
    """The job has settled; nothing follows."""

    event_type: ClassVar[str] = "job.completed"
    state: Literal["succeeded", "early_stopped", "failed", "cancelled"]
    output: JobPayload


EVENT_DATA: dict[str, type[EventData]] = {
    data.event_type: data
    for data in (
        JobQueued,
        JobStarted,
        RunResolved,
        ModelLoaded,
        DataLoaded,
        RunRestored,
        EpochStarted,
        Step,
        EpochCompleted,
        CheckpointSaved,
        Alert,
        RecoveryMade,
        RunTuned,
        EarlyStopTriggered,
        RunFinalizing,
        ExportProgress,
        ExportCompleted,
        AttemptFailed,
        JobPausing,
        JobPaused,
        JobResumed,
        JobStopping,
        JobCancelling,
        Log,
        JobCompleted,
    )
}


class WorkerLine(Document):
    """One line of a worker's event file."""

    type: str
    time: Annotated[str, Field(description="RFC 3339, UTC.")]
    data: dict[str, Any]


class Event(Document):
    """An event as everybody reads it."""

    seq: Annotated[int, Field(ge=0, description="Without gaps, from 0, per job.")]
    type: str
    time: Annotated[str, Field(description="RFC 3339, UTC.")]
    job_id: str
    attempt: Annotated[int, Field(ge=0, description="0 before the first worker.")]
    data: dict[str, Any]

    def typed(self) -> EventData:
        """The data as its own class."""
        return EVENT_DATA[self.type].model_validate(self.data)

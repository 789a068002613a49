"""The request: one JSON that says everything about a run."""

from typing import Annotated

from pydantic import Field

from schemas.base import Document
from schemas.checkpointing import CheckpointConfig
from schemas.data import DataConfig
from schemas.engines import EngineName
from schemas.exporting import ExportConfig
from schemas.isolation import DEFAULT_PROCESSES, IsolationLevel
from schemas.model import ModelConfig
from schemas.tracking import TrackingConfig
from schemas.training import TrainingConfig
from schemas.webhooks import MAX_TARGETS, Target


class Resources(Document):
    """What of the machine a job uses."""

    threads: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="CPU threads of each process; absent: measured on the first batch, or what a resumed run had. "
            "The last bits of a result depend on it.",
        ),
    ] = None
    memory_mib: Annotated[
        int | None,
        Field(
            alias="memoryMiB",
            ge=64,
            le=1 << 30,
            description="Memory of all processes of the job together, in MiB; with more it ends as out_of_memory. "
            "PyTorch alone takes about 300. Absent: as much as the machine has.",
        ),
    ] = None
    processes: Annotated[
        int,
        Field(
            ge=4,
            le=1 << 20,
            description="Processes of the job at once, ranks and loader workers included, and 32 threads for each; with "
            "more it ends as quota_exceeded.",
        ),
    ] = DEFAULT_PROCESSES
    disk_mib: Annotated[
        int | None,
        Field(
            alias="diskMiB",
            ge=1,
            le=1 << 30,
            description="Disk of the run, checkpoints and temporary files included, in MiB; with more it ends as "
            "quota_exceeded. Absent: as much as there is.",
        ),
    ] = None
    isolation: Annotated[
        IsolationLevel | None,
        Field(
            description="How far the worker is kept from the rest of the machine, at least: guarded, or contained (no "
            "network, a file system of its own). Absent, or weaker than the service's own (PT_GUARD): the service's.",
        ),
    ] = None


Label = Annotated[str, Field(max_length=256)]


class Limits(Document):
    """Bounds on a whole job."""

    max_attempts: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            description="Attempts at most: when the worker is lost or hangs, another one goes on from the job's newest "
            "checkpoint. 1: never.",
        ),
    ] = 3
    max_silent_seconds: Annotated[
        float | None,
        Field(
            ge=1,
            le=31536000,
            description="A worker that says nothing for so long hangs: its stacks are written to the log and it is ended. "
            "Longer than loading, a step, an evaluation or a save takes. Absent: half an hour, and idle all the while.",
        ),
    ] = None

    max_seconds: Annotated[
        float | None,
        Field(
            gt=0,
            le=31536000,
            description="Longest running time; at the end the job fails with code timeout, its last checkpoint kept.",
        ),
    ] = None
    stop_after_seconds: Annotated[
        float | None,
        Field(
            gt=0,
            le=31536000,
            description="Running time after which the training stops with what it has: it saves, and ends as early_stopped, a success.",
        ),
    ] = None


class TrainingRequest(Document):
    """One training run."""

    model_path: Annotated[str, Field(min_length=1, description="Path to model definition file")]
    data_config: Annotated[DataConfig, Field(description=DataConfig.__doc__)]
    training_config: Annotated[TrainingConfig, Field(description=TrainingConfig.__doc__)]
    checkpoint_config: CheckpointConfig = Field(default_factory=CheckpointConfig)
    engine: Annotated[EngineName | None, Field(description="Absent: by what the model file imports.")] = None
    model_settings: Annotated[ModelConfig, Field(alias="modelConfig")] = Field(default_factory=ModelConfig)
    tracking_config: TrackingConfig = Field(default_factory=TrackingConfig)
    export_config: ExportConfig = Field(default_factory=ExportConfig)
    limits: Limits = Field(default_factory=Limits)
    resources: Resources = Field(default_factory=Resources)
    notify: Annotated[
        list[Target],
        Field(
            max_length=MAX_TARGETS, description="Who is told of the job's events by a signed POST (docs/operating.md)."
        ),
    ] = Field(default_factory=list)
    labels: Annotated[
        dict[Annotated[str, Field(max_length=64)], Label],
        Field(max_length=64, description="Free-form labels, string to string; nothing reads them but people."),
    ] = Field(default_factory=dict)

"""How the model is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.averaging import WeightAveraging
from schemas.base import Document
from schemas.losses import Task, find_loss
from schemas.metrics import MONITOR_PATTERN, MetricName
from schemas.nodes import Rendezvous
from schemas.parameter_groups import NamePattern, ParameterGroup
from schemas.profiling import Profiler
from schemas.recovery import RecoveryPolicy
from schemas.tuning import BatchSizeFinder, LearningRateFinder

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class EarlyStopping(Document):
    """Stop when the monitored metric has not improved for ``patience`` epochs."""

    monitor: Annotated[
        str | None,
        Field(
            pattern=MONITOR_PATTERN,
            description="A key of an epoch's row; absent: valLoss, or trainLoss without validation.",
        ),
    ] = None
    patience: Annotated[int, Field(ge=1, le=100000, description="Epochs without improvement that end the run.")] = 5
    min_delta: Annotated[float, Field(ge=0, description="Smallest change that counts as an improvement.")] = 0.0
    mode: Annotated[Literal["min", "max"] | None, Field(description="Absent: min for losses and errors, else max.")] = (
        None
    )


class TrainingConfig(Document):
    """Optimizer, schedule, precision and length of a run."""

    epochs: Annotated[int, Field(ge=1, le=1000000, description="Passes over the training samples.")] = 10
    learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            le=1000,
            description="Absent: the optimizer's usual rate, lower for a large model; the payload names it.",
        ),
    ] = None
    learning_rate_finder: Annotated[
        bool | LearningRateFinder,
        Field(
            description="A range test before the training looks for the learning rate: true, or an object with options."
        ),
    ] = False
    optimizer: Annotated[str, Field(description="A class of torch.optim, by name, in any case.")] = "AdamW"
    optimizer_args: Annotated[
        dict[str, Any],
        Field(description="Further arguments of the optimizer, as torch spells them (betas, momentum, ...)."),
    ] = Field(default_factory=dict)
    weight_decay: Annotated[
        float | None,
        Field(
            ge=0,
            le=100,
            description="Absent: 0.01 for AdamW, else torch's default. Never on biases, norms and embeddings.",
        ),
    ] = None
    parameter_groups: Annotated[
        list[ParameterGroup],
        Field(
            max_length=64,
            description="Parameters with a rate or weight decay of their own, by name; the first that matches holds. Reported rates are those of all others.",
        ),
    ] = Field(default_factory=list)
    scheduler: Annotated[
        str, Field(description="Learning-rate schedule by name, in any case; none for a constant rate.")
    ] = "cosine"
    scheduler_args: Annotated[
        dict[str, Any],
        Field(description="Arguments of the schedule, as torch spells them (step_size, gamma, max_lr, ...)."),
    ] = Field(default_factory=dict)
    warmup_steps: Annotated[
        int | None,
        Field(
            ge=0,
            description="Optimizer steps of linear warm-up before the schedule; absent: warmupRatio, else 10 % of the steps or 2,000, whichever is fewer (cosine, linear and polynomial only).",
        ),
    ] = None
    warmup_ratio: Annotated[
        float | None, Field(ge=0, lt=1, description="Warm-up as a share of all steps; not beside warmupSteps.")
    ] = None
    mixed_precision: Annotated[
        bool, Field(description="true means precision auto: bf16 or fp16 where the device gains from it, else fp32.")
    ] = False
    precision: Annotated[
        Precision | None,
        Field(description="fp32, bf16, fp16 (with a gradient scaler) or auto; absent: what mixedPrecision says."),
    ] = None
    gradient_clipping: Annotated[
        float, Field(ge=0, description="Largest gradient norm (or value, see clipBy); 0 switches it off.")
    ] = 1.0
    clip_by: Annotated[Literal["norm", "value"], Field(description="What gradientClipping bounds.")] = "norm"
    gradient_accumulation: Annotated[
        int, Field(ge=1, le=100000, description="Forward passes per optimizer step; exact.")
    ] = 1
    batch_size_finder: Annotated[
        bool | BatchSizeFinder,
        Field(
            description="Looks for the largest dataConfig.microBatchSize before the training: true, or an object with options."
        ),
    ] = False
    task: Annotated[
        Task | None,
        Field(
            description="Absent: that of the loss, where one is named; else classification for class folders, text or integer "
            "targets, and regression for others."
        ),
    ] = None
    loss: Annotated[
        str | None, Field(description="Absent: the model file's own loss, else by task: cross_entropy, bce or mse.")
    ] = None
    loss_args: Annotated[
        dict[str, Any],
        Field(description="Arguments of the loss (weight, ignore_index, delta, gamma, alpha, pos_weight)."),
    ] = Field(default_factory=dict)
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="Label smoothing of cross-entropy.")] = 0.0
    metrics: Annotated[
        list[MetricName],
        Field(
            max_length=64,
            description="Further metrics of validation, beside those that are usual for the task and those that monitor names.",
        ),
    ] = Field(default_factory=list)
    early_stopping: Annotated[EarlyStopping | None, Field(description="Absent: train all epochs.")] = None
    weight_averaging: Annotated[
        WeightAveraging | None, Field(description="Absent: the weights of the latest step are evaluated.")
    ] = None
    seed: Annotated[
        int, Field(ge=0, le=2**32 - 1, description="Seed of data order, split, initialisation and dropout.")
    ] = 0
    max_steps: Annotated[int | None, Field(ge=1, description="Optimizer steps at most.")] = None
    limit_train_batches: Annotated[
        int | None, Field(ge=1, description="Optimizer steps in each epoch at most; absent: all samples are seen.")
    ] = None
    limit_val_batches: Annotated[
        int | None, Field(ge=1, description="Passes in each evaluation at most; absent: all samples are seen.")
    ] = None
    overfit_batches: Annotated[
        int | None,
        Field(
            ge=1,
            description="Train on so many optimizer batches only, and validate on the same: a sound model and loss can learn them by heart.",
        ),
    ] = None
    fast_dev_run: Annotated[
        bool,
        Field(
            description="One epoch of one step and one validation pass, to see whether everything works; the same as epochs, limitTrainBatches and limitValBatches 1. With resumeFrom that step is taken from the checkpoint, wherever it stands."
        ),
    ] = False
    strategy: Annotated[
        Literal["auto", "single", "ddp", "fsdp", "dp"],
        Field(
            description="ddp: each device has the whole model; fsdp: each has a part of weights, gradients and the optimizer's state (FSDP2); dp: DataParallel, one process with several GPUs, slower than ddp; auto: ddp when more than one device is used."
        ),
    ] = "auto"
    find_unused_parameters: Annotated[
        Literal["auto", "on"],
        Field(
            description="Whether ddp looks in every step for parameters that got no gradient. auto: where a first pass leaves some out, or a later one is seen to."
        ),
    ] = "auto"
    sync_batch_norm: Annotated[
        bool,
        Field(
            description="Batch normalisation sees the samples of all devices, as on one; false: those of its own, which is faster."
        ),
    ] = True
    devices: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="Devices, one process each (but for dp); absent: 1. The result is that of one, to rounding; docs/distributed.md names what is not.",
        ),
    ] = None
    num_nodes: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Machines that train one model together. Each one's own service takes the same request, with its own rendezvous.nodeRank; devices are those of one machine.",
        ),
    ] = 1
    rendezvous: Annotated[
        Rendezvous | None, Field(description="Where the machines meet; wanted where numNodes is above 1.")
    ] = None
    report_every_seconds: Annotated[
        float, Field(ge=0, le=3600, description="Shortest time between two step events; 0: every step.")
    ] = 1.0
    gradient_checkpointing: Annotated[
        bool | list[NamePattern],
        Field(
            description="true: repeated blocks (of ModuleList and Sequential, and transformer layers) keep no activations and are computed again in the backward pass, which takes less memory and more time and gives the same gradients; a list names the modules."
        ),
    ] = False
    compile: Annotated[
        Literal["off", "on", "auto"],
        Field(
            description="torch.compile of the training pass; auto: where the run is long enough to gain by it and a trial is faster; tuning in the payload says why, or why not."
        ),
    ] = "off"
    deterministic: Annotated[
        bool,
        Field(
            description="Only operations that give the same bits every time; slower, and an operation without such a form fails the run."
        ),
    ] = False
    profiler: Annotated[
        bool | Profiler,
        Field(
            description="torch.profiler over a few steps, of the first rank: true, or an object with options. An error of it fails no training."
        ),
    ] = False
    recovery: RecoveryPolicy = Field(default_factory=RecoveryPolicy)

    @property
    def meant_task(self) -> Task | None:
        """The task, or that of the loss where it alone is named. None: the data decide."""
        entry = find_loss(self.loss) if self.task is None and self.loss else None
        return entry.tasks[0] if entry is not None and len(entry.tasks) == 1 else self.task

    @property
    def rate_search(self) -> LearningRateFinder | None:
        """``learningRateFinder`` with all options; None when it is off."""
        if isinstance(self.learning_rate_finder, LearningRateFinder):
            return self.learning_rate_finder
        return LearningRateFinder() if self.learning_rate_finder else None

    @property
    def size_search(self) -> BatchSizeFinder | None:
        """``batchSizeFinder`` with all options; None when it is off."""
        if isinstance(self.batch_size_finder, BatchSizeFinder):
            return self.batch_size_finder
        return BatchSizeFinder() if self.batch_size_finder else None

    @property
    def profiled(self) -> Profiler | None:
        """``profiler`` with all options; None when it is off."""
        if isinstance(self.profiler, Profiler):
            return self.profiler
        return Profiler() if self.profiler else None

    @property
    def node_rank(self) -> int:
        """The number of this node; 0 for a run on one machine."""
        return self.rendezvous.node_rank if self.rendezvous is not None and self.num_nodes > 1 else 0

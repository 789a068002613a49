"""How the model is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Document
from schemas.losses import Task
from schemas.metrics import MONITOR_PATTERN

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class EarlyStopping(Document):
    """Stop when the monitored metric has not improved for ``patience`` epochs."""

    monitor: Annotated[
        str | None,
        Field(default=None, pattern=MONITOR_PATTERN, description="A key of an epoch's row; absent: valLoss, or trainLoss without validation."),
    ]
    patience: Annotated[int, Field(default=5, ge=1, le=100_000, description="Epochs without improvement that end the run.")]
    min_delta: Annotated[float, Field(default=0.0, ge=0, description="Smallest change that counts as an improvement.")]
    mode: Annotated[Literal["min", "max"] | None, Field(default=None, description="Absent: min for losses and errors, else max.")]


class TrainingConfig(Document):
    """Optimizer, schedule, precision and length of a run."""

    epochs: Annotated[int, Field(default=10, ge=1, le=1_000_000, description="Passes over the training samples.")]
    learning_rate: Annotated[
        float | None,
        Field(default=None, gt=0, le=1000, description="Absent: the optimizer's usual rate, lower for a large model; the payload names it."),
    ]
    optimizer: Annotated[str, Field(default="AdamW", description="A class of torch.optim, by name, in any case.")]
    optimizer_args: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Further arguments of the optimizer, as torch spells them (betas, momentum, ...).")
    ]
    weight_decay: Annotated[
        float | None,
        Field(default=None, ge=0, le=100, description="Absent: 0.01 for AdamW, else torch's default. Never on biases, norms and embeddings."),
    ]
    scheduler: Annotated[str, Field(default="cosine", description="Learning-rate schedule by name, in any case; none for a constant rate.")]
    scheduler_args: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Arguments of the schedule, as torch spells them (step_size, gamma, max_lr, ...).")
    ]
    warmup_steps: Annotated[
        int | None,
        Field(
            default=None,
            ge=0,
            description="Optimizer steps of linear warm-up before the schedule; absent: warmupRatio, else 10 % of the steps or "
            "2,000, whichever is fewer (cosine, linear and polynomial only).",
        ),
    ]
    warmup_ratio: Annotated[float | None, Field(default=None, ge=0, lt=1, description="Warm-up as a share of all steps; not beside warmupSteps.")]
    mixed_precision: Annotated[
        bool, Field(default=False, description="true means precision auto: bf16 or fp16 where the device gains from it, else fp32.")
    ]
    precision: Annotated[
        Precision | None, Field(default=None, description="fp32, bf16, fp16 (with a gradient scaler) or auto; absent: what mixedPrecision says.")
    ]
    gradient_clipping: Annotated[
        float | None, Field(default=None, ge=0, description="Largest gradient norm (or value, see clipBy); absent: 1.0; 0 switches it off.")
    ]
    clip_by: Annotated[Literal["norm", "value"], Field(default="norm", description="What gradientClipping bounds.")]
    gradient_accumulation: Annotated[int, Field(default=1, ge=1, le=100_000, description="Forward passes per optimizer step; exact.")]
    task: Annotated[
        Task | None, Field(default=None, description="Absent: classification for class folders, text or integer targets, else regression.")
    ]
    loss: Annotated[
        str | None, Field(default=None, description="Absent: the model file's own loss, else by task: cross_entropy, bce or mse.")
    ]
    loss_args: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Arguments of the loss (weight, ignore_index, delta, gamma, alpha, pos_weight).")
    ]
    label_smoothing: Annotated[float, Field(default=0.0, ge=0, lt=1, description="Label smoothing of cross-entropy.")]
    early_stopping: Annotated[EarlyStopping | None, Field(default=None, description="Absent: train all epochs.")]
    seed: Annotated[int, Field(default=0, ge=0, le=2**32 - 1, description="Seed of data order, split, initialisation and dropout.")]
    max_steps: Annotated[int | None, Field(default=None, ge=1, description="Optimizer steps at most.")]
    strategy: Annotated[
        Literal["auto", "single", "ddp"], Field(default="auto", description="auto: ddp when more than one device is used.")
    ]
    devices: Annotated[
        int | None, Field(default=None, ge=1, le=1024, description="Devices, one process each; absent: 1. The result does not depend on it.")
    ]
    report_every_seconds: Annotated[float, Field(default=1.0, ge=0, le=3600, description="Shortest time between two step events; 0: every step.")]

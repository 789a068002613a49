"""After a run: what it came to, where its time went, and which request to send next."""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Document
from schemas.problems import PatchOperation

Bound = Literal["compute", "data", "evaluation", "checkpoints", "startUp"]

RecommendationCode = Literal[
    "leave_out_identifiers",
    "lower_learning_rate",
    "raise_learning_rate",
    "use_found_learning_rate",
    "use_found_micro_batch",
    "keep_what_fits",
    "stop_early",
    "more_weight_decay",
    "more_data",
    "train_longer",
    "lower_rate_over_time",
    "weigh_classes",
    "more_workers",
    "save_less_often",
    "fewer_micro_batches",
    "larger_batch",
    "overfit_one_batch",
    "test_on_held_out_data",
]


class TimeBudget(Document):
    """Where the time went, in seconds: of the whole learning curve and of this job's start and checkpoints."""

    start_up: Annotated[
        float, Field(ge=0, description="From the worker's start to the first epoch: imports, data, model.")
    ]
    data: Annotated[float, Field(ge=0, description="The loop waited for its next batch.")]
    compute: Annotated[
        float, Field(ge=0, description="Forward, backward, optimizer, and what the loop does beside them.")
    ]
    evaluation: Annotated[float, Field(ge=0, description="Figures of the held-out samples.")]
    checkpoints: Annotated[float, Field(ge=0, description="Training stood still to write them.")]
    bound: Annotated[
        Bound,
        Field(
            description="Why it was not faster: what besides computing took 30 % or more of the time, the largest; else compute."
        ),
    ]


class Summary(Document):
    """What a run came to. A figure that was not measured is absent."""

    verdict: Annotated[
        Literal["converged", "improving", "overfitting", "plateau", "not_learning", "diverged", "unclear"],
        Field(
            description="What the learning curve says; not_learning: no better than guessing (valMcc below 0.1, valR2 below 0.05), or a dead start; unclear: it is too short, or has no losses."
        ),
    ]
    monitor: Annotated[
        str, Field(description="The loss by which the curve is judged: valLoss, or trainLoss without it.")
    ]
    best_epoch: int | None = None
    best_step: Annotated[int | None, Field(description="Optimizer steps done at the end of the best epoch.")] = None
    total_steps: Annotated[int | None, Field(description="Optimizer steps done at the end of the last epoch.")] = None
    final_train_loss: float | None = None
    best_val_loss: Annotated[float | None, Field(description="Lowest of all epochs.")] = None
    generalization_gap: Annotated[
        float | None, Field(description="valLoss less trainLoss of the best epoch. Dropout and augmentation lower it.")
    ] = None
    epochs_after_best: Annotated[int, Field(ge=0, description="Epochs after the best: trained in vain.")] = 0
    seconds_after_best: Annotated[float, Field(ge=0)] = 0.0
    share_after_best: Annotated[float, Field(ge=0, le=1, description="Of the seconds of all epochs.")] = 0.0
    samples_per_second: Annotated[float | None, Field(description="Median of the epochs.")] = None
    time: TimeBudget


class Recommendation(Document):
    """One thing to do next."""

    code: RecommendationCode
    reason: Annotated[str, Field(description="Why, with the figures.")]
    evidence: dict[str, Any] = Field(default_factory=dict)
    patch: Annotated[
        list[PatchOperation],
        Field(description="JSON Patch of resolved: the next request. Empty where the next move is not a request."),
    ] = Field(default_factory=list)

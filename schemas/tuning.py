"""Settings that a run finds out by trying, before it trains."""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Document


class LearningRateFinder(Document):
    """A range test before the training (Smith 2017): steps of the run's own loop at a rate that rises from
    ``minLearningRate`` to ``maxLearningRate``, all of it undone; the rate found is the one at which the loss fell fastest."""

    action: Annotated[
        Literal["use", "suggest"],
        Field(description="use: train with the rate found, learningRate where none is; suggest: only say it."),
    ] = "use"
    min_learning_rate: Annotated[float, Field(gt=0, le=1000, description="The first rate tried.")] = 1e-7
    max_learning_rate: Annotated[float, Field(gt=0, le=1000, description="The last.")] = 1.0
    steps: Annotated[int, Field(ge=20, le=500, description="Optimizer steps of it, at most.")] = 100
    mode: Annotated[
        Literal["exponential", "linear"], Field(description="How the rate rises: by a factor, or by an amount.")
    ] = "exponential"
    early_stop_threshold: Annotated[
        float,
        Field(
            gt=1,
            le=1000,
            description="The test ends when the smoothed loss is beyond its lowest by so many times the first loss, less one.",
        ),
    ] = 4.0


class BatchSizeFinder(Document):
    """Looks, before the training, for the number of samples that a device takes at a time (``dataConfig.microBatchSize``), by
    passes and steps of growing size, all of them undone. One optimizer step sees batchSize x gradientAccumulation samples as
    before, in fewer passes or in more."""

    action: Annotated[
        Literal["use", "suggest"], Field(description="use: train with the size found; suggest: only say it.")
    ] = "use"
    by: Annotated[
        Literal["memory", "throughput"],
        Field(
            description="memory: the largest size that fits, up to a whole optimizer batch; throughput: the one beyond which samples per second no longer grow."
        ),
    ] = "memory"
    steps_per_trial: Annotated[int, Field(ge=2, le=20, description="How often each size is tried.")] = 3


class TuningEntry(Document):
    """One setting that was found out by trying. What was done for it is undone."""

    setting: Annotated[str, Field(description="JSON pointer into the request.")]
    found: Annotated[Any, Field(description="Absent: nothing was found, and reason says why.")] = None
    used: Annotated[Any, Field(description="What the run trains with.")] = None
    reason: Annotated[str, Field(description="How it was found, in one sentence, with the figures.")]
    seconds: Annotated[float, Field(ge=0, description="What that took.")]
    measured: Annotated[
        list[dict[str, Any]], Field(max_length=500, description="What was tried, in order, and what came out.")
    ] = Field(default_factory=list)

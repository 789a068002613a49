"""How a run helps itself: what it may do about a want of memory and about numbers that are not finite, and what it did."""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Document

Policy = Literal["recover", "fail"]
Cause = Literal["out_of_memory", "non_finite"]
Action = Literal["micro_batch_halved", "evaluation_batch_halved", "batch_left_out", "rolled_back"]


class RecoveryPolicy(Document):
    """What a run may do by itself before it fails. Whatever it does stands in the payload's recoveries."""

    out_of_memory: Annotated[
        Policy,
        Field(
            description="recover: the same optimizer batch again in micro-batches of half the size, and evaluation in "
            "batches of half the size; fail: end with out_of_memory at once."
        ),
    ] = "recover"
    non_finite: Annotated[
        Policy,
        Field(
            description="A loss or gradient that is NaN or infinite. recover: leave the batch out, then go back to the last "
            "checkpoint with a lower learning rate; fail: end with diverged at once."
        ),
    ] = "recover"
    max_skips: Annotated[
        int,
        Field(
            ge=0,
            le=1000000,
            description="Batches left out, since the run began or last went back, before it goes back.",
        ),
    ] = 10
    max_skips_in_a_row: Annotated[
        int,
        Field(
            ge=0, le=1000000, description="Batches of one epoch left out one after another before the run goes back."
        ),
    ] = 3
    max_rollbacks: Annotated[
        int,
        Field(
            ge=0, le=1000, description="How often a run goes back to its last checkpoint before it fails with diverged."
        ),
    ] = 2
    rollback_factor: Annotated[
        float, Field(gt=0, le=1, description="By what going back multiplies the learning rate of the rest of the run.")
    ] = 0.5


class RecoveryEntry(Document):
    """One thing that a run did by itself instead of failing."""

    cause: Cause
    action: Action
    epoch: Annotated[int, Field(ge=1, description="The epoch in which it happened.")]
    step: Annotated[int, Field(ge=0, description="The optimizer step in which it happened, from 1.")]
    before: dict[str, Any]
    after: dict[str, Any]
    reason: Annotated[str, Field(description="What was found, in one sentence.")]
    equivalent: Annotated[
        bool,
        Field(description="Whether the result is that of a run which had begun with what stands under after."),
    ]
    evidence: Annotated[
        dict[str, Any], Field(description="Sample indices, the first module that was not finite ...")
    ] = Field(default_factory=dict)

"""Limits on batches and steps, and runs that are interrupted within them: they go on to what they would have been."""

import numpy as np
import pytest

from schemas.events import Alert, EpochCompleted, EpochStarted, RunFinalizing
from trainer_core.stop import Stop

STEADY = {"epochs": 4, "scheduler": "none", "reportEverySeconds": 0}
DROPOUT = {"args": {"dropout": 0.3}}


def same_weights(one, other) -> bool:
    left, right = one.weights(), other.weights()
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def figures(run) -> list[tuple]:
    return [(row.epoch, row.step, row.train_loss, row.val_loss) for row in run.of(EpochCompleted)]


LIMITS = {
    "steps": {"maxSteps": 8},
    "training batches": {"limitTrainBatches": 3},
    "validation batches": {"limitValBatches": 1},
    "a few batches by heart": {"overfitBatches": 3},
    "all of them": {"maxSteps": 7, "limitTrainBatches": 3, "limitValBatches": 1},
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_a_run_that_is_stopped_within_its_limits_goes_on_to_the_same_end(bench, stopping_channel, limits):
    """In the middle of its second epoch; to the bit."""
    changes = {"dataConfig": {"evalBatchSize": 8}, "modelConfig": DROPOUT}
    training = {"epochs": 4, "reportEverySeconds": 0, **limits}
    whole = bench.train("whole", trainingConfig=training, **changes)
    stop = Stop()
    channel = stopping_channel(stop, "step", 6 if "maxSteps" not in limits else 5)
    stopped = bench.train("stopped", trainingConfig=training, stop=stop, channel=channel, **changes)
    assert stopped.ending.state == "stopped"
    resume = {"resumeFrom": str(stopped.run_folder)}
    resumed = bench.train("resumed", trainingConfig=training, checkpointConfig=resume, **changes)
    assert resumed.ending.state == whole.ending.state == "succeeded"
    assert same_weights(resumed, whole)
    assert figures(resumed) == figures(whole)[len(stopped.of(EpochCompleted)) :]


def test_more_steps_after_the_last_one_are_those_of_a_longer_run(bench):
    """Seven steps end in the middle of the second epoch of five; the row of it is written anew."""
    short = bench.train("short", trainingConfig={**STEADY, "maxSteps": 7}, modelConfig=DROPOUT)
    assert [(row.epoch, row.step) for row in short.of(EpochCompleted)] == [(1, 5), (2, 7)]
    resume = {"resumeFrom": str(short.run_folder)}
    longer = bench.train(
        "longer", trainingConfig={**STEADY, "maxSteps": 12}, modelConfig=DROPOUT, checkpointConfig=resume
    )
    whole = bench.train("whole", trainingConfig={**STEADY, "maxSteps": 12}, modelConfig=DROPOUT)
    assert "length_changed" in {alert.code for alert in longer.of(Alert)}
    assert same_weights(longer, whole)
    assert [(row.epoch, row.step) for row in longer.of(EpochCompleted)] == [(2, 10), (3, 12)]
    assert longer.of(RunFinalizing)[-1].epochs_trained == 3
    assert longer.of(EpochCompleted)[-1].val_loss == whole.of(EpochCompleted)[-1].val_loss


def test_steps_that_are_all_done_leave_nothing_to_train(bench):
    first = bench.train("first", trainingConfig={**STEADY, "maxSteps": 7})
    resume = {"resumeFrom": str(first.run_folder)}
    again = bench.train("again", trainingConfig={**STEADY, "maxSteps": 7}, checkpointConfig=resume)
    assert again.ending.state == "succeeded"
    assert not again.of(EpochStarted)
    assert "nothing_left_to_train" in {alert.code for alert in again.of(Alert)}


def test_the_narrower_of_two_limits_holds(bench):
    run = bench.train(trainingConfig={**STEADY, "maxSteps": 5, "limitTrainBatches": 2})
    assert [event.steps for event in run.of(EpochStarted)] == [2, 2, 1]
    quick = bench.train("quick", trainingConfig={**STEADY, "maxSteps": 3, "overfitBatches": 2, "fastDevRun": True})
    assert [event.steps for event in quick.of(EpochStarted)] == [1]

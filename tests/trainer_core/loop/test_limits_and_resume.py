"""Limits on batches and steps, and runs that are interrupted within them: they go on to what they would have been."""

import numpy as np
import pytest

from schemas.assignment import EVENTS_FILE
from schemas.events import Alert, CheckpointSaved, EpochCompleted, EpochStarted, RunFinalizing, RunRestored, Step
from trainer_core.channel import FileChannel
from trainer_core.stop import Stop
from trainer_core.trackers.csv import write_metrics

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
    """Seven steps end in the middle of the second epoch of five; its row is not known until it is whole."""
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
    (restored,) = longer.of(RunRestored)
    assert ([row.epoch for row in restored.history], restored.best_epoch) == ([1], 1)
    assert restored.best_path == str(short.run_folder / "epoch-0001")


def test_an_epoch_that_was_cut_stands_in_the_table_once(bench):
    short = bench.train("short", trainingConfig={**STEADY, "maxSteps": 7})
    resume = {"resumeFrom": str(short.run_folder)}
    run = bench.train("longer", trainingConfig={**STEADY, "maxSteps": 12}, checkpointConfig=resume)
    channel = FileChannel(bench.folder / EVENTS_FILE)
    for event in run.said:
        channel.emit(event)
    channel.close()
    write_metrics(bench.folder, run.run_folder)
    rows = (run.run_folder / "metrics.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3"]


def test_an_epoch_that_was_cut_uses_up_no_patience_of_a_longer_run(bench):
    """Nor does it lower the rate of a schedule that waits for the loss."""
    training = {
        **STEADY,
        "scheduler": "plateau",
        "schedulerArgs": {"patience": 0, "threshold": 10.0},
        "earlyStopping": {"patience": 2, "minDelta": 10.0},
    }
    short = bench.train("short", trainingConfig={**training, "maxSteps": 7})
    resume = {"resumeFrom": str(short.run_folder)}
    longer = bench.train("longer", trainingConfig=training, checkpointConfig=resume)
    whole = bench.train("whole", trainingConfig=training)
    assert longer.ending.state == whole.ending.state == "early_stopped"
    assert figures(longer) == figures(whole)[1:]
    assert [row.learning_rate for row in longer.of(EpochCompleted)] == [0.01, 0.001]
    assert same_weights(longer, whole)


NORMED = """
from torch import nn


def build_model():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))
"""
SWA = {**STEADY, "weightAveraging": {"method": "swa", "start": 0.5}}


@pytest.mark.parametrize(
    ("cut", "judged"),
    [(12, True), (17, True), (17, False)],
    ids=["the first of the mean", "the second", "stopped before it was judged"],
)
def test_an_epoch_that_was_cut_is_averaged_as_it_was_when_it_is_whole(bench, stopping_channel, cut, judged):
    """To the bit. The mean is that of epochs 3 and 4, of five steps each; until then the weights of the cut are in it."""
    bench.write_model(NORMED)
    stop = Stop()
    channel = stopping_channel(stop, "step", 1000 if judged else cut)
    saving = {"saveEverySteps": 1, "keepLast": 100}
    short = bench.train(
        "short", trainingConfig={**SWA, "maxSteps": cut}, checkpointConfig=saving, stop=stop, channel=channel
    )
    assert short.ending.state == ("succeeded" if judged else "stopped")
    resume = {**saving, "resumeFrom": short.of(CheckpointSaved)[-1].path}
    longer = bench.train("longer", trainingConfig=SWA, checkpointConfig=resume)
    whole = bench.train("whole", trainingConfig=SWA, checkpointConfig=saving)
    assert same_weights(longer, whole)
    mine, wanted = (run.weights(f"step-{cut + 1:08}") for run in (longer, whole))
    assert all(np.array_equal(mine[name], wanted[name]) for name in wanted)
    assert figures(longer) == figures(whole)[cut // 5 :]


def test_more_epochs_average_those_that_the_longer_run_averages(bench):
    """The shorter one averaged its second epoch, the longer one averages its third and fourth."""
    short = bench.train("short", trainingConfig={**SWA, "epochs": 2})
    longer = bench.train("longer", trainingConfig=SWA, checkpointConfig={"resumeFrom": str(short.run_folder)})
    whole = bench.train("whole", trainingConfig=SWA)
    assert same_weights(longer, whole)
    assert figures(longer) == figures(whole)[2:]


def test_more_epochs_whose_mean_begins_with_the_latest_one_forget_those_before_it(bench):
    """The shorter one averaged its third and fourth epoch, the longer one averages its fourth to sixth."""
    short = bench.train("short", trainingConfig=SWA)
    training = {**SWA, "epochs": 6}
    longer = bench.train("longer", trainingConfig=training, checkpointConfig={"resumeFrom": str(short.run_folder)})
    whole = bench.train("whole", trainingConfig=training)
    assert same_weights(longer, whole)
    assert figures(longer) == figures(whole)[4:]
    assert "average_of_other_epochs" not in {alert.code for alert in longer.of(Alert)}


@pytest.mark.parametrize(
    ("before", "now", "place", "members"),
    [
        (6, 8, "", [6, 7, 8]),
        (8, 9, "", [5, 6, 7, 8, 9]),
        (6, 8, "step-00000028", [6, 7, 8]),
        (8, 10, "step-00000035", [7, 8, 9, 10]),
    ],
    ids=["as many too early as would be lost", "more would be lost", "in mid-epoch", "after the last step of an epoch"],
)
def test_a_mean_that_cannot_be_that_of_the_longer_run_has_the_fewest_wrong_members_and_is_said(
    bench, before, now, place, members
):
    """What a mean holds cannot be taken out of it: with those that are too early, those that belong to it would be lost."""
    saving = {"saveEverySteps": 7, "keepLast": 100}
    plain = bench.train("plain", trainingConfig={**STEADY, "epochs": now}, checkpointConfig=saving)
    short = bench.train("short", trainingConfig={**SWA, "epochs": before}, checkpointConfig=saving)
    training = {**SWA, "epochs": now}
    resume = {**saving, "resumeFrom": str(short.run_folder / place)}
    longer = bench.train("longer", trainingConfig=training, checkpointConfig=resume)
    weights = [plain.weights(None if epoch == now else f"epoch-{epoch:04}") for epoch in members]
    mean = longer.weights()
    assert all(np.allclose(mean[name], np.mean([each[name] for each in weights], axis=0), atol=1e-6) for name in mean)
    (said,) = (alert for alert in longer.of(Alert) if alert.code == "average_of_other_epochs")
    assert f"averages from epoch {-(-now // 2) + 1} on" in said.message
    again = {**saving, "resumeFrom": longer.of(CheckpointSaved)[0].path}
    assert same_weights(bench.train("again", trainingConfig=training, checkpointConfig=again), longer)


def test_without_a_checkpoint_of_the_epoch_before_none_is_the_best(bench):
    """Of the run that was cut one checkpoint is left: that of the cut."""
    short = bench.train("short", trainingConfig={**STEADY, "maxSteps": 7}, checkpointConfig={"keepLast": 1})
    resume = {"resumeFrom": str(short.run_folder)}
    longer = bench.train("longer", trainingConfig={**STEADY, "maxSteps": 12}, checkpointConfig=resume)
    (restored,) = longer.of(RunRestored)
    assert (restored.best_epoch, restored.best_path) == (None, None)
    assert longer.of(EpochCompleted)[0].is_best


@pytest.mark.parametrize(("before", "now"), [(None, 2), (2, None)], ids=["fewer batches", "more batches"])
def test_other_limits_on_batches_count_the_steps_of_a_resume_anew(bench, before, now):
    """Two epochs are trained, and two are left, whatever an epoch was before; the rate goes with the steps."""
    first = bench.train("first", trainingConfig={"epochs": 2, "limitTrainBatches": before})
    resume = {"resumeFrom": str(first.run_folder)}
    training = {"epochs": 4, "limitTrainBatches": now, "reportEverySeconds": 0}
    run = bench.train("resumed", trainingConfig=training, checkpointConfig=resume)
    whole = bench.train("whole", trainingConfig=training)
    steps = now or 5
    assert [row.step for row in run.of(EpochCompleted)] == [3 * steps, 4 * steps]
    rates = [step.learning_rate for step in whole.of(Step)]
    assert [step.learning_rate for step in run.of(Step)] == rates[2 * steps :]


def test_another_limit_on_batches_counts_the_steps_of_a_cut_epoch_anew(bench):
    """Two steps of the second epoch are done; of the three that it now has one is left, and it is the sixth of the run."""
    first = bench.train("first", trainingConfig={"epochs": 2}, checkpointConfig={"saveEverySteps": 1, "keepLast": 100})
    resume = {"resumeFrom": str(first.run_folder / "step-00000007")}
    training = {"epochs": 2, "limitTrainBatches": 3, "reportEverySeconds": 0}
    run = bench.train("resumed", trainingConfig=training, checkpointConfig=resume)
    assert [step.step for step in run.of(Step)] == [6]
    assert [(row.epoch, row.step) for row in run.of(EpochCompleted)] == [(2, 6)]


@pytest.mark.parametrize("place", ["epoch-0002", "step-00000008"])
def test_a_quick_try_of_a_resume_takes_its_one_step(bench, place):
    """From the weights of the checkpoint, wherever in its run that stands."""
    saving = {"saveEverySteps": 4, "keepLast": 100}
    whole = bench.train("whole", checkpointConfig=saving)
    training = {"fastDevRun": True, "reportEverySeconds": 0, "optimizer": "AdamW", "learningRate": 1e-12}
    resume = {"resumeFrom": str(whole.run_folder / place)}
    run = bench.train("quick", trainingConfig=training, checkpointConfig=resume)
    assert run.ending.state == "succeeded"
    assert [(row.epoch, row.step) for row in run.of(EpochCompleted)] == [(1, 1)]
    assert [step.step for step in run.of(Step)] == [1]
    assert {alert.code for alert in run.of(Alert)} <= {"small_data"}
    (saved,) = run.of(CheckpointSaved)
    assert saved.is_best
    before = whole.weights(place)
    assert all(np.allclose(tensor, before[name], atol=1e-9) for name, tensor in run.weights().items())


def test_steps_that_are_all_done_leave_nothing_to_train(bench):
    first = bench.train("first", trainingConfig={**STEADY, "maxSteps": 7})
    resume = {"resumeFrom": str(first.run_folder)}
    again = bench.train("again", trainingConfig={**STEADY, "maxSteps": 7}, checkpointConfig=resume)
    assert again.ending.state == "succeeded"
    assert not again.of(EpochStarted)
    (said,) = (alert for alert in again.of(Alert) if alert.code == "nothing_left_to_train")
    assert said.message == "The checkpoint has trained 7 steps; of 7 nothing is left."
    assert said.remedy == "Raise trainingConfig.maxSteps to train on."
    (restored,) = again.of(RunRestored)
    assert [row.epoch for row in restored.history] == [1, 2], "what was cut and is left at that was judged"


def test_the_narrower_of_two_limits_holds(bench):
    run = bench.train(trainingConfig={**STEADY, "maxSteps": 5, "limitTrainBatches": 2})
    assert [event.steps for event in run.of(EpochStarted)] == [2, 2, 1]
    quick = bench.train("quick", trainingConfig={**STEADY, "maxSteps": 3, "overfitBatches": 2, "fastDevRun": True})
    assert [event.steps for event in quick.of(EpochStarted)] == [1]


@pytest.mark.parametrize(("limits", "last"), [({}, 20), ({"maxSteps": 8}, 8)], ids=["whole", "cut"])
def test_a_run_that_is_stopped_after_its_last_step_is_judged_when_it_goes_on(bench, stopping_channel, limits, last):
    """Nothing is left to train, and the row of its last epoch is still owed."""
    training = {**STEADY, **limits}
    whole = bench.train("whole", trainingConfig=training)
    stop = Stop()
    stopped = bench.train("stopped", trainingConfig=training, stop=stop, channel=stopping_channel(stop, "step", last))
    assert (stopped.ending.state, stopped.of(CheckpointSaved)[-1].step) == ("stopped", last)
    resume = {"resumeFrom": str(stopped.run_folder)}
    resumed = bench.train("resumed", trainingConfig=training, checkpointConfig=resume)
    assert resumed.ending.state == "succeeded"
    assert figures(resumed) == figures(whole)[-1:]
    assert [row.is_best for row in resumed.of(EpochCompleted)] == [row.is_best for row in whole.of(EpochCompleted)[-1:]]
    assert same_weights(resumed, whole)
    assert "nothing_left_to_train" not in {alert.code for alert in resumed.of(Alert)}
    again = bench.train("again", trainingConfig=training, checkpointConfig={"resumeFrom": str(resumed.run_folder)})
    assert not again.of(EpochStarted)

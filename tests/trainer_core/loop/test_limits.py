"""Runs that look at less than all: what they look at, and that they say so."""

import numpy as np
import pytest

from schemas.events import DataLoaded, EpochCompleted, EpochStarted, RunResolved, Step


def steps(run):
    return [event.steps for event in run.of(EpochStarted)]


def test_a_limit_on_training_batches_shortens_every_epoch_and_the_schedule(bench):
    run = bench.train(trainingConfig={"epochs": 3, "limitTrainBatches": 2, "reportEverySeconds": 0})
    assert steps(run) == [2, 2, 2]
    assert {event.total_steps for event in run.of(Step)} == {6}


def test_limited_epochs_see_other_samples(bench):
    """Two epochs of one batch of a model that learns nothing: the losses are those of different samples."""
    run = bench.train(
        trainingConfig={
            "epochs": 2,
            "limitTrainBatches": 1,
            "learningRate": 1e-12,
            "optimizer": "SGD",
            "weightDecay": 0,
        }
    )
    first, second = run.of(EpochCompleted)
    assert first.train_loss != pytest.approx(second.train_loss, abs=1e-4)
    assert first.val_loss == pytest.approx(second.val_loss, abs=1e-6)


def test_a_limit_on_validation_batches_takes_the_first(bench):
    whole = bench.train("whole", trainingConfig={"epochs": 1}, dataConfig={"evalBatchSize": 10})
    part = bench.train("part", trainingConfig={"epochs": 1, "limitValBatches": 1}, dataConfig={"evalBatchSize": 10})
    rows = dict(np.load(bench.folder / "val.npz"))
    np.savez(bench.folder / "val.npz", x=rows["x"][:10], y=rows["y"][:10])
    ten = bench.train("ten", trainingConfig={"epochs": 1}, dataConfig={"evalBatchSize": 10})
    losses = [run.of(EpochCompleted)[0].val_loss for run in (whole, part, ten)]
    assert losses[1] == losses[2] != losses[0]


def test_a_few_batches_are_learnt_by_heart(bench):
    run = bench.train(
        trainingConfig={"epochs": 150, "overfitBatches": 1, "learningRate": 0.05, "scheduler": "none"},
        modelConfig={"args": {"hidden": 64}},
    )
    loaded = run.of(DataLoaded)[0]
    assert (loaded.train_samples, loaded.val_samples) == (16, 16)
    assert run.of(EpochCompleted)[-1].val_accuracy == 1.0
    assert run.of(EpochCompleted)[-1].val_loss < 0.01


def test_a_quick_try_goes_through_everything_once(bench):
    run = bench.train(trainingConfig={"epochs": 50, "fastDevRun": True})
    assert run.ending.state == "succeeded"
    assert steps(run) == [1]
    assert run.weights()
    resolved = run.of(RunResolved)[0].resolved["trainingConfig"]
    assert (resolved["epochs"], resolved["limitTrainBatches"], resolved["limitValBatches"]) == (1, 1, 1)

"""The native engine as a whole: what it says, in which order, and what it leaves."""

from pathlib import Path

import numpy as np
import pytest

from schemas.events import (
    Alert,
    CheckpointSaved,
    DataLoaded,
    EarlyStopTriggered,
    EpochCompleted,
    ModelLoaded,
    RunFinalizing,
    RunResolved,
    Step,
)
from trainer_core.failure import Failure


def test_the_order_of_events(bench):
    run = bench.train(trainingConfig={"epochs": 2, "reportEverySeconds": 3600}, checkpointConfig={"asyncSave": False})
    kinds = [data.event_type for data in run.said if not isinstance(data, Alert)]
    epoch = ["epoch.started", "epoch.completed", "checkpoint.saved"]
    assert kinds == ["run.resolved", "data.loaded", "model.loaded", *epoch, *epoch, "run.finalizing"]
    assert run.ending.state == "succeeded"
    assert [saved.kind for saved in run.of(CheckpointSaved)] == ["epoch", "final"]
    assert run.of(RunFinalizing)[0].epochs_trained == 2


def test_a_report_after_every_step_when_asked(bench):
    run = bench.train(trainingConfig={"epochs": 2, "reportEverySeconds": 0})
    steps = run.of(Step)
    assert [step.step for step in steps] == list(range(1, 11))
    assert {step.total_steps for step in steps} == {10}
    assert [step.epoch for step in steps] == [1] * 5 + [2] * 5
    last = steps[-1]
    assert last.loss_average == pytest.approx(run.of(EpochCompleted)[-1].train_loss)
    assert last.accuracy == pytest.approx(run.of(EpochCompleted)[-1].train_accuracy)
    assert last.eta_seconds == 0
    assert last.grad_norm > 0
    assert last.memory_bytes > 10_000_000
    assert last.samples_per_second > 0


def test_it_learns(bench):
    rows = bench.train(trainingConfig={"epochs": 20, "learningRate": 0.05}).of(EpochCompleted)
    assert rows[-1].val_accuracy > 0.8 > rows[0].val_accuracy
    assert rows[-1].train_loss < rows[0].train_loss / 2
    assert rows[-1].metrics["valF1"] > 0.7
    assert sum(row.is_best for row in rows) >= 2


def test_everything_the_worker_chose_is_said(bench):
    bench.write_data(train=40, validation=10)
    run = bench.train(dataConfig={"batchSize": None}, trainingConfig={"epochs": 1, "learningRate": None})
    resolved, chosen = run.of(RunResolved)[0].resolved, run.of(RunResolved)[0].chosen
    assert chosen["/dataConfig/batchSize"] == 32 == resolved["dataConfig"]["batchSize"]
    assert chosen["/trainingConfig/learningRate"] == 0.001
    assert chosen["/trainingConfig/loss"] == "cross_entropy"
    assert chosen["/trainingConfig/task"] == "classification"
    assert chosen["/trainingConfig/precision"] == "fp32"
    assert chosen["/dataConfig/evalBatchSize"] == 64
    assert chosen["/dataConfig/numWorkers"] == 0
    assert "/trainingConfig/epochs" not in chosen
    assert run.of(DataLoaded)[0].train_samples == 40
    assert run.of(ModelLoaded)[0].parameters == 6 * 16 + 16 + 16 * 3 + 3


def test_the_best_checkpoint_is_flagged_and_left_as_weights(bench):
    run = bench.train(trainingConfig={"epochs": 4, "learningRate": 0.05})
    best = [saved for saved in run.of(CheckpointSaved) if saved.is_best][-1]
    weights = next(artifact for artifact in run.ending.artifacts if artifact.name == "model.safetensors")
    assert Path(weights.path).parent == Path(best.path)


def test_max_steps_cuts_an_epoch_short(bench):
    run = bench.train(trainingConfig={"epochs": 5, "maxSteps": 7, "reportEverySeconds": 0})
    assert run.of(Step)[-1].step == 7
    assert [row.epoch for row in run.of(EpochCompleted)] == [1, 2]
    assert run.of(CheckpointSaved)[-1].kind == "final"


def test_early_stopping_ends_the_run(bench):
    run = bench.train(
        trainingConfig={"epochs": 50, "learningRate": 1e-9, "earlyStopping": {"patience": 2, "minDelta": 0.1}}
    )
    assert run.ending.state == "early_stopped"
    assert len(run.of(EpochCompleted)) == 3
    said = run.of(EarlyStopTriggered)[0]
    assert (said.epoch, said.best_epoch, said.patience, said.monitor) == (3, 1, 2, "valLoss")
    assert run.of(CheckpointSaved)[-1].kind == "final"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(bench):
    first, again, other = (
        bench.train(name, trainingConfig={"seed": seed}) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    for name, tensor in first.weights().items():
        assert np.array_equal(tensor, again.weights()[name])
    assert not np.array_equal(first.weights()["0.weight"], other.weights()["0.weight"])


def test_no_validation_data_still_trains(bench):
    bench.write_model(
        "import torch\nfrom torch import nn\nimport numpy as np\n"
        "def build_model():\n    return nn.Linear(6, 2)\n"
        "def build_dataset(path, split):\n"
        "    rows = np.load(path)\n    x, y = rows['x'], rows['y'] % 2\n"
        "    return [(x[i], y[i]) for i in range(len(y))] if split == 'train' else None\n"
    )
    run = bench.train(trainingConfig={"epochs": 1})
    assert run.of(EpochCompleted)[0].val_loss is not None
    assert "no_validation_data" in {alert.code for alert in run.of(Alert)}


def test_scores_for_too_few_classes_are_told_with_a_fix(bench):
    with pytest.raises(Failure, match="gives 2 scores per sample, but the data have 3 classes") as caught:
        bench.train(modelConfig={"args": {"num_classes": 2, "hidden": 4}})
    error = caught.value.error
    assert error.code == "model_invalid"
    assert error.fix[0].value == {"args": {"num_classes": 3, "hidden": 4}}


def test_inputs_of_another_width_are_told_with_shapes_and_a_fix(bench):
    with pytest.raises(Failure, match=r"inputs of shape \[2, 6\]") as caught:
        bench.train(modelConfig={"args": {"num_features": 5}})
    error = caught.value.error
    assert error.code == "model_invalid"
    assert error.fix[0].value == {"args": {"num_features": 6}}
    assert "mat1 and mat2" in error.untrusted


def test_an_exception_in_forward_names_the_line_of_the_users_file(bench):
    bench.write_model(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(6, 3)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x) + self.missing\n"
    )
    with pytest.raises(Failure, match="AttributeError while running the model") as caught:
        bench.train()
    assert caught.value.error.code == "model_invalid"
    assert caught.value.error.place.line == 7
    assert caught.value.error.place.path == str(bench.folder / "model.py")


def test_an_exception_in_the_users_loss_names_its_line(bench):
    bench.write_model(
        "from torch import nn\n"
        "def build_model():\n    return nn.Linear(6, 3)\n"
        "def loss(output, targets):\n    return 1 / 0\n"
    )
    with pytest.raises(Failure, match="ZeroDivisionError") as caught:
        bench.train()
    assert caught.value.error.place.line == 5


def test_memory_that_runs_out_is_told_with_a_smaller_batch(bench):
    bench.write_model(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(6, 3)\n"
        "    def forward(self, x):\n"
        "        if self.training:\n            torch.empty(1 << 60, dtype=torch.uint8)\n"
        "        return self.layer(x)\n"
    )
    with pytest.raises(Failure) as caught:
        bench.train(trainingConfig={"gradientAccumulation": 3, "recovery": {"outOfMemory": "fail"}})
    error = caught.value.error
    assert error.code == "out_of_memory"
    assert {operation.path: operation.value for operation in error.fix} == {
        "/dataConfig/batchSize": 8,
        "/trainingConfig/gradientAccumulation": 6,
    }


def test_lazy_modules_get_their_shapes_before_the_optimizer_is_built(bench):
    bench.write_model("from torch import nn\ndef build_model():\n    return nn.Sequential(nn.LazyLinear(3))\n")
    run = bench.train(trainingConfig={"epochs": 1})
    assert run.weights()["0.weight"].shape == (3, 6)


def test_a_device_that_is_not_there(bench):
    with pytest.raises(Failure) as caught:
        bench.train(devices=("cuda:77",))
    assert caught.value.error.code == "device_unavailable"

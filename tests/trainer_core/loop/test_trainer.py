"""What the loop promises about one optimizer step: its size, its mean, its gate, its place in time."""

from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.events import Alert, CheckpointSaved, EarlyStopTriggered, EpochCompleted, EpochStarted, Step
from tests.trainer_core.augmented import AUGMENTED
from trainer_core.checkpoints.snapshot import load_snapshot
from trainer_core.failure import Failure
from trainer_core.stop import Stop

FAIL = {"nonFinite": "fail"}

MASKED = """
import torch
from torch import nn


def build_model():
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def loss(output, targets):
    each = nn.functional.cross_entropy(output, targets, reduction="none")
    counted = (targets != 0).float() * (1.0 + targets)
    return (each * counted).sum(), counted.sum()
"""


@pytest.mark.parametrize("source", ["plain", "masked"])
def test_micro_batches_change_nothing(bench, source):
    """1 x 24, 2 x 12 and 3 x 8 samples to a step, the last step with 22: the same training, masks and weights included."""
    if source == "masked":
        bench.write_model(MASKED)
    runs = [
        bench.train(
            f"{size}x{times}",
            dataConfig={"batchSize": size},
            trainingConfig={"epochs": 2, "gradientAccumulation": times, "optimizer": "SGD", "learningRate": 0.5},
        )
        for size, times in ((24, 1), (12, 2), (8, 3))
    ]
    whole = runs[0].weights()
    for run in runs[1:]:
        for name, tensor in run.weights().items():
            assert np.abs(tensor - whole[name]).max() <= 1e-6, name
        assert run.of(EpochCompleted)[-1].train_loss == pytest.approx(
            runs[0].of(EpochCompleted)[-1].train_loss, abs=1e-6
        )


def test_a_step_is_the_mean_over_its_targets(bench):
    """One step of plain SGD, in three micro-batches with masked and weighted targets, against the same step by hand."""
    bench.write_model(MASKED)
    run = bench.train(
        dataConfig={"batchSize": 30},
        trainingConfig={
            "epochs": 1,
            "gradientAccumulation": 3,
            "optimizer": "SGD",
            "learningRate": 0.5,
            "scheduler": "none",
            "gradientClipping": 0,
        },
    )
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    rows = {name: torch.from_numpy(array) for name, array in np.load(bench.folder / "train.npz").items()}
    weights = torch.tensor([0.0, 2.0, 3.0])
    torch.nn.functional.cross_entropy(model(rows["x"]), rows["y"], weights).backward()
    expected = model[2].weight.detach() - 0.5 * model[2].weight.grad
    assert np.abs(run.weights()["2.weight"] - expected.numpy()).max() <= 1e-6


def test_a_batch_of_masked_targets_alone_is_no_nan(bench):
    bench.write_model(MASKED)
    rows = dict(np.load(bench.folder / "train.npz"))
    rows["y"][10:20] = 0
    np.savez(bench.folder / "train.npz", **rows)
    run = bench.train(
        dataConfig={"batchSize": 10, "shuffle": False}, trainingConfig={"epochs": 1, "reportEverySeconds": 0}
    )
    steps = run.of(Step)
    assert len(steps) == 7
    assert steps[1].loss is None, "nothing was measured"
    assert all(np.isfinite(tensor).all() for tensor in run.weights().values())


def test_half_precision_clips_gradients_of_their_true_size(bench):
    """A gradient that is clipped before it is unscaled would be smaller by the scale, 65,536."""
    training = {"epochs": 1, "optimizer": "SGD", "learningRate": 0.5, "gradientClipping": 0.05}
    runs = [bench.train(name, trainingConfig={**training, "precision": name}) for name in ("fp32", "fp16")]
    torch.manual_seed(3)
    begun = torch.nn.Linear(6, 16).weight.detach().numpy()
    moved, other = (run.weights()["0.weight"] - begun for run in runs)
    assert np.abs(moved).max() > 0.005
    assert np.abs(moved - other).max() < 0.05 * np.abs(moved).max()


def test_a_step_that_the_scaler_left_out_counts_for_nothing(bench):
    """Neither for the schedule nor for the average; how many there were, the scale tells, which each of them halves."""
    rows = dict(np.load(bench.folder / "train.npz"))
    np.savez(bench.folder / "train.npz", **{**rows, "x": rows["x"] * 100})
    training = {"epochs": 3, "optimizer": "SGD", "learningRate": 1e-4, "scheduler": "linear", "warmupSteps": 0}
    averaging = {"weightAveraging": {"method": "ema"}, "precision": "fp16", "reportEverySeconds": 0}
    run = bench.train(trainingConfig={**training, **averaging})
    state = load_snapshot(Path(run.of(CheckpointSaved)[-1].path)).state
    left_out = round(16 - np.log2(state["precision"]["scale"]))
    assert 1 <= left_out < 10
    steps = 15 - left_out
    assert [row.epoch for row in run.of(EpochCompleted)] == [1, 2, 3], "nor are they done again"
    assert run.of(EpochCompleted)[-1].step == state["position"]["step"] == state["averaging"]["updates"] == steps
    # A batch that was left out is said with the number of the step before it.
    rates = {step.step: step.learning_rate for step in reversed(run.of(Step)) if step.step}
    assert [rates[step + 1] for step in range(steps)] == pytest.approx(
        [1e-4 * (1 - step / 15) for step in range(steps)]
    )


def test_the_learning_rate_of_each_step_is_the_schedules(bench):
    run = bench.train(
        trainingConfig={
            "epochs": 2,
            "learningRate": 1.0,
            "scheduler": "linear",
            "warmupSteps": 0,
            "optimizer": "SGD",
            "reportEverySeconds": 0,
        }
    )
    assert [step.learning_rate for step in run.of(Step)] == pytest.approx([1 - step / 10 for step in range(10)])


def test_plateau_lowers_the_rate(bench):
    run = bench.train(
        trainingConfig={
            "epochs": 4,
            "learningRate": 1e-6,
            "scheduler": "plateau",
            "schedulerArgs": {"patience": 0, "threshold": 0.5, "factor": 0.5, "eps": 0},
        }
    )
    assert [row.learning_rate for row in run.of(EpochCompleted)] == pytest.approx([1e-6, 1e-6, 5e-7, 2.5e-7])


def test_divergence_is_caught_before_it_changes_a_weight(bench):
    bench.write_model(
        "import torch\nfrom torch import nn\n"
        "class Explode(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.calls = 0\n"
        "    def forward(self, x):\n"
        "        self.calls += self.training\n"
        "        return x * float('inf') if self.calls >= 8 else x\n"
        "def build_model():\n    return nn.Sequential(nn.Linear(6, 3), Explode())\n"
    )
    with pytest.raises(Failure) as caught:
        bench.train(
            checkpointConfig={"saveEverySteps": 1, "keepLast": 100}, trainingConfig={"epochs": 5, "recovery": FAIL}
        )
    error = caught.value.error
    assert error.code == "diverged"
    assert (error.place.epoch, error.place.step) == (2, 8)
    assert "the output of 1 (Explode)" in error.message
    assert "learning rate 0.00" in error.message
    assert error.fix[0].path == "/trainingConfig/learningRate"
    assert error.fix[0].value < 0.001
    assert "Samples of the batch" in error.untrusted
    last = sorted((bench.folder / "runs" / "run").glob("step-*"))[-1]
    assert last.name == "step-00000007"


def test_too_high_a_rate_diverges_with_the_layer_named(bench):
    bench.write_model(
        "from torch import nn\ndef build_model():\n    return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))\n"
    )
    with pytest.raises(Failure, match=r"first the output of (0|1) \(Linear\)") as caught:
        bench.train(
            trainingConfig={
                "epochs": 50,
                "learningRate": 1000.0,
                "optimizer": "SGD",
                "optimizerArgs": {"momentum": 0.99},
                "gradientClipping": 0,
                "scheduler": "none",
                "recovery": FAIL,
            }
        )
    assert caught.value.error.fix[0].value == 100.0


def test_a_not_finite_sample_is_named(bench):
    """Through the model file's own data set, which nobody checks."""
    bench.write_model(
        "import numpy as np\nfrom torch import nn\n"
        "def build_model():\n    return nn.Linear(6, 3)\n"
        "def build_dataset(path, split):\n"
        "    rows = np.load(path)\n    x = rows['x'].copy()\n"
        "    if split == 'train':\n        x[41, 2] = np.nan\n"
        "    return [(x[i], rows['y'][i]) for i in range(len(x))]\n"
    )
    with pytest.raises(Failure, match="first the inputs themselves") as caught:
        bench.train(trainingConfig={"recovery": FAIL})
    assert caught.value.error.untrusted.endswith("[41]")
    assert caught.value.error.fix is None


def test_a_stop_is_looked_at_between_steps_and_in_evaluation(bench, stopping_channel):
    stop = Stop()
    run = bench.train(
        stop=stop, channel=stopping_channel(stop, "step", 3), trainingConfig={"epochs": 9, "reportEverySeconds": 0}
    )
    assert run.ending.state == "stopped"
    assert len(run.of(Step)) == 4, "the step in progress is finished"
    assert [(saved.kind, saved.step) for saved in run.of(CheckpointSaved)] == [("cancel", 4)]
    assert not run.of(EpochCompleted)


def test_a_run_whose_patience_ends_with_its_last_epoch_was_not_stopped(bench):
    stopping = {"patience": 2, "minDelta": 0.1}
    run = bench.train(trainingConfig={"epochs": 3, "learningRate": 1e-9, "earlyStopping": stopping})
    assert run.ending.state == "succeeded"
    assert not run.of(EarlyStopTriggered)


def test_save_every_epochs_best_and_last(bench):
    run = bench.train(
        trainingConfig={"epochs": 5, "learningRate": 1e-12}, checkpointConfig={"saveEvery": 2, "keepLast": 1}
    )
    assert run.of(CheckpointSaved)[-1].kind == "final"
    saved = [item.epoch for item in run.of(CheckpointSaved)]
    assert {2, 4, 5} <= set(saved)
    best = next(item for item in reversed(run.of(CheckpointSaved)) if item.is_best)
    left = {path.name for path in run.run_folder.iterdir() if path.is_dir()}
    assert left == {best.path.rsplit("/", 1)[1], run.of(CheckpointSaved)[-1].path.rsplit("/", 1)[1]}


def test_training_flags_of_the_model_are_the_users(bench):
    """A module that the file put into evaluation mode stays in it, through evaluations; a whole model is trained."""
    bench.write_model(
        "from torch import nn\n"
        "class Watch(nn.Module):\n"
        "    seen = set()\n"
        "    def forward(self, x):\n"
        "        Watch.seen.add((self.name, self.training))\n        return x\n"
        "def watch(name):\n    module = Watch()\n    module.name = name\n    return module\n"
        "def build_model(whole=False):\n"
        "    model = nn.Sequential(nn.Linear(6, 3), watch('free'), watch('frozen'))\n"
        "    model[2].eval()\n    return model.eval() if whole else model\n"
        "def metrics(output, targets):\n"
        "    return {'frozenTrained': float(('frozen', True) in Watch.seen), 'freeTrained': float(('free', True) in Watch.seen)}\n"
    )
    row = bench.train().of(EpochCompleted)[-1]
    assert (row.metrics["valFrozenTrained"], row.metrics["valFreeTrained"]) == (0.0, 1.0)
    row = bench.train("whole", modelConfig={"args": {"whole": True}}).of(EpochCompleted)[-1]
    assert row.metrics["valFreeTrained"] == 1.0


def test_data_that_are_streamed_train_as_those_in_memory(bench):
    in_memory = bench.train("memory", trainingConfig={"epochs": 2})
    bench.write_model(
        (bench.folder / "model.py").read_text() + "\n\nimport numpy as np\n\n\n"
        "def build_dataset(path, split):\n"
        "    rows = np.load(path)\n"
        "    return [(x, y) for x, y in zip(rows['x'], rows['y'])]\n"
    )
    for workers in (0, 2):
        streamed = bench.train(f"{workers}", dataConfig={"numWorkers": workers}, trainingConfig={"epochs": 2})
        for name, tensor in streamed.weights().items():
            assert np.array_equal(tensor, in_memory.weights()[name])


def test_loader_processes_change_no_bit_of_a_run_with_augmentation(bench, stopping_channel):
    """0, 1 and 4 of them, and a stop in mid-epoch: what a sample draws depends on seed, epoch and index alone. Dropout draws from
    the same generators."""
    bench.write_model((bench.folder / "model.py").read_text() + AUGMENTED)
    changes = {"modelConfig": {"args": {"dropout": 0.3}}, "trainingConfig": {"epochs": 2, "reportEverySeconds": 0}}
    runs = [bench.train(f"{count}", dataConfig={"numWorkers": count}, **changes) for count in (0, 1, 4)]
    stop = Stop()
    channel = stopping_channel(stop, "step", 6)
    stopped = bench.train("stopped", stop=stop, channel=channel, dataConfig={"numWorkers": 1}, **changes)
    assert stopped.of(CheckpointSaved)[-1].step == 7
    goes_on = {"resumeFrom": str(stopped.run_folder)}
    runs.append(bench.train("resumed", dataConfig={"numWorkers": 2}, checkpointConfig=goes_on, **changes))
    curve = [(row.train_loss, row.val_loss) for row in runs[0].of(EpochCompleted)]
    assert len({loss for loss, _ in curve}) == 2
    for run in runs[1:]:
        rows = [(row.train_loss, row.val_loss) for row in run.of(EpochCompleted)]
        assert rows == curve[-len(rows) :]
        for name, tensor in run.weights().items():
            assert np.array_equal(tensor, runs[0].weights()[name]), name


def test_epochs_say_how_many_steps_they_have(bench):
    started = bench.train(trainingConfig={"epochs": 2, "gradientAccumulation": 2}).of(EpochStarted)
    assert [(item.epoch, item.epochs, item.steps) for item in started] == [(1, 2, 3), (2, 2, 3)]


def test_fewer_samples_than_a_batch(bench):
    bench.write_data(train=5, validation=3)
    run = bench.train(trainingConfig={"epochs": 2, "reportEverySeconds": 0})
    assert len(run.of(Step)) == 2
    assert "small_data" in {alert.code for alert in run.of(Alert)}

"""What a run does about losses and gradients that are not finite: it leaves out, goes back, and ends, within its bounds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.events import EVENT_DATA, CheckpointSaved, EpochCompleted, EpochStarted, RecoveryMade, RunRestored, Step
from tests.trainer_core.conftest import Run
from trainer_core.channel import Channel
from trainer_core.checkpoints.snapshot import load_snapshot
from trainer_core.engines.native import train
from trainer_core.failure import Failure
from trainer_core.loop.assemble import assemble
from trainer_core.loop.gate import DeviceGate, HostGate
from trainer_core.loop.material import Surroundings, load, size_up
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.trainer import Trainer
from trainer_core.stop import Stop

# In training, a batch with a sample above 50 comes out as NaN, and takes the running statistics with it.
POISONED = """
import torch
from torch import nn


class Poison(nn.Module):
    def __init__(self, until):
        super().__init__()
        self.until = until
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x):
        if not self.training:
            return x
        self.batches += 1
        bad = (x[:, 0] > 50).any() and self.batches < self.until
        x = x * float("nan") if bad else x.clamp(max=3.0)
        self.mean += x.detach().mean(dim=0)
        return x


def build_model(until=1000, dropout=0.2):
    return nn.Sequential(Poison(until), nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))
"""

# Seven batches of ten to an epoch, in the order of the file.
IN_ORDER = {"batchSize": 10, "shuffle": False}


@pytest.fixture
def poisoned(bench):
    """A bench; ``poison(rows)`` makes samples stand out."""
    bench.write_model(POISONED)

    def poison(*samples: int):
        rows = dict(np.load(bench.folder / "train.npz"))
        rows["x"][list(samples), 0] = 60.0
        np.savez(bench.folder / "train.npz", **rows)
        return bench

    return poison


def actions(run):
    return [(made.action, made.epoch, made.step) for made in run.of(RecoveryMade)]


def assert_same_weights(one, other):
    mine, others = one.weights(), other.weights()
    for name, tensor in mine.items():
        assert np.array_equal(tensor, others[name], equal_nan=True), name


SPRUNG = """
import torch
from torch import nn


class Sprung(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.bad = bool((x.abs() > 50).any())
        return x.clamp(-3.0, 3.0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf") if ctx.bad else gradient


class Spring(nn.Module):
    def forward(self, x):
        return Sprung.apply(x)


def build_model():
    return nn.Sequential(nn.Linear(6, 6), Spring(), nn.Linear(6, 3))
"""


def test_a_gradient_that_is_not_finite_beside_a_loss_that_is_changes_no_weight(poisoned):
    bench = poisoned()
    bench.write_model(SPRUNG)
    rows = dict(np.load(bench.folder / "train.npz"))
    rows["x"][23] = 1000.0
    np.savez(bench.folder / "train.npz", **rows)
    run = bench.train("sprung", dataConfig=IN_ORDER, trainingConfig={"epochs": 1})
    assert actions(run) == [("batch_left_out", 1, 3)]
    assert "the gradient of 0." in run.of(RecoveryMade)[0].reason
    assert all(np.isfinite(tensor).all() for tensor in run.weights().values())


def test_a_batch_is_left_out_as_if_it_were_not_there(poisoned):
    """Steps, masks of dropout, buffers and figures: as those of a run over the other batches."""
    bench = poisoned(23)
    training = {"epochs": 2, "scheduler": "none", "reportEverySeconds": 0}
    run = bench.train("left", dataConfig=IN_ORDER, trainingConfig=training)
    assert actions(run) == [("batch_left_out", 1, 3), ("batch_left_out", 2, 10)]
    assert run.weights()["0.batches"] == 12
    made = run.of(RecoveryMade)[0]
    assert made.evidence["samples"] == list(range(20, 30))
    assert made.reason.endswith("first the output of 0 (Poison).")
    assert [step.step for step in run.of(Step)] == [1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14], (
        "its step is counted, and not taken"
    )
    rows = dict(np.load(bench.folder / "train.npz"))
    np.savez(bench.folder / "train.npz", **{name: np.delete(array, slice(20, 30), 0) for name, array in rows.items()})
    without = bench.train("without", dataConfig=IN_ORDER, trainingConfig=training)
    assert_same_weights(run, without)
    assert [row.train_loss for row in run.of(EpochCompleted)] == [row.train_loss for row in without.of(EpochCompleted)]


def test_a_scale_that_has_fallen_for_long_is_not_to_blame(poisoned):
    """Gradients that are infinite at every scale are skipped by the scaler, and not for ever: training would go on and on without
    a step."""
    bench = poisoned()
    bench.write_model(SPRUNG.replace("ctx.bad = bool((x.abs() > 50).any())", "ctx.bad = True"))
    channel = Channel()
    with pytest.raises(Failure) as caught:
        bench.train(
            channel=channel,
            dataConfig={"batchSize": 5},
            trainingConfig={
                "epochs": 9,
                "precision": "fp16",
                "reportEverySeconds": 0,
                "recovery": {"nonFinite": "fail"},
            },
        )
    assert caught.value.error.code == "diverged"
    skipped = [data for data in channel.said if isinstance(data, Step)]
    assert len(skipped) == HostGate.PATIENCE
    assert {step.step for step in skipped} == {0}


def test_a_batch_is_left_out_beside_a_scaler(poisoned):
    """Its loss, not its scale, is to blame: the scale falls once, and the steps after it are taken and counted."""
    bench = poisoned(23)
    training = {"epochs": 1, "precision": "fp16", "scheduler": "none", "weightAveraging": {"method": "ema"}}
    run = bench.train("half", dataConfig=IN_ORDER, trainingConfig=training)
    assert actions(run) == [("batch_left_out", 1, 3)]
    assert [row.step for row in run.of(EpochCompleted)] == [7]
    state = load_snapshot(Path(run.of(CheckpointSaved)[-1].path)).state
    assert state["averaging"]["updates"] == 6
    assert state["precision"]["scale"] == 2**15
    assert all(np.isfinite(tensor).all() for tensor in run.weights().values())


def with_a_gate_on_the_device(assignment) -> Trainer:
    """As on a GPU; not begun yet."""
    around = Surroundings(assignment, torch.device("cpu"), Ranks(), Channel(), Stop())
    material = load(around)
    trainer = assemble(around, material, size_up(around, material))
    assert trainer.optimizer.param_groups[0]["fused"]
    trainer.refusals.gate = DeviceGate(trainer.optimizer, around.device)
    return trainer


@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_gate_on_the_device_gives_the_same_run_whenever_it_is_looked_at(poisoned, seconds):
    bench = poisoned(3, 23, 37)
    training = {"epochs": 2, "optimizer": "Adagrad", "reportEverySeconds": seconds, "gradientAccumulation": 1}
    on_host = bench.train("host", dataConfig=IN_ORDER, trainingConfig=training)
    trainer = with_a_gate_on_the_device(bench.assignment("device", dataConfig=IN_ORDER, trainingConfig=training))
    assert trainer.run() == "succeeded"
    state = trainer.model.state_dict()
    for name, tensor in on_host.weights().items():
        assert np.array_equal(tensor, state[name].numpy()), name
    said = [data for data in trainer.channel.said if isinstance(data, RecoveryMade)]
    assert [(made.action, made.epoch, made.step) for made in said] == actions(on_host)
    assert [row.train_loss for row in trainer.curve.rows] == [row.train_loss for row in on_host.of(EpochCompleted)]


@pytest.mark.parametrize(("sample", "step"), [(3, 1), (23, 3)])
def test_a_gate_on_the_device_fails_the_run_where_nothing_is_to_be_recovered(poisoned, sample, step):
    """At the next look, and before anything else is said or kept of the epoch."""
    bench = poisoned(sample)
    recovery = {"nonFinite": "fail", "outOfMemory": "fail"}
    training = {"epochs": 2, "optimizer": "Adagrad", "reportEverySeconds": 3600, "recovery": recovery}
    trainer = with_a_gate_on_the_device(bench.assignment("device", dataConfig=IN_ORDER, trainingConfig=training))
    with pytest.raises(Failure) as caught:
        trainer.run()
    error = caught.value.error
    assert (error.code, error.place.epoch, error.place.step) == ("diverged", 1, step)
    assert not trainer.curve.rows
    assert all(tensor.isfinite().all() for tensor in trainer.model.parameters())


def test_too_many_in_a_row_and_it_goes_back_to_where_it_began(poisoned):
    """The run that follows is one at half the rate without the window."""
    bench = poisoned(23, 33, 43)
    training = {"epochs": 1, "recovery": {"maxSkipsInARow": 2}}
    run = bench.train("back", dataConfig=IN_ORDER, trainingConfig=training)
    assert actions(run) == [("batch_left_out", 1, 3), ("batch_left_out", 1, 4), ("rolled_back", 1, 5)]
    assert run.of(RecoveryMade)[-1].after == {"learningRateFactor": 0.5, "step": 0}
    (restored,) = run.of(RunRestored)
    assert (restored.path, restored.epoch, restored.history) == ("", 0, [])
    slow = bench.train("slow", dataConfig=IN_ORDER, trainingConfig={"epochs": 1, "learningRate": 0.005})
    assert_same_weights(run, slow)
    assert [row.learning_rate for row in run.of(EpochCompleted)] == [
        row.learning_rate for row in slow.of(EpochCompleted)
    ]


def test_it_goes_back_to_the_last_checkpoint_and_the_curve_stays_honest(poisoned):
    """Never a row twice, however often an epoch was begun; and a stop in between changes nothing."""
    bench = poisoned(23, 33, 43)
    training = {"epochs": 3, "reportEverySeconds": 0, "recovery": {"maxSkips": 4}}
    run = bench.train("back", dataConfig=IN_ORDER, trainingConfig=training)
    assert [action for action, *_ in actions(run)] == ["batch_left_out"] * 4 + ["rolled_back"] + ["batch_left_out"] * 4
    (restored,) = run.of(RunRestored)
    assert restored.path.endswith("epoch-0001")
    assert [row.epoch for row in restored.history] == [1]
    assert [row.epoch for row in run.of(EpochCompleted)] == [1, 2, 3]
    assert [started.epoch for started in run.of(EpochStarted)] == [1, 2, 2, 3]
    assert all(row.train_loss is not None for row in run.of(EpochCompleted))


def test_what_was_learnt_survives_a_resume(poisoned, stopping_channel):
    bench = poisoned(23, 33, 43)
    training = {"epochs": 3, "reportEverySeconds": 0, "recovery": {"maxSkips": 4}}
    whole = bench.train("whole", dataConfig=IN_ORDER, trainingConfig=training)
    stop = Stop()
    stopped = bench.train(
        "stopped",
        dataConfig=IN_ORDER,
        trainingConfig=training,
        stop=stop,
        channel=stopping_channel(stop, "run.restored", 1),
    )
    assert stopped.ending.state == "stopped"
    resumed = bench.train(
        "resumed",
        dataConfig=IN_ORDER,
        trainingConfig=training,
        checkpointConfig={"resumeFrom": str(stopped.run_folder)},
    )
    assert actions(stopped) + actions(resumed) == actions(whole)
    assert_same_weights(resumed, whole)


def test_after_the_last_roll_back_it_has_diverged_and_says_what_was_tried(poisoned):
    bench = poisoned(*range(0, 70, 10))
    with pytest.raises(Failure) as caught:
        bench.train(dataConfig=IN_ORDER, trainingConfig={"recovery": {"maxSkipsInARow": 1, "maxRollbacks": 2}})
    error = caught.value.error
    assert error.code == "diverged"
    assert (error.place.epoch, error.place.step) == (1, 6)
    assert "first the output of 0 (Poison)" in error.message
    assert "5 batches were left out, and the run went back 2 times (learning rate x 0.25)" in error.message
    assert error.untrusted.endswith(str(list(range(50, 60))))


def test_bad_samples_are_left_out_and_no_rate_is_lowered_for_them(poisoned):
    bench = poisoned()
    bench.write_model(
        POISONED + "\n\nimport numpy as np\n\n\ndef build_dataset(path, split):\n    rows = np.load(path)\n"
        "    x = rows['x'].copy()\n    if split == 'train':\n        x[41, 2] = np.nan\n"
        "    return [(x[i], rows['y'][i]) for i in range(len(x))]\n"
    )
    run = bench.train("few", dataConfig=IN_ORDER)
    assert actions(run) == [("batch_left_out", 1, 5), ("batch_left_out", 2, 12), ("batch_left_out", 3, 19)]
    shuffled = bench.train("shuffled", dataConfig={"batchSize": 10})
    assert [made.epoch for made in shuffled.of(RecoveryMade)] == [1, 2, 3]
    assert len({made.step % 7 for made in shuffled.of(RecoveryMade)}) > 1, "it comes at another place in each epoch"
    for made in [*run.of(RecoveryMade), *shuffled.of(RecoveryMade)]:
        assert made.evidence["samples"] == [41]
    with pytest.raises(Failure, match="first the inputs themselves") as caught:
        bench.train("many", dataConfig=IN_ORDER, trainingConfig={"recovery": {"maxSkips": 1}})
    assert "went back" not in caught.value.error.message
    assert caught.value.error.fix is None


def test_two_ranks_agree_to_leave_out_to_go_back_and_to_give_up(poisoned):
    """What is not finite stands in the second rank's share alone. All that follows is that of one process: which batches, what is
    said of them, the curve, the failure, and the weights of every checkpoint."""
    bench = poisoned(26, 36, 46)
    changes = {
        "dataConfig": IN_ORDER,
        "modelConfig": {"args": {"dropout": 0.0}},
        "trainingConfig": {"epochs": 5, "recovery": {"maxSkips": 4, "maxRollbacks": 1}},
        "checkpointConfig": {"keepLast": 9},
    }
    alone, channel = Run([], bench.folder / "runs" / "alone"), Channel()
    with pytest.raises(Failure) as expected:
        bench.train("alone", channel=channel, **changes)
    alone.said = channel.said
    assignment = bench.assignment("two", ("cpu", "cpu"), **changes)
    with pytest.raises(Failure) as caught:
        train(assignment, Channel(), Stop())
    given, wanted = caught.value.error.to_json(), expected.value.error.to_json()
    assert given.pop("untrusted").endswith("[25, 26, 27, 28, 29]"), "it is looked for in passes of half the size"
    assert wanted.pop("untrusted").endswith("[20, 21, 22, 23, 24, 25, 26, 27, 28, 29]")
    assert given == wanted
    assert given["code"] == "diverged"
    lines = (Path(assignment.attempt_folder) / "events.jsonl").read_text().splitlines()
    events = [EVENT_DATA[line["type"]].model_validate(line["data"]) for line in map(json.loads, lines)]
    two = Run(events, Path(assignment.run_folder))
    assert actions(two) == actions(alone)
    assert {action for action, *_ in actions(two)} == {"batch_left_out", "rolled_back"}
    for made, other in zip(two.of(RecoveryMade), alone.of(RecoveryMade), strict=True):
        assert set(made.evidence["samples"]) <= set(other.evidence["samples"])
        assert (made.before, made.after, made.reason) == (other.before, other.after, other.reason)
    assert [row.epoch for row in two.of(EpochCompleted)] == [row.epoch for row in alone.of(EpochCompleted)]
    for row, other in zip(two.of(EpochCompleted), alone.of(EpochCompleted), strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, abs=1e-6)
        assert row.val_loss == pytest.approx(other.val_loss, abs=1e-6)
        assert row.learning_rate == other.learning_rate
    (back,), (other,) = two.of(RunRestored), alone.of(RunRestored)
    assert [row.train_loss for row in back.history] == [two.of(EpochCompleted)[0].train_loss]
    assert (back.epoch, back.step) == (other.epoch, other.step)
    saved = sorted(path.name for path in two.run_folder.glob("epoch-*"))
    assert saved == sorted(path.name for path in alone.run_folder.glob("epoch-*"))
    for checkpoint in saved:
        weights = two.weights(checkpoint)
        for name, tensor in alone.weights(checkpoint).items():
            if not name.startswith("0."):
                assert np.abs(tensor - weights[name]).max() <= 1e-6, (checkpoint, name)
